"""Threshold and delays from one's own calls: chosen with the Endpointer's curves, reported on calls not chosen on.

Every policy of a grid is tried (:mod:`.policies`), and the best within a budget taken. What it does is measured by
cross-fitting: the calls are halved at random, each half is judged by what was chosen on the other, and that is averaged
over :data:`SPLITS` halvings. Intervals draw whole calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..endpointing import EndpointingOptions
from ..models import v1_mini
from ..models.base import ModelLicenseError
from .metrics import auc
from .pauses import Floats, Pauses
from .policies import StepPolicies
from .resampling import RESAMPLES, cluster_weights
from .simulation import Policy
from .sweep import Budget
from .tuning_bench import Bench, Tuned, grids_for
from .tuning_budgets import too_little
from .tuning_measure import NOTHING, Measured, both_of, change, measured, sums_of

MAX_GROUPS = 200
"""More calls than this are tied together at random, and halved and drawn so: memory is (groups, 18,887)."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """One model in one language."""

    model: str
    language: str
    calls: int
    holds: int
    ends: int
    auc: float
    today_policy: Policy
    today: Measured
    points: tuple[Tuned, ...]
    missing: tuple[tuple[Budget, str], ...]
    """Budgets without a point, and why."""

    def point(self, budget: Budget) -> Tuned | None:
        """The policy for ``budget``; None where there is none."""
        return next((p for p in self.points if p.budget == budget), None)


def tune(
    model: str,
    language: str,
    pauses: Pauses,
    *,
    budgets: Sequence[Budget],
    today: float,
    curves: Sequence[str] = ("step", "continuous"),
    against: Pauses | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Tuning:
    """Tune one model in one language. The same arguments give the same result.

    Args:
        model: full name.
        language: key.
        pauses: with the model's scores; the cluster is the call. Holds outside 0.2-5 s are not counted.
        budgets: what to tune for. One that there is too little data for, or that no policy keeps to, has no point.
        today: the threshold in force, 0..1, with the default delays; what is chosen is held against it.
        curves: "step", "continuous", "rescored" (needs later scores). The step is taken unless another is better on
            held-out calls.
        against: the same pauses, with the scores that ``today`` judges; None: these.
        seed: of halves and resamples.
        resamples: for the intervals.

    Raises:
        ModelLicenseError: v1-mini's scores tune nothing.
        ValueError: a curve is unknown.
    """
    if model in (v1_mini.NAME, "v1-mini"):
        raise ModelLicenseError(f"{v1_mini.REFUSAL}; its scores train, tune and calibrate nothing")
    counted = pauses.counted()
    now = Policy(today, EndpointingOptions())
    grids = [grids_for(curve, counted) for curve in curves]
    missing: list[tuple[Budget, str]] = []
    wanted: list[Budget] = []
    for budget in dict.fromkeys(budgets):
        lacks = too_little(counted, budget)
        if lacks:
            missing.append((budget, "too little data: " + "; ".join(lacks)))
        else:
            wanted.append(budget)
    points: list[Tuned] = []
    calls = counted.clusters()[1]
    groups, number = _groups(counted, seed)
    weights = _weights(number, resamples, seed)
    judged = counted if against is None else against.counted()
    today_sums = sums_of(_single(now).count(judged, groups, number), 0) if number else None
    if wanted and today_sums is not None:
        found: dict[Budget, list[Tuned]] = {budget: [] for budget in wanted}
        for curve, (free, run) in zip(curves, grids, strict=True):
            bench = Bench(curve, free, run, counted, groups, number, seed, weights, today_sums)
            for budget, tuned in bench.tune(wanted).items():
                found[budget].append(tuned)
        for budget, candidates in found.items():
            if candidates:
                points.append(_better(budget, candidates))
            else:
                missing.append((budget, "no policy keeps to it on these calls"))
    both = counted.holds > 0 and counted.ends > 0
    return Tuning(
        model=model,
        language=language,
        calls=calls,
        holds=counted.holds,
        ends=counted.ends,
        auc=auc(counted.score, counted.is_end) if both else float("nan"),
        today_policy=now,
        today=measured(today_sums, weights) if both and today_sums is not None else NOTHING,
        points=tuple(points),
        missing=tuple(missing),
    )


def _weights(number: int, resamples: int, seed: int) -> Floats:
    return np.asarray(cluster_weights(max(1, number), resamples if number else 0, seed), dtype=np.float64)


def change_between(one: Tuned, other: Tuned, *, seed: int = 0, resamples: int = RESAMPLES) -> Measured:
    """``one`` less ``other`` on held-out calls. Both are of the same calls, tuned with the same seed and resamples."""
    return change(one.sums, other.sums, _weights(len(one.sums.holds), resamples, seed))


def _single(policy: Policy) -> StepPolicies:
    return StepPolicies((policy.threshold,), (policy.options.min_delay,), (policy.options.max_delay,))


def _groups(pauses: Pauses, seed: int) -> tuple[npt.NDArray[np.intp], int]:
    groups, number = pauses.clusters()
    if number <= MAX_GROUPS:
        return groups, number
    tied = np.random.default_rng(seed).permutation(number) % MAX_GROUPS
    return tied[groups].astype(np.intp), MAX_GROUPS


def _better(budget: Budget, candidates: list[Tuned]) -> Tuned:
    """The first, unless another is better where it counts and spends no more than is allowed, or than the first."""
    best = candidates[0]
    for other in candidates[1:]:
        (spent, aim), (best_spent, best_aim) = both_of(budget, other.held_out), both_of(budget, best.held_out)
        if aim < best_aim and spent <= max(budget.value, best_spent):
            best = other
    return best
