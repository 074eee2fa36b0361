"""Intervals, and figures for speakers that a policy was not chosen on. Both draw whole clusters (speakers or calls)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .metrics import weighted_auc, weighted_average_precision
from .pauses import Floats, Pauses
from .policies import PolicyFamily
from .sweep import BUDGETS, Budget, best_index, rates

RESAMPLES = 1000
SPLITS = 20
MIN_CLUSTERS = 5
"""With fewer speakers or calls there is no interval: drawing from so few says nothing of others."""
_CHUNK = 64
"""Resamples at a time: 64 x 18,887 policies x 4 bytes is 5 MB."""
_TOLERANCE = 2e-6
"""Budgets are compared in float32 here."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a policy chosen within a budget on one half of the clusters did to the other half; both halves in turn."""

    cutoff_rate: float
    latency: float
    splits: int
    """Random halvings that were averaged."""


def cluster_weights(n_clusters: int, resamples: int, seed: int) -> npt.NDArray[np.float32]:
    """How often each cluster is drawn, shape (resamples, n_clusters): with replacement, as many as there are."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_clusters, np.full(n_clusters, 1.0 / n_clusters), size=resamples).astype(np.float32)


def resample_scores(pauses: Pauses, resamples: int, seed: int) -> dict[str, Floats]:
    """AUC and AP of each resample of the clusters: "auc" and "ap", shape (resamples,)."""
    groups, number = pauses.clusters()
    weights = cluster_weights(number, resamples, seed)
    result: dict[str, list[Floats]] = {"auc": [], "ap": []}
    step = max(1, 4_000_000 // max(1, len(pauses)))
    for begin in range(0, resamples, step):
        rows = weights[begin : begin + step][:, groups]
        result["auc"].append(weighted_auc(pauses.score, pauses.is_end, rows))
        result["ap"].append(weighted_average_precision(pauses.score, pauses.is_end, rows))
    return {name: np.concatenate(parts) for name, parts in result.items()}


def resample_budgets(
    family: PolicyFamily, pauses: Pauses, resamples: int, seed: int, budgets: Sequence[Budget] = BUDGETS
) -> dict[Budget, Floats]:
    """Best value within each budget, the policy chosen anew in each resample; shape (resamples,), NaN where none fits.

    The same seed and clusters give the same resamples, so that two models may be subtracted.
    """
    groups, number = pauses.clusters()
    weights = cluster_weights(number, resamples, seed)
    counts = family.count(pauses, groups, number)
    small = replace(
        counts,
        cutoffs=counts.cutoffs.astype(np.float32),
        latency=counts.latency.astype(np.float32),
        holds=counts.holds.astype(np.float32),
        ends=counts.ends.astype(np.float32),
    )
    found: dict[Budget, list[Floats]] = {budget: [] for budget in budgets}
    for begin in range(0, resamples, _CHUNK):
        cutoff, latency = rates(small, weights[begin : begin + _CHUNK])
        for budget in budgets:
            spent, aim = (latency, cutoff) if budget.kind == "latency" else (cutoff, latency)
            within = np.where(spent <= budget.value + _TOLERANCE, aim, np.inf)
            best = np.asarray(np.nanmin(np.where(np.isnan(within), np.inf, within), axis=1), dtype=np.float64)
            found[budget].append(np.where(np.isfinite(best), best, math.nan))
    return {budget: np.concatenate(parts) for budget, parts in found.items()}


def interval(replicates: Floats, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval; None where fewer than nine tenths of the resamples have a value."""
    finite = replicates[np.isfinite(replicates)]
    if len(replicates) == 0 or len(finite) < 0.9 * len(replicates):
        return None
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def held_out(
    family: PolicyFamily,
    pauses: Pauses,
    seed: int,
    *,
    splits: int = SPLITS,
    budgets: Sequence[Budget] = BUDGETS,
) -> Mapping[Budget, HeldOut | None]:
    """Choose on one half, report on the other, and the other way round; the mean over random halvings.

    None for a budget where there are fewer than two clusters, where a half lacks holds or ends in every halving, or
    where no policy keeps to the budget.
    """
    groups, number = pauses.clusters()
    rng = np.random.default_rng(seed)
    sums: dict[Budget, list[tuple[float, float]]] = {budget: [] for budget in budgets}
    if number >= 2:
        counts = family.count(pauses, groups, number)
        for _ in range(splits):
            first = np.zeros(number, dtype=bool)
            first[rng.permutation(number)[: number // 2]] = True
            halves = np.stack([first, ~first]).astype(np.float64)
            if min((halves @ counts.holds).min(), (halves @ counts.ends).min()) == 0:
                continue
            cutoff, latency = rates(counts, halves)
            for budget in budgets:
                chosen = [best_index(family, cutoff[i], latency[i], budget) for i in (0, 1)]
                if chosen[0] is None or chosen[1] is None:
                    continue
                # What was chosen on one half did this to the other; together every pause counts once.
                cut = [counts.cutoffs[~first, chosen[0]].sum(), counts.cutoffs[first, chosen[1]].sum()]
                late = [counts.latency[~first, chosen[0]].sum(), counts.latency[first, chosen[1]].sum()]
                sums[budget].append((sum(cut) / counts.holds.sum(), sum(late) / counts.ends.sum()))
    return {
        budget: HeldOut(
            float(np.mean([c for c, _ in rows])), float(np.mean([late for _, late in rows])), len(rows)
        )
        if rows
        else None
        for budget, rows in sums.items()
    }  # fmt: skip
