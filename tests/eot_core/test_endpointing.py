from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eot_core import Endpointer, EndpointingOptions, Outcome, Prediction
from eot_core.events import DecisionReason


def prediction(probability: float, outcome: Outcome = Outcome.ANSWERED) -> Prediction:
    answered = outcome is Outcome.ANSWERED
    return Prediction(probability, outcome, None if answered else "why", "m", "local" if answered else "default", "r")


class TestOptions:
    def test_defaults_know_the_detector(self) -> None:
        assert EndpointingOptions() == EndpointingOptions.for_detector() == EndpointingOptions(0.3, 2.5)
        assert EndpointingOptions.for_vad() == EndpointingOptions(0.5, 3.0)

    def test_sparse(self) -> None:
        assert EndpointingOptions.for_detector(min_delay=0.1) == EndpointingOptions(0.1, 2.5)
        assert EndpointingOptions.for_detector(max_delay=1) == EndpointingOptions(0.3, 1.0)
        assert EndpointingOptions.for_vad(min_delay=0, max_delay=4) == EndpointingOptions(0.0, 4.0)

    @pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "1", True, None])
    @pytest.mark.parametrize("name", ["min_delay", "max_delay"])
    def test_checked(self, name: str, value: object) -> None:
        with pytest.raises(ValueError, match=name):
            EndpointingOptions(**{name: value})  # type: ignore[arg-type]

    def test_order(self) -> None:
        with pytest.raises(ValueError, match=r"max_delay \(0.2\) must not be less than min_delay \(0.3\)"):
            EndpointingOptions(max_delay=0.2)


class TestEndpointer:
    def test_likely(self) -> None:
        endpointer = Endpointer()
        endpointer.speech_ended(10.0)
        decision = endpointer.predicted(prediction(0.5), 0.5, 10.25, "en")
        assert decision is not None
        assert (decision.ends_turn, decision.reason, decision.language) == (True, DecisionReason.LIKELY, "en")
        assert decision.commit_at == pytest.approx(10.3)
        assert decision.delay == pytest.approx(0.3)
        assert endpointer.decision is decision

    def test_unlikely(self) -> None:
        endpointer = Endpointer(EndpointingOptions(0.2, 1.5))
        endpointer.speech_ended(10.0)
        decision = endpointer.predicted(prediction(0.499), 0.5, 10.25)
        assert decision is not None
        assert (decision.reason, decision.delay) == (DecisionReason.UNLIKELY, 1.5)

    def test_default(self) -> None:
        endpointer = Endpointer()
        endpointer.speech_ended(10.0)
        decision = endpointer.predicted(prediction(1.0, Outcome.DEFAULT), 0.5, 11.2)
        assert decision is not None
        assert (decision.reason, decision.commit_at) == (DecisionReason.DEFAULT, 11.2)  # never in the past

    def test_speech_that_resumes(self) -> None:
        endpointer = Endpointer()
        assert endpointer.speech_resumed() is None
        endpointer.speech_ended(10.0)
        assert endpointer.in_pause
        assert endpointer.speech_resumed() is None  # nothing decided yet
        endpointer.speech_ended(11.0)
        endpointer.predicted(prediction(0.2), 0.5, 11.25)
        record = endpointer.speech_resumed()
        assert record is not None
        assert (record.ends_turn, record.reason) == (False, DecisionReason.RESUMED)
        assert record.probability == 0.2
        assert not endpointer.in_pause
        assert endpointer.decision is None

    @pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.SUPERSEDED])
    def test_what_decides_nothing(self, outcome: Outcome) -> None:
        endpointer = Endpointer()
        endpointer.speech_ended(10.0)
        assert endpointer.predicted(prediction(0.0, outcome), 0.5, 10.2) is None

    def test_outside_a_pause(self) -> None:
        endpointer = Endpointer()
        assert endpointer.predicted(prediction(0.9), 0.5, 10.2) is None
        endpointer.speech_ended(10.0)
        endpointer.turn_ended()
        endpointer.turn_ended()
        assert endpointer.predicted(prediction(0.9), 0.5, 10.2) is None

    def test_a_later_prediction_replaces_the_earlier(self) -> None:
        endpointer = Endpointer()
        endpointer.speech_ended(10.0)
        endpointer.predicted(prediction(0.2), 0.5, 10.25)
        decision = endpointer.predicted(prediction(0.9), 0.5, 11.0)
        assert decision is not None
        assert decision.commit_at == 11.0

    def test_options_change(self) -> None:
        endpointer = Endpointer()
        endpointer.options = EndpointingOptions(0.1, 0.2)
        assert endpointer.options.max_delay == 0.2

    def test_bad_input(self) -> None:
        with pytest.raises(TypeError, match="options must be EndpointingOptions, got dict"):
            Endpointer({"min_delay": 0.3})  # type: ignore[arg-type]
        endpointer = Endpointer()
        endpointer.speech_ended(0.0)
        with pytest.raises(ValueError, match="threshold must be between 0 and 1"):
            endpointer.predicted(prediction(0.5), 1.5, 0.2)
        for at in (float("nan"), float("inf"), "1.0", None):
            with pytest.raises(ValueError, match="at must be a finite number of seconds"):
                endpointer.speech_ended(at)  # type: ignore[arg-type]

    @given(
        p=st.floats(0, 1),
        threshold=st.floats(0, 1),
        at=st.floats(0, 5),
        low=st.floats(0, 2),
        more=st.floats(0, 3),
    )
    def test_never_before_the_minimum_nor_after_the_maximum_or_the_answer(
        self, p: float, threshold: float, at: float, low: float, more: float
    ) -> None:
        endpointer = Endpointer(EndpointingOptions(low, low + more))
        endpointer.speech_ended(100.0)
        decision = endpointer.predicted(prediction(p), threshold, 100.0 + at)
        assert decision is not None
        assert decision.commit_at >= 100.0 + low
        assert decision.commit_at <= max(100.0 + low + more, 100.0 + at) + 1e-9
        assert (decision.reason is DecisionReason.LIKELY) == (p >= threshold)
