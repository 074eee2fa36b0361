"""Intervals, and figures for speakers that a policy was not chosen on. Both draw whole clusters (speakers or calls)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .metrics import weighted_auc, weighted_average_precision
from .pauses import Floats, Pauses
from .policies import EPSILON, PolicyFamily
from .sweep import BUDGETS, Budget, best_index, rates

RESAMPLES = 1000
SPLITS = 20
MIN_CLUSTERS = 5
"""With fewer speakers or calls there is no interval: drawing from so few says nothing of others."""
_CHUNK = 64
"""Resamples at a time: what a part of the grid makes of them stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a policy chosen within a budget on one half of the clusters did to the other half; both halves in turn."""

    cutoff_rate: float
    latency: float
    splits: int
    """Random halvings that were averaged."""


def cluster_weights(n_clusters: int, resamples: int, seed: int) -> Floats:
    """How often each cluster is drawn, shape (resamples, n_clusters): with replacement, as many as there are."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_clusters, np.full(n_clusters, 1.0 / n_clusters), size=resamples).astype(np.float64)


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
    holds, ends = (
        weights @ np.bincount(groups[kind], minlength=number).astype(np.float64)
        for kind in (~pauses.is_end, pauses.is_end)
    )
    found = {budget: np.full(resamples, np.inf) for budget in budgets}
    small = weights.astype(np.float32)
    for _, counts in family.parts(pauses, groups, number):
        # Sums of whole numbers are exact in float32, whatever their order; those of seconds are not.
        cutoffs = counts.cutoffs.astype(np.float32)
        for begin in range(0, resamples, _CHUNK):
            rows = slice(begin, begin + _CHUNK)
            cut, late = small[rows] @ cutoffs, weights[rows] @ counts.latency
            for budget, best in found.items():
                spent, of, aim = (late, ends, cut) if budget.kind == "latency" else (cut, holds, late)
                most = (budget.value + EPSILON) * of[rows, None]
                best[rows] = np.minimum(best[rows], np.where(spent <= most, aim, np.inf).min(axis=1))
    drawn = (holds > 0) & (ends > 0)
    result = {}
    for budget, best in found.items():
        of = holds if budget.kind == "latency" else ends
        result[budget] = np.divide(best, of, out=np.full(resamples, math.nan), where=drawn & np.isfinite(best))
    return result


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
    halves = _halves(pauses, groups, number, seed, splits) if number >= 2 else []
    sums: dict[Budget, list[tuple[float, float]]] = {budget: [] for budget in budgets}
    if halves:
        rows = np.concatenate([np.stack([first, ~first]) for first in halves]).astype(np.float64)
        parts = [rates(counts, rows) for _, counts in family.parts(pauses, groups, number)]
        cutoff, latency = (np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))
        holds, ends = (rows @ np.bincount(groups[kind], minlength=number) for kind in (~pauses.is_end, pauses.is_end))
        for one in range(0, len(rows), 2):
            other = one + 1
            for budget in budgets:
                chosen = [best_index(family, cutoff[i], latency[i], budget) for i in (one, other)]
                if chosen[0] is None or chosen[1] is None:
                    continue
                # What was chosen on one half did this to the other; together every pause counts once.
                cut = cutoff[other, chosen[0]] * holds[other] + cutoff[one, chosen[1]] * holds[one]
                late = latency[other, chosen[0]] * ends[other] + latency[one, chosen[1]] * ends[one]
                sums[budget].append((cut / pauses.holds, late / pauses.ends))
    return {
        budget: HeldOut(
            float(np.mean([c for c, _ in rows])), float(np.mean([late for _, late in rows])), len(rows)
        )
        if rows
        else None
        for budget, rows in sums.items()
    }  # fmt: skip


def _halves(
    pauses: Pauses, groups: npt.NDArray[np.intp], number: int, seed: int, splits: int
) -> list[npt.NDArray[np.bool_]]:
    """Random halves of the clusters, shape (number,) each; none where a half would lack holds, or ends."""
    rng = np.random.default_rng(seed)
    holds = np.bincount(groups[~pauses.is_end], minlength=number)
    ends = np.bincount(groups[pauses.is_end], minlength=number)
    halves = []
    for _ in range(splits):
        first = np.zeros(number, dtype=bool)
        first[rng.permutation(number)[: number // 2]] = True
        if min(holds[first].sum(), holds[~first].sum(), ends[first].sum(), ends[~first].sum()) > 0:
            halves.append(first)
    return halves
