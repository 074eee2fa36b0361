from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eot_core import Endpointer, EndpointingOptions, Outcome, Prediction
from eot_core.endpointing import LOGIT_LIMIT
from eot_core.events import DecisionReason

P = st.floats(0, 1)
OPTIONS = st.builds(
    lambda low, more, exponent: EndpointingOptions(low, low + more, exponent),
    st.floats(0, 2),
    st.floats(0.01, 3),
    st.one_of(st.none(), st.floats(0.05, 50)),
)


def said(probability: float, outcome: Outcome = Outcome.ANSWERED) -> Prediction:
    answered = outcome is Outcome.ANSWERED
    return Prediction(probability, outcome, None if answered else "why", "m", "local" if answered else "default", "r")


class TestOptions:
    @pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "2", True])
    def test_exponent(self, value: Any) -> None:
        with pytest.raises(ValueError, match="exponent must be a number more than 0"):
            EndpointingOptions(exponent=value)

    def test_rescore_every(self) -> None:
        with pytest.raises(ValueError, match="rescore_every needs exponent"):
            EndpointingOptions(rescore_every=0.2)
        with pytest.raises(ValueError, match="rescore_every must be more than 0"):
            EndpointingOptions(exponent=2, rescore_every=0)

    def test_the_formula(self) -> None:
        options = EndpointingOptions(0.2, 2.2, 2.0)
        assert [options.delay_for(p, 0.5) for p in (1.0, 0.5, 0.0)] == pytest.approx([0.2, 0.7, 2.2])


class TestThreshold:
    @settings(deadline=None)
    @given(OPTIONS, P, st.floats(0, 6), st.floats(0, 6))
    def test_never_rises_while_the_silence_lasts(
        self, options: EndpointingOptions, threshold: float, one: float, other: float
    ) -> None:
        early, late = sorted((one, other))
        assert options.threshold_at(early, threshold) >= options.threshold_at(late, threshold)

    @settings(deadline=None)
    @given(OPTIONS, P, P)
    def test_the_delay_is_when_the_probability_reaches_it(
        self, options: EndpointingOptions, threshold: float, p: float
    ) -> None:
        delay = options.delay_for(p, threshold)
        assert options.min_delay <= delay <= options.max_delay + 1e-12
        assert p >= options.threshold_at(delay + 1e-6, threshold) - 1e-4
        if delay - 1e-3 >= options.min_delay and options.exponent is None:
            assert p < options.threshold_at(delay - 1e-3, threshold)

    @settings(deadline=None)
    @given(OPTIONS, P, P, P)
    def test_the_surer_the_sooner(
        self, options: EndpointingOptions, threshold: float, one: float, other: float
    ) -> None:
        low, high = sorted((one, other))
        assert options.delay_for(high, threshold) <= options.delay_for(low, threshold)


class TestContinuous:
    def test_commits(self) -> None:
        endpointer = Endpointer(EndpointingOptions(0.2, 2.2, 2.0))
        endpointer.speech_ended(10.0)
        decision = endpointer.predicted(said(0.5), 0.4, 10.25)
        assert decision is not None
        assert decision.commit_at == pytest.approx(10.7)
        assert decision.reason is DecisionReason.LIKELY
        assert endpointer.rescore_at is None

    def test_a_default_ends_the_turn_at_the_minimum(self) -> None:
        endpointer = Endpointer(EndpointingOptions(0.3, 2.2, 2.0, 0.2))
        endpointer.speech_ended(10.0)
        decision = endpointer.predicted(said(1.0, Outcome.DEFAULT), 0.5, 10.2)
        assert decision is not None
        assert (decision.reason, decision.commit_at) == (DecisionReason.DEFAULT, 10.3)
        assert endpointer.rescore_at is None


class TestRescored:
    OPTIONS = EndpointingOptions(0.2, 2.2, 1.0, 0.2)

    def test_scores_are_averaged_as_logits(self) -> None:
        endpointer = Endpointer(self.OPTIONS)
        assert endpointer.rescore_at is None
        endpointer.speech_ended(10.0)
        first = endpointer.predicted(said(0.2), 0.5, 10.23)
        assert first is not None
        assert first.commit_at == pytest.approx(10.0 + 0.2 + 2.0 * 0.8)
        assert endpointer.rescore_at == pytest.approx(10.4)  # the next multiple, not 0.2 s after the answer
        second = endpointer.predicted(said(0.8), 0.5, 10.4)
        assert second is not None
        # The mean of two opposite logits is 0: p = 0.5; what is reported stays the model's own.
        assert second.commit_at == pytest.approx(10.0 + 0.2 + 2.0 * 0.5)
        assert second.probability == 0.8
        assert endpointer.rescore_at == pytest.approx(10.6)

    def test_one_extreme_score_can_be_outvoted(self) -> None:
        endpointer = Endpointer(self.OPTIONS)
        endpointer.speech_ended(0.0)
        endpointer.predicted(said(0.0), 0.5, 0.2)
        decision = endpointer.predicted(said(1.0), 0.5, 0.4)
        assert decision is not None
        assert decision.commit_at == pytest.approx(0.2 + 2.0 * 0.5)
        assert LOGIT_LIMIT == 7.0

    def test_not_when_it_would_be_too_late(self) -> None:
        endpointer = Endpointer(self.OPTIONS)
        endpointer.speech_ended(0.0)
        decision = endpointer.predicted(said(0.95), 0.5, 0.2)  # ends the turn at 0.3 s
        assert endpointer.rescore_at is None
        assert endpointer.predicted(said(0.0), 0.5, 0.4) is decision  # came after that

    def test_not_when_nothing_could_change(self) -> None:
        """With so steep a curve every score says the same."""
        endpointer = Endpointer(EndpointingOptions(1.0, 1.0, 2.0, 0.2))
        endpointer.speech_ended(0.0)
        endpointer.predicted(said(0.5), 0.5, 0.2)
        assert endpointer.rescore_at is None

    def test_a_default_does_not_overrule_a_model(self) -> None:
        endpointer = Endpointer(self.OPTIONS)
        endpointer.speech_ended(0.0)
        decision = endpointer.predicted(said(0.1), 0.5, 0.2)
        assert endpointer.predicted(said(1.0, Outcome.DEFAULT), 0.5, 0.4) is decision

    def test_a_new_pause_begins_anew(self) -> None:
        endpointer = Endpointer(self.OPTIONS)
        endpointer.speech_ended(0.0)
        endpointer.predicted(said(0.1), 0.5, 0.2)
        endpointer.speech_resumed()
        endpointer.speech_ended(5.0)
        assert endpointer.rescore_at is None
        decision = endpointer.predicted(said(0.9), 0.5, 5.2)
        assert decision is not None
        assert decision.commit_at == pytest.approx(5.0 + 0.2 + 2.0 * 0.1)

    @settings(deadline=None)
    @given(st.lists(P, min_size=1, max_size=14), st.floats(0.05, 10))
    def test_scored_again_only_while_it_matters(self, scores: list[float], exponent: float) -> None:
        """Following the advice of ``rescore_at`` gives the same end as scoring at every multiple."""
        options = EndpointingOptions(0.2, 1.5, exponent, 0.2)
        frugal, eager = Endpointer(options), Endpointer(options)
        for endpointer in (frugal, eager):
            endpointer.speech_ended(0.0)
        asked = 0
        for i, score in enumerate(scores):
            at = round(0.2 * (i + 1), 6)
            last = eager.predicted(said(score), 0.5, at)
            if i == 0 or (frugal.rescore_at is not None and frugal.rescore_at <= at + 1e-9):
                frugal.predicted(said(score), 0.5, at)
                asked += 1
        assert last is not None
        assert frugal.decision is not None
        assert frugal.decision.commit_at == pytest.approx(last.commit_at, abs=1e-5)
        assert asked <= 8  # at most one for each multiple before the maximum delay
