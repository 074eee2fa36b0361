"""Tuning on scores whose right answers are known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eot_core.endpointing import EndpointingOptions
from eot_core.evaluation.pauses import Pauses
from eot_core.evaluation.resampling import cluster_weights
from eot_core.evaluation.simulation import Policy, delays
from eot_core.evaluation.sweep import Budget
from eot_core.evaluation.tuning import Tuning, _better, tune
from eot_core.evaluation.tuning_bench import TIGHTENED, thresholds_for
from eot_core.evaluation.tuning_budgets import FLOOR, below_floor, budget_name, parse_budget, too_little
from eot_core.evaluation.tuning_measure import Measured, Sums, change, measured
from eot_core.models.base import ModelLicenseError

CUTOFF = Budget("cutoff", 0.05)
QUICK = Budget("latency", 0.3)


def pauses(calls: int = 12, each: int = 10, *, seed: int = 0, shift: float = 1.5, later: bool = False) -> Pauses:
    """Ends and holds in equal number; their logits are normal, ``shift`` apart."""
    rng = np.random.default_rng(seed)
    n = calls * each * 2
    is_end = np.tile([True, False], n // 2)
    logit = rng.normal(size=n) + np.where(is_end, shift, -shift)
    more: dict[str, Any] = {}
    if later:
        again = logit[:, None] + rng.normal(size=(n, 2)) * 0.3
        more = {"later": 1 / (1 + np.exp(-again)), "later_at": np.array([0.4, 0.6])}
    return Pauses(
        score=1 / (1 + np.exp(-logit)),
        duration=np.where(is_end, 2.0, rng.uniform(0.25, 2.0, n)),
        is_end=is_end,
        cluster=np.repeat([f"call-{i}" for i in range(calls)], each * 2),
        **more,
    )


def tuned(data: Pauses, *budgets: Budget, **more: Any) -> Tuning:
    values: dict[str, Any] = {"today": 0.5, "resamples": 100, **more}
    return tune("a-model", "en", data, budgets=budgets or (CUTOFF,), **values)


class TestWhatIsFound:
    def test_a_threshold_that_is_known(self) -> None:
        rng = np.random.default_rng(0)
        data = pauses()
        score = np.where(data.is_end, rng.uniform(0.62, 0.9, len(data)), rng.uniform(0.05, 0.58, len(data)))
        result = tuned(data.with_scores(score), curves=["step"])
        (point,) = result.points
        assert 0.58 < point.policy.threshold <= 0.63
        assert point.policy.options.min_delay == FLOOR
        assert point.held_out.cutoff_rate < 0.02
        assert point.held_out.latency < 0.34
        assert result.auc == 1.0

    @pytest.mark.parametrize("shifted", [lambda p: 0.2 * p**3, lambda p: 1 - (1 - p) ** 8, lambda p: p / (p + 30)])
    def test_a_planted_shift_is_recovered(self, shifted: Any) -> None:
        # Another model that ranks alike: the same pauses must end turns, at its own threshold.
        data = pauses()
        before, after = tuned(data, curves=["step"]), tuned(data.with_scores(shifted(data.score)), curves=["step"])
        (one,), (other,) = before.points, after.points
        assert np.array_equal(
            data.score >= one.policy.threshold, shifted(data.score) >= other.policy.threshold
        )  # fmt: skip
        assert other.policy.options == one.policy.options
        assert other.held_out == one.held_out
        low, high = (shifted(v) for v in (one.policy.threshold - 0.02, one.policy.threshold + 0.02))
        assert low < other.policy.threshold < high

    @pytest.mark.parametrize("curve", ["step", "continuous", "rescored"])
    def test_what_was_tuned_is_what_runs(self, curve: str) -> None:
        data = pauses(later=curve == "rescored")
        for point in tuned(data, CUTOFF, QUICK, curves=[curve]).points:
            assert point.curve == curve
            delay = delays(point.policy, data)
            cut = (delay < data.duration - 1e-9)[~data.is_end]
            assert cut.mean() == pytest.approx(point.chosen.cutoff_rate, abs=1e-9)
            assert delay[data.is_end].mean() == pytest.approx(point.chosen.latency, abs=1e-9)
            assert (delay >= FLOOR - 1e-9).all()

    def test_today_is_the_default_delays(self) -> None:
        data = pauses()
        result = tuned(data, today=0.4)
        delay = delays(Policy(0.4, EndpointingOptions()), data)
        assert result.today.latency == pytest.approx(delay[data.is_end].mean())
        assert result.today.cutoff_rate == pytest.approx((delay < data.duration - 1e-9)[~data.is_end].mean())
        (point,) = result.points
        assert point.change.latency == pytest.approx(point.held_out.latency - result.today.latency)

    def test_below_the_floor(self) -> None:
        result = tuned(pauses(), QUICK, curves=["step"])
        (point,) = result.points
        assert point.policy.options.min_delay == FLOOR
        assert 0.3 < point.chosen.latency < 0.5  # the mean of 0.3 s that was chosen for, and what the floor adds
        assert 0 < point.policy.threshold < 1  # not the only policy with a mean of 0.3 s: end everything at once

    @pytest.mark.parametrize(
        ("cutoffs", "latency", "taken"),
        [
            (0.04, 0.5, "continuous"),
            (0.04, 0.8, "step"),  # slower
            (0.07, 0.5, "step"),  # quicker, above the budget
        ],
    )
    def test_the_curve_that_is_better_on_others(self, cutoffs: float, latency: float, taken: str) -> None:
        (step,) = tuned(pauses(), resamples=0, curves=["step"]).points
        step = replace(step, held_out=Measured(0.045, 0.6, None, None))
        other = replace(step, curve="continuous", held_out=Measured(cutoffs, latency, None, None))
        assert _better(CUTOFF, [step, other]).curve == taken

    def test_of_both_curves_one_is_taken(self) -> None:
        result = tuned(pauses(30, 10), Budget("latency", 0.6), resamples=0)
        assert [p.curve for p in result.points] == ["step"]  # .032 of the holds are cut off, by the other .112


class TestHowSure:
    def test_held_out_is_not_what_it_was_chosen_on(self) -> None:
        rng = np.random.default_rng(3)
        data = pauses()
        noise = data.with_scores(rng.random(len(data)))
        (point,) = tuned(noise, Budget("latency", 0.6), curves=["step"]).points
        assert point.held_out.cutoff_rate > point.chosen.cutoff_rate

    def test_a_budget_holds_on_others(self) -> None:
        kept = []
        for seed in range(4):
            (point,) = tuned(pauses(seed=seed, shift=0.7), resamples=0, curves=["step"]).points
            kept.append(point.held_out.cutoff_rate <= 0.05)
            assert point.chosen_for in [pytest.approx(0.05 * step) for step in TIGHTENED]
        assert sum(kept) >= 3

    def test_intervals(self) -> None:
        (point,) = tuned(pauses()).points
        for found in (point.held_out, point.chosen):
            assert found.cutoff_interval is not None
            assert found.cutoff_interval[0] <= found.cutoff_rate <= found.cutoff_interval[1]
            assert found.latency_interval is not None
            assert found.latency_interval[0] < found.latency < found.latency_interval[1]
        (step,) = tuned(pauses(), curves=["step"]).points
        assert step.threshold_interval is not None
        assert step.threshold_interval[0] <= step.policy.threshold <= step.threshold_interval[1]

    @pytest.mark.parametrize("calls", [6, 12, 30])
    def test_an_interval_covers_what_is_true(self, calls: int) -> None:
        """Of 400 sets of calls that differ from each other; drawing few calls alone covers .82 to .92."""
        rng = np.random.default_rng(calls)
        holds, ends = np.full(calls, 10.0), np.full(calls, 10.0)
        covered = []
        for seed in range(400):
            share = rng.beta(3, 9, calls)  # of the holds of a call: 0.25 on average
            sums = Sums(rng.binomial(10, share).astype(float), rng.gamma(8, 0.5, calls), holds, ends)
            found = measured(sums, cluster_weights(calls, 300, seed))
            assert found.cutoff_interval is not None
            assert found.latency_interval is not None
            covered.append([lo <= true <= hi for true, (lo, hi) in
                            ((0.25, found.cutoff_interval), (0.4, found.latency_interval))])  # fmt: skip
        assert np.mean(covered, axis=0) == pytest.approx([0.95, 0.95], abs=0.025)

    def test_and_it_covers_the_policy_that_is_written(self) -> None:
        """Another set of calls would have had another policy: that is more than what calls differ by."""
        (point,) = tuned(pauses(shift=0.7), Budget("latency", 0.8), curves=["step"]).points
        alone = measured(replace(point.sums, choice=(0.0, 0.0)), cluster_weights(12, 100, 0))
        assert min(point.sums.choice) > 0.005
        for wide, narrow, value in (
            (point.held_out.cutoff_interval, alone.cutoff_interval, point.held_out.cutoff_rate),
            (point.held_out.latency_interval, alone.latency_interval, point.held_out.latency),
        ):
            assert wide is not None
            assert narrow is not None
            assert wide[0] < narrow[0] < value < narrow[1] < wide[1]

    def test_an_interval_lies_where_rates_can(self) -> None:
        sums = Sums(np.array([0.0, 9.0, 1.0]), np.array([3.0, 3.0, 8.0]), np.full(3, 9.0), np.full(3, 10.0))
        weights = cluster_weights(3, 100, 0)
        found = measured(sums, weights)
        assert found.cutoff_interval == (0.0, 1.0)
        assert found.latency_interval is not None
        assert found.latency_interval[0] == FLOOR
        fewer = change(replace(sums, cutoffs=np.zeros(3)), sums, weights).cutoff_interval
        assert fewer is not None
        assert fewer[0] == -1.0
        assert change(sums, sums, weights).cutoff_interval == (0.0, 0.0)

    def test_none_without_resamples(self) -> None:
        (point,) = tuned(pauses(), resamples=0, curves=["step"]).points
        assert point.threshold_interval is None
        assert point.held_out.cutoff_interval is None

    def test_the_same_again(self) -> None:
        assert tuned(pauses()) == tuned(pauses())

    def test_many_calls_are_tied_together(self) -> None:
        result = tuned(pauses(calls=450, each=1), curves=["step"])
        assert result.calls == 450
        assert result.points[0].held_out.cutoff_interval is not None


class TestTooLittle:
    @pytest.mark.parametrize(
        ("calls", "each", "budget", "lacks"),
        [
            (4, 20, CUTOFF, ["4 calls or speakers, needs 5"]),
            (6, 3, CUTOFF, ["18 ends of turns, needs 30", "18 pauses inside turns, needs 40"]),
            (6, 6, QUICK, []),
            (6, 6, CUTOFF, ["36 pauses inside turns, needs 40"]),
            (6, 6, Budget("cutoff", 0.5), []),
            (12, 8, Budget("cutoff", 0.02), ["96 pauses inside turns, needs 100"]),
        ],
    )
    def test_what_is_missing(self, calls: int, each: int, budget: Budget, lacks: list[str]) -> None:
        assert too_little(pauses(calls, each), budget) == lacks
        result = tuned(pauses(calls, each), budget, curves=["step"])
        assert bool(result.points) == (not lacks)
        assert [why for _, why in result.missing] == (["too little data: " + "; ".join(lacks)] if lacks else [])

    def test_nothing_at_all(self) -> None:
        result = tuned(pauses(0, 0))
        assert (result.calls, result.holds, result.ends, result.points) == (0, 0, 0, ())
        assert math.isnan(result.auc)
        assert math.isnan(result.today.latency)

    def test_ends_alone(self) -> None:
        data = pauses()
        result = tuned(data.where(data.is_end))
        assert result.points == ()
        assert math.isnan(result.today.cutoff_rate)

    def test_a_budget_that_nothing_keeps_to(self) -> None:
        data = pauses()
        long = Pauses(data.score, np.where(data.is_end, 2.0, 4.5), data.is_end, data.cluster)
        result = tuned(long.with_scores(np.full(len(data), 0.5)), curves=["step"])
        assert result.missing == ((CUTOFF, "no policy keeps to it on these calls"),)

    def test_holds_that_are_not_counted(self) -> None:
        data = pauses()
        short = Pauses(data.score, np.where(data.is_end, 2.0, 0.1), data.is_end, data.cluster)
        assert tuned(short).holds == 0


@pytest.mark.parametrize("name", ["turn-detector-v1-mini", "v1-mini"])
def test_it_refuses_v1_mini_s_scores(name: str) -> None:
    with pytest.raises(ModelLicenseError, match=r"LiveKit Model License.*train, tune and calibrate nothing"):
        tune(name, "en", pauses(), budgets=[CUTOFF], today=0.5)


def test_an_unknown_curve() -> None:
    with pytest.raises(ValueError, match="curve 'wavy' is unknown: step, continuous or rescored"):
        tuned(pauses(), curves=["wavy"])


class TestBudgets:
    def test_parsed(self) -> None:
        assert parse_budget("cutoff=0.05") == CUTOFF
        assert parse_budget("latency=0.3") == QUICK
        assert (budget_name(CUTOFF), budget_name(QUICK)) == ("cutoff 5 %", "latency 0.3 s")
        assert [below_floor(b) for b in (CUTOFF, QUICK, Budget("latency", 0.4))] == [False, True, False]

    @pytest.mark.parametrize(
        "text", ["", "0.05", "cutoff", "cutoff=", "cutoff=5", "cutoff=0", "latency=0.1", "latency=9", "speed=1",
                 "cutoff=nan"],
    )  # fmt: skip
    def test_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"give cutoff=SHARE .* or latency=SECONDS"):
            parse_budget(text)


class TestThresholds:
    def test_between_the_scores_that_occur(self) -> None:
        assert thresholds_for(np.array([0.2, 0.4, 0.4, 0.9])).tolist() == [0.0, 0.3, 0.65, 1.0]

    def test_no_more_than_asked_for(self) -> None:
        found = thresholds_for(np.random.default_rng(0).random(5_000) ** 6)
        assert len(found) <= 101
        assert np.median(found) < 0.1  # where the scores are

    def test_without_scores(self) -> None:
        assert thresholds_for(np.zeros(0)).tolist() == [0.0, 1.0]
