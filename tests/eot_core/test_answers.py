"""What comes of an answer, or of there being none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eot_core.answers import answered, probability_of, unanswered
from eot_core.effects import Route
from eot_core.events import Outcome, Prediction
from eot_core.transports.base import Answer, InferenceRequest

NONSENSE = [math.nan, math.inf, -math.inf, -0.01, 1.01]


def made(answer: Answer, *, route: Route = Route.LOCAL, backchannels: bool = True) -> Prediction:
    """Asked at 100 s, started at 100.25 s, answered at 100.5 s."""
    return answered(
        InferenceRequest("t-1", np.zeros(160, np.int16), 100.0, 101.0),
        answer,
        0.7,
        route=route,
        model="a-model",
        started_at=100.25,
        now=100.5,
        backchannels=backchannels,
    )


class TestProbability:
    @pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
    def test_of_the_model(self, value: float) -> None:
        assert probability_of(Answer(value), None) == value

    def test_of_a_head(self) -> None:
        answer = Answer(0.3, by_head={"de": 0.8})
        assert probability_of(answer, "de") == 0.8
        assert probability_of(answer, None) == 0.3

    def test_a_head_that_said_nothing(self) -> None:
        assert probability_of(Answer(0.3, by_head={"de": 0.8}), "en") is None

    @pytest.mark.parametrize("value", NONSENSE)
    def test_nonsense_is_none(self, value: float) -> None:
        assert probability_of(Answer(value), None) is None
        assert probability_of(Answer(0.3, by_head={"de": value}), "de") is None

    def test_a_number_of_numpy_s_is_made_python_s(self) -> None:
        assert type(probability_of(Answer(np.float32(0.5)), None)) is float  # type: ignore[arg-type]


class TestAnswered:
    @pytest.mark.parametrize(("route", "source"), [(Route.CLOUD, "cloud"), (Route.LOCAL, "local")])
    def test_who_said_what_to_which_request(self, route: Route, source: str) -> None:
        prediction = made(Answer(0.7), route=route)
        assert (prediction.probability, prediction.outcome, prediction.reason) == (0.7, Outcome.ANSWERED, None)
        assert (prediction.model, prediction.source, prediction.request_id) == ("a-model", source, "t-1")

    def test_the_wait_for_a_route_is_part_of_the_queue(self) -> None:
        prediction = made(Answer(0.7, queue_time=0.125, network_time=0.0625, inference_time=0.03125))
        assert prediction.queue_time == 0.25 + 0.125
        assert (prediction.network_time, prediction.inference_time) == (0.0625, 0.03125)
        assert prediction.detection_delay == 0.5

    @pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
    def test_nonsense_times_count_as_none(self, seconds: float) -> None:
        prediction = made(Answer(0.7, queue_time=seconds, network_time=seconds, inference_time=seconds))
        assert prediction.total_time == 0.25

    def test_backchannels_where_they_are_to_be_had(self) -> None:
        answer = Answer(0.7, backchannel_probability=0.4)
        assert made(answer).backchannel_probability == 0.4
        assert made(answer, backchannels=False).backchannel_probability is None

    @pytest.mark.parametrize("value", [None, *NONSENSE])
    def test_nonsense_about_backchannels_does_not_spoil_the_rest(self, value: float | None) -> None:
        prediction = made(Answer(0.7, backchannel_probability=value))
        assert prediction.backchannel_probability is None
        assert prediction.outcome is Outcome.ANSWERED


@pytest.mark.parametrize(
    ("outcome", "probability"), [(Outcome.DEFAULT, 1.0), (Outcome.SUPERSEDED, 0.0), (Outcome.CANCELLED, 0.0)]
)
def test_unanswered(outcome: Outcome, probability: float) -> None:
    prediction = unanswered("t-1", outcome, "why", model="a-model")
    assert prediction == Prediction(probability, outcome, "why", "a-model", "default", "t-1")
    assert prediction.total_time == 0.0
