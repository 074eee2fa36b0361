from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eot_core import Endpointer, EndpointingOptions, Outcome, Prediction
from eot_core.evaluation import Budget, ContinuousPolicies, DelayOnly, Pauses, PolicyFamily, StepPolicies, sweep
from eot_core.evaluation.policies import TIMEOUTS

EPS = 1e-9


def pauses(rows: list[tuple[float, float, bool]], clusters: list[str] | None = None) -> Pauses:
    """From (score, duration, is the end)."""
    score, duration, is_end = (np.array(column) for column in zip(*rows, strict=True))
    return Pauses(score, duration, is_end, np.array(clusters or ["one"] * len(rows)))


# Holds of 0.3, 0.5, 0.8 and 2.0 s; ends; what a model said of each.
KNOWN = pauses(
    [
        (0.1, 0.3, False),
        (0.2, 0.5, False),
        (0.6, 0.8, False),
        (0.3, 2.0, False),
        (0.9, 1.0, True),
        (0.8, 1.0, True),
        (0.7, 1.0, True),
        (0.4, 1.0, True),
    ]
)


def random_pauses() -> st.SearchStrategy[Pauses]:
    row = st.tuples(st.integers(0, 20).map(lambda i: i / 20), st.integers(4, 60).map(lambda i: i / 20), st.booleans())
    both = st.lists(row, min_size=2, max_size=25).filter(lambda r: len({e for *_, e in r}) == 2)
    return both.map(pauses)


class TestStep:
    def test_known_answers(self) -> None:
        family = StepPolicies((0.35, 0.65, 1.1), (0.2, 0.4), (1.0, 3.0))
        result = sweep(family, KNOWN)
        rows = {
            (p.parameters["threshold"], p.parameters["action_delay"], p.parameters["timeout"]): (
                p.cutoffs,
                round(p.latency, 9),
                p.detect_rate,
            )
            for p in (result.point(i) for i in range(12))
        }
        # 0.35: the hold of 0.8 s is cut off by the model, the one of 2.0 s by a time-out of 1 s; all ends are found.
        assert rows[0.35, 0.2, 1.0] == (2, 0.2, 1.0)
        assert rows[0.35, 0.2, 3.0] == (1, 0.2, 1.0)
        assert rows[0.35, 0.4, 3.0] == (1, 0.4, 1.0)
        # 0.65: no hold fires; three of the four ends do, the fourth waits for the time-out.
        assert rows[0.65, 0.2, 1.0] == (1, round((3 * 0.2 + 1.0) / 4, 9), 0.75)
        assert rows[0.65, 0.2, 3.0] == (0, round((3 * 0.2 + 3.0) / 4, 9), 0.75)
        # 1.1: silence alone.
        assert rows[1.1, 0.2, 1.0] == rows[1.1, 0.4, 1.0] == (1, 1.0, 0.0)
        assert rows[1.1, 0.2, 3.0] == (0, 3.0, 0.0)

    def test_budgets_and_frontier(self) -> None:
        result = sweep(StepPolicies((0.35, 0.65, 1.1), (0.2, 0.4), (1.0, 3.0)), KNOWN)
        best = result.best(Budget("latency", 0.3))
        assert best is not None
        assert (best.cutoffs, best.cutoff_rate, best.latency) == (1, 0.25, pytest.approx(0.2))
        assert best.value(Budget("latency", 0.3)) == 0.25
        none_cut = result.best(Budget("cutoff", 0.0))
        assert none_cut is not None
        assert (none_cut.latency, none_cut.parameters["threshold"]) == (pytest.approx(0.9), 0.65)
        assert none_cut.value(Budget("cutoff", 0.0)) == none_cut.latency
        assert result.best(Budget("latency", 0.1)) is None
        assert [(p.cutoffs, round(p.latency, 9)) for p in result.frontier()] == [(1, 0.2), (0, 0.9)]

    def test_labels(self) -> None:
        assert Budget("latency", 0.3).label == "cutoffs @300 ms"
        assert Budget("cutoff", 0.05).label == "latency @5 %"

    def test_reaching_and_exceeding(self) -> None:
        two = pauses([(0.5, 1.0, False), (0.5, 1.0, True)])
        assert sweep(StepPolicies((0.5,), (0.2,), (3.0,)), two).cutoff_rate[0] == 1.0
        assert sweep(StepPolicies((0.5,), (0.2,), (3.0,), strict=True), two).cutoff_rate[0] == 0.0

    def test_a_timeout_below_the_action_delay_is_left_out(self) -> None:
        assert len(StepPolicies((0.5,), (0.2, 1.0), (0.5,)).parameters["timeout"]) == 1

    @settings(max_examples=40, deadline=None)
    @given(random_pauses())
    def test_as_eot_bench_defines_it(self, some: Pauses) -> None:
        """Written out pause by pause from the definition in livekit/eot-bench's metrics."""
        family = StepPolicies(tuple(np.arange(0, 1.01, 0.1)), (0.2, 0.5, 1.0), (1.0, 2.0), strict=True)
        result = sweep(family, some)
        for i in range(len(result.latency)):
            p = result.point(i).parameters
            cut = late = found = 0
            for score, duration, is_end in zip(some.score, some.duration, some.is_end, strict=True):
                fires = score > p["threshold"]
                if is_end:
                    found += fires
                    late += p["action_delay"] if fires else p["timeout"]
                else:
                    cut += duration > p["timeout"] + EPS or (fires and duration > p["action_delay"] + EPS)
            assert result.cutoff_rate[i] == pytest.approx(cut / some.holds)
            assert result.latency[i] == pytest.approx(late / some.ends)
            assert result.detect_rate[i] == pytest.approx(found / some.ends)

    def test_published_grid(self) -> None:
        p = StepPolicies.published().parameters
        assert len(p["threshold"]) == 101 * 9 * 6
        assert StepPolicies.published().strict
        assert sorted(set(p["action_delay"])) == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
        assert sorted(set(p["timeout"])) == [1.0, 1.5, 2.0, 2.5, 3.0, 3.5]

    def test_both_families_search_grids_of_one_size(self) -> None:
        assert len(StepPolicies().parameters["threshold"]) == len(ContinuousPolicies().parameters["exponent"])

    def test_needs_both(self) -> None:
        with pytest.raises(ValueError, match="needs holds and ends, got 0 and 4"):
            sweep(StepPolicies(), KNOWN.where(KNOWN.is_end))


class TestDelayOnly:
    def test_known(self) -> None:
        result = sweep(DelayOnly((0.3, 0.6, 2.0)), KNOWN)
        assert list(result.cutoff_rate) == [0.75, 0.5, 0.0]
        assert list(result.latency) == [0.3, 0.6, 2.0]
        assert list(result.family.delays(KNOWN, 1)) == [0.6] * 8


def commits(options: EndpointingOptions, threshold: float, some: Pauses) -> list[float]:
    """What the Endpointer does with each pause, given each score when it is due and asked for."""
    result = []
    for i in range(len(some)):
        endpointer = Endpointer(options)
        endpointer.speech_ended(0.0)
        decision = endpointer.predicted(said(some.score[i]), threshold, float(some.answered_at[i]))
        for at, score in zip(some.later_at, some.later[i], strict=True):
            due = endpointer.rescore_at
            if due is not None and due <= at + 1e-9 and np.isfinite(score):
                decision = endpointer.predicted(said(score), threshold, float(at))
        assert decision is not None
        result.append(decision.commit_at)
    return result


def said(probability: float) -> Prediction:
    return Prediction(float(probability), Outcome.ANSWERED, None, "m", "local", "r")


class TestWhatIsTunedIsWhatRuns:
    @settings(max_examples=30, deadline=None)
    @given(random_pauses(), st.data())
    def test_step(self, some: Pauses, data: st.DataObject) -> None:
        family = StepPolicies((0.0, 0.3, 0.55, 1.0), (0.1, 0.3, 1.0), (1.0, 2.5))
        self.check(family, some, data)

    @settings(max_examples=30, deadline=None)
    @given(random_pauses(), st.data())
    def test_continuous(self, some: Pauses, data: st.DataObject) -> None:
        self.check(ContinuousPolicies((0.1, 0.3), (1.0, 2.5), (0.3, 1.0, 4.0)), some, data)

    @settings(max_examples=60, deadline=None)
    @given(random_pauses(), st.data())
    def test_rescored(self, some: Pauses, data: st.DataObject) -> None:
        later = data.draw(
            st.lists(
                st.lists(st.integers(0, 20).map(lambda i: i / 20), min_size=3, max_size=3),
                min_size=len(some),
                max_size=len(some),
            )
        )
        some = Pauses(
            some.score,
            some.duration,
            some.is_end,
            some.cluster,
            later=np.array(later, dtype=float),
            later_at=np.array([0.4, 0.6, 0.8]),
        )
        self.check(ContinuousPolicies((0.1, 0.3), (0.7, 1.0), (0.3, 1.0, 4.0), rescore=True), some, data)

    def check(self, family: PolicyFamily, some: Pauses, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(next(iter(family.parameters.values()))) - 1))
        p = {name: float(values[index]) for name, values in family.parameters.items()}
        if "threshold" in p:
            options, threshold = EndpointingOptions(p["action_delay"], p["timeout"]), p["threshold"]
        else:
            again = 0.2 if getattr(family, "rescore", False) else None
            options = EndpointingOptions(p["min_delay"], p["max_delay"], p["exponent"], again)
            threshold = 0.5
        tuned = family.delays(some, index)
        assert commits(options, threshold, some) == pytest.approx(list(tuned))
        # And the rates of the sweep are those of the delays.
        result = sweep(family, some)
        cut = (tuned[~some.is_end] < some.duration[~some.is_end] - EPS).mean()
        assert result.cutoff_rate[index] == pytest.approx(cut)
        assert result.latency[index] == pytest.approx(tuned[some.is_end].mean())


def test_counts_by_group_add_up() -> None:
    rng = np.random.default_rng(3)
    n = 200
    some = Pauses(
        rng.uniform(size=n), rng.uniform(0.2, 4, n), rng.uniform(size=n) < 0.5, rng.integers(0, 9, n).astype(str)
    )
    groups, number = some.clusters()
    for family in (StepPolicies(), DelayOnly(), ContinuousPolicies(exponents=(0.5, 2.0))):
        counts = family.count(some, groups, number)
        whole = sweep(family, some)
        assert counts.holds.sum() == some.holds
        assert counts.ends.sum() == some.ends
        np.testing.assert_allclose(counts.cutoffs.sum(axis=0) / some.holds, whole.cutoff_rate)
        np.testing.assert_allclose(counts.latency.sum(axis=0) / some.ends, whole.latency)
        np.testing.assert_allclose(counts.detected.sum(axis=0) / some.ends, whole.detect_rate)
        of_one = some.where(groups == 4)
        np.testing.assert_allclose(counts.cutoffs[4] / of_one.holds, sweep(family, of_one).cutoff_rate)


def test_a_score_that_comes_late_delays_the_commit() -> None:
    late = Pauses(np.array([0.9, 0.9]), np.array([0.4, 1.0]), np.array([False, True]), np.array(["a", "b"]))
    late = Pauses(late.score, late.duration, late.is_end, late.cluster, answered_at=np.array([0.5, 0.5]))
    result = sweep(StepPolicies((0.5,), (0.3,), (1.0,)), late)
    assert (result.cutoff_rate[0], result.latency[0]) == (0.0, 0.5)
    assert TIMEOUTS[0] == 1.0
