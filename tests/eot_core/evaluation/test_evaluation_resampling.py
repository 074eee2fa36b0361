from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from eot_core.evaluation import (
    Budget,
    ContinuousPolicies,
    DelayOnly,
    Pauses,
    PolicyFamily,
    StepPolicies,
    auc,
    sweep,
)
from eot_core.evaluation.benchmark import benchmark, families_for
from eot_core.evaluation.evaluate import differences, evaluate
from eot_core.evaluation.resampling import cluster_weights, held_out, interval, resample_budgets, resample_scores
from eot_core.evaluation.simulation import Policy, delays

SMALL = StepPolicies(tuple(np.arange(0, 1.01, 0.05)), (0.2, 0.5), (1.0, 2.0))


def drawn(n: int = 400, clusters: int = 20, seed: int = 0, shift: float = 0.3) -> Pauses:
    rng = np.random.default_rng(seed)
    is_end = rng.uniform(size=n) < 0.5
    score = np.clip(rng.normal(0.35, 0.2, n) + shift * is_end, 0, 1)
    return Pauses(score, rng.uniform(0.2, 3.0, n), is_end, rng.integers(0, clusters, n).astype(str))


class TestResampling:
    def test_deterministic(self) -> None:
        some = drawn()
        one, again, other = (resample_scores(some, 50, seed)["auc"] for seed in (1, 1, 2))
        assert np.array_equal(one, again)
        assert not np.array_equal(one, other)
        budgets = [resample_budgets(SMALL, some, 50, 1) for _ in range(2)]
        for budget, values in budgets[0].items():
            assert np.array_equal(values, budgets[1][budget], equal_nan=True)

    def test_whole_clusters_are_drawn(self) -> None:
        some = drawn(60, 6)
        groups, number = some.clusters()
        weights = cluster_weights(number, 3, 7)
        assert weights.sum(axis=1).tolist() == [6, 6, 6]
        for i, row in enumerate(weights):
            copies = np.repeat(np.arange(len(some)), row[groups].astype(int))
            again = some.where(copies)
            assert resample_scores(some, 3, 7)["auc"][i] == pytest.approx(auc(again.score, again.is_end))
            for budget, values in resample_budgets(SMALL, some, 3, 7).items():
                best = sweep(SMALL, again).best(budget)
                wanted = math.nan if best is None else best.value(budget)
                assert values[i] == pytest.approx(wanted, rel=1e-5, nan_ok=True)

    def test_the_interval_covers(self) -> None:
        some = drawn()
        found = interval(resample_scores(some, 300, 0)["auc"])
        assert found is not None
        assert found[0] < auc(some.score, some.is_end) < found[1]
        assert interval(np.zeros(0)) is None
        assert interval(np.array([1.0, math.nan, math.nan])) is None


class TestParts:
    """With a cluster for each recording the whole grid does not fit into memory."""

    @pytest.mark.parametrize("family", [SMALL, DelayOnly(), ContinuousPolicies(exponents=(0.5, 1.0, 2.0))])
    @pytest.mark.parametrize("cells", [1, 500, 10**9])
    def test_they_add_up_to_the_whole(self, family: PolicyFamily, cells: int) -> None:
        some = drawn(60, 12)
        groups, number = some.clusters()
        whole = family.count(some, groups, number)
        parts = list(family.parts(some, groups, number, cells))
        size = len(next(iter(family.parameters.values())))
        assert [i for policies, _ in parts for i in range(size)[policies]] == list(range(size))
        for name in ("cutoffs", "latency", "detected"):
            joined = np.concatenate([getattr(counts, name) for _, counts in parts], axis=1)
            assert np.array_equal(joined, getattr(whole, name))

    def test_memory_does_not_grow_with_the_clusters(self) -> None:
        peaks = []
        for clusters in (50, 800):
            some = drawn(1600)
            some = replace(some, cluster=(np.arange(1600) % clusters).astype(str))
            tracemalloc.start()
            evaluate("m", some, resamples=2)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        # 800 clusters x 18,887 policies x 3 figures would be 363 MB at once.
        assert peaks[1] < peaks[0] + 150e6


class TestHeldOut:
    def test_by_hand(self) -> None:
        """Two speakers: what is chosen on one is measured on the other."""
        some = Pauses(
            np.array([0.9, 0.1, 0.9, 0.5]),
            np.array([1.0, 0.8, 1.0, 0.8]),
            np.array([True, False, True, False]),
            np.array(["a", "a", "b", "b"]),
        )
        family = StepPolicies((0.3, 0.7), (0.2,), (1.0,))
        # On "a" both thresholds cut nothing off, and the higher is taken; on "b" only 0.7 does.
        result = held_out(family, some, 0, splits=3, budgets=(Budget("cutoff", 0.0),))[Budget("cutoff", 0.0)]
        assert result is not None
        assert (result.cutoff_rate, result.latency, result.splits) == (0.0, pytest.approx(0.2), 3)
        # At 100 ms no policy keeps to the budget.
        assert held_out(family, some, 0, budgets=(Budget("latency", 0.1),))[Budget("latency", 0.1)] is None

    def test_too_optimistic_in_sample(self) -> None:
        some = drawn(120, 12, shift=0.1)
        budget = Budget("latency", 0.6)
        best = sweep(StepPolicies(), some).best(budget)
        elsewhere = held_out(StepPolicies(), some, 0)[budget]
        assert best is not None
        assert elsewhere is not None
        assert elsewhere.cutoff_rate > best.cutoff_rate

    def test_not_with_one_speaker(self) -> None:
        assert set(held_out(SMALL, drawn(40, 1), 0).values()) == {None}

    def test_not_where_a_half_has_no_ends(self) -> None:
        some = Pauses(np.array([0.1, 0.9]), np.array([1.0, 1.0]), np.array([False, True]), np.array(["a", "b"]))
        assert set(held_out(SMALL, some, 0).values()) == {None}


class TestEvaluate:
    def test_json_is_the_same_every_time(self) -> None:
        some = drawn()
        one = evaluate("m", some, families=[SMALL], resamples=40)
        assert one.to_json() == evaluate("m", some, families=[SMALL], resamples=40).to_json()
        assert one.to_json() != evaluate("m", some, families=[SMALL], resamples=40, seed=1).to_json()
        assert one.family("step").policies == 21 * 4
        with pytest.raises(KeyError):
            one.family("none")

    def test_few_speakers_give_no_interval(self) -> None:
        result = evaluate("m", drawn(60, 4), families=[SMALL])
        assert result.auc_interval is None
        assert all(b.interval is None for b in result.families[0].budgets)

    def test_without_ends(self) -> None:
        some = drawn(30)
        result = evaluate("m", some.where(~some.is_end))
        assert result.families == ()
        assert result.to_json()["auc"] is None

    def test_differences(self) -> None:
        some = drawn(600, 30)
        better = some.with_scores(np.where(some.is_end, np.minimum(1, some.score + 0.2), some.score))
        one, other = (evaluate(n, p, families=[SMALL], resamples=100) for n, p in (("one", better), ("other", some)))
        gain = differences(one, other)
        assert gain["auc"]["gain"] > 0
        assert gain["auc"]["interval"][0] > 0  # the same speakers were drawn for both
        assert gain["budgets"]["cutoffs @600 ms"]["gain"] < 0
        nothing = differences(one, one)
        assert nothing["auc"] == {"gain": 0.0, "interval": (0.0, 0.0)}
        with pytest.raises(ValueError, match="were not measured on the same pauses"):
            differences(one, evaluate("x", some.where(slice(0, 100)), families=[SMALL], resamples=0))


class TestBenchmark:
    def test_groups_and_differences(self) -> None:
        some = drawn(200, 20)
        language = np.where(np.arange(200) % 2 == 0, "de", "en")
        some = Pauses(some.score, some.duration, some.is_end, some.cluster, language=language)
        told: list[tuple[int, int]] = []
        result = benchmark(
            "d",
            {"a": some, "b": some.with_scores(1 - some.score), "vad": some.with_scores(np.full(200, 0.5))},
            sources=["calls"] * 100 + ["read"] * 100,
            resamples=20,
            on_progress=lambda *progress: told.append(progress),
        )
        # Of 200 pauses: three families for a model and one for silence alone, then one for each half of both kinds.
        assert told[0] == (0, (3 + 3 + 1) * 200 + 3 * 4 * 100)
        steps = np.diff([done for done, _ in told]).tolist()
        assert steps == [200] * 3 + [100] * 4 + [200] * 3 + [100] * 4 + [200] + [100] * 4
        assert list(result.groups) == ["language", "source"]
        assert sorted(result.groups["language"]) == ["de", "en"]
        data = result.to_json()
        assert [d["model"] for d in data["differences"]] == ["b"]
        assert data["differences"][0]["against"] == "a"
        assert data["models"]["vad"]["auc"] is None
        assert [f["name"] for f in data["models"]["a"]["families"]] == ["step", "eot-bench", "continuous"]
        assert sorted(data["group_differences"]["source"]) == ["calls", "read"]
        # Vad has no model to be compared with, whichever comes first.
        assert benchmark("d", {"vad": some, "a": some}, resamples=0).to_json()["differences"] == []

    def test_families(self) -> None:
        assert [f.name for f in families_for("vad")] == ["delay"]
        assert [f.name for f in families_for("m", rescored=True)] == ["step", "eot-bench", "continuous", "rescored"]


class TestSimulation:
    """The numbers of the report come from the Endpointer itself."""

    @pytest.mark.parametrize(
        "family", [f for f in [*families_for("m", rescored=True), DelayOnly()] if f.name != "eot-bench"]
    )
    def test_the_best_policies_do_in_the_endpointer_what_the_sweep_says(self, family: StepPolicies) -> None:
        some = drawn(300)
        rng = np.random.default_rng(1)
        later = np.clip(some.score[:, None] + rng.normal(0, 0.1, (300, 4)), 0, 1)
        some = Pauses(
            some.score, some.duration, some.is_end, some.cluster, later=later, later_at=np.array([0.4, 0.6, 0.8, 1.0])
        )
        result = sweep(family, some)
        for budget in (Budget("latency", 0.6), Budget("cutoff", 0.1), Budget("cutoff", 0.3)):
            best = result.best(budget)
            if best is None:
                continue
            delay = delays(Policy.of(family.name, best.parameters), some)
            assert delay == pytest.approx(family.delays(some, best.index), abs=1e-6)
            assert delay[some.is_end].mean() == pytest.approx(best.latency, abs=1e-6)
            assert (delay < some.duration - 1e-6)[~some.is_end].sum() == best.cutoffs

    def test_unknown_family(self) -> None:
        with pytest.raises(ValueError, match="family 'x' is unknown"):
            Policy.of("x", {})
