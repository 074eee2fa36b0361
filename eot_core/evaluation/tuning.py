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
from .policies import ACTION_DELAYS, ContinuousPolicies, Counts, PolicyFamily, StepPolicies
from .resampling import RESAMPLES, SPLITS, cluster_weights, interval
from .simulation import Policy
from .sweep import Budget, best_index, rates
from .tuning_budgets import FLOOR, below_floor, too_little
from .tuning_measure import NOTHING, Interval, Measured, Sums, change, measured, sums_of

MAX_GROUPS = 200
"""More calls than this are tied together at random, and halved and drawn so: memory is (groups, 18,887)."""
MAX_THRESHOLDS = 101
_DRAWS = 200
"""Resamples in which the threshold is chosen anew."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """The policy for one budget."""

    budget: Budget
    curve: str
    """"step", "continuous" or "rescored"."""
    policy: Policy
    """Chosen on all calls; its minimum delay is at least :data:`FLOOR`."""
    threshold_interval: Interval
    """95 % of the thresholds chosen anew in resamples of the calls; None for the curves that have none."""
    chosen: Measured
    """On the calls it was chosen on: too good."""
    held_out: Measured
    """Chosen on one half of the calls, measured on the other."""
    change: Measured
    """``held_out`` less what today's settings do."""


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
    grids = [_grids(curve, counted) for curve in curves]
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
    weights = np.asarray(cluster_weights(number, resamples, seed), dtype=np.float64)
    today_sums = sums_of(_single(now).count(counted, groups, number), 0) if number else None
    if wanted and today_sums is not None:
        found: dict[Budget, list[Tuned]] = {budget: [] for budget in wanted}
        for curve, (free, run) in zip(curves, grids, strict=True):
            bench = _Bench(curve, free, run, counted, groups, number, seed, weights, today_sums)
            for budget in wanted:
                tuned = bench.tune(budget)
                if tuned is not None:
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


def thresholds_for(score: Floats, most: int = MAX_THRESHOLDS) -> Floats:
    """Thresholds that lie between the scores that occur, evenly by their number; 0 and 1 as well.

    Unlike a fixed grid it fits a model whose scores all lie near 0, and gives a score that is a rising function of
    another the same choices.
    """
    ordered = np.sort(score)
    between = (ordered[:-1] + ordered[1:]) / 2.0
    between = between[ordered[:-1] < ordered[1:]]
    if len(between) > most - 2:
        between = between[np.linspace(0, len(between) - 1, most - 2).round().astype(np.intp)]
    return np.unique(np.round(np.concatenate(([0.0], between, [1.0])), 6))


class _Bench:
    """One grid on one set of calls: with the floor, as it runs, and without it."""

    def __init__(
        self,
        curve: str,
        free: PolicyFamily,
        run: PolicyFamily,
        pauses: Pauses,
        groups: npt.NDArray[np.intp],
        number: int,
        seed: int,
        weights: Floats,
        today: Sums,
    ) -> None:
        self._curve = curve
        self._families = {True: free, False: run}
        self._pauses = pauses
        self._groups = groups
        self._number = number
        self._weights = weights
        self._today = today
        self._run = run.count(pauses, groups, number)
        self._free: Counts | None = None
        self._halves = _halves(number, seed)

    def tune(self, budget: Budget) -> Tuned | None:
        floorless = below_floor(budget)
        family = self._families[floorless]
        counts = self._counts(floorless)
        cutoff, latency = rates(counts, np.ones((1, self._number)))
        best = best_index(family, cutoff[0], latency[0], budget)
        held_out = self._cross_fit(family, counts, budget)
        if best is None or held_out is None:
            return None
        run = self._families[False]
        policy = Policy.of(self._curve, {name: float(values[best]) for name, values in run.parameters.items()})
        return Tuned(
            budget=budget,
            curve=self._curve,
            policy=policy,
            threshold_interval=self._thresholds(family, counts, budget),
            chosen=measured(sums_of(self._run, best), self._weights),
            held_out=measured(held_out, self._weights),
            change=change(held_out, self._today, self._weights),
        )

    def _counts(self, floorless: bool) -> Counts:
        if not floorless:
            return self._run
        if self._free is None:
            self._free = self._families[True].count(self._pauses, self._groups, self._number)
        return self._free

    def _cross_fit(self, family: PolicyFamily, counts: Counts, budget: Budget) -> Sums | None:
        """What was chosen on the other half did this to each group; the mean over the halvings."""
        cutoffs, late, used = np.zeros(self._number), np.zeros(self._number), 0
        for first in self._halves:
            halves = np.stack([first, ~first])
            cutoff, latency = rates(counts, halves.astype(np.float64))
            chosen = [best_index(family, cutoff[i], latency[i], budget) for i in (0, 1)]
            if chosen[0] is None or chosen[1] is None:
                continue
            used += 1
            for mask, index in ((~first, chosen[0]), (first, chosen[1])):
                cutoffs[mask] += self._run.cutoffs[mask, index]
                late[mask] += self._run.latency[mask, index]
        if 2 * used < len(self._halves):
            return None
        return Sums(cutoffs / used, late / used, counts.holds, counts.ends)

    def _thresholds(self, family: PolicyFamily, counts: Counts, budget: Budget) -> Interval:
        if self._curve != "step":
            return None
        values = family.parameters["threshold"]
        drawn = []
        for begin in range(0, min(_DRAWS, len(self._weights)), 20):
            cutoff, latency = rates(counts, self._weights[begin : min(begin + 20, _DRAWS)])
            for row in range(len(cutoff)):
                index = best_index(family, cutoff[row], latency[row], budget)
                drawn.append(np.nan if index is None else values[index])
        return interval(np.asarray(drawn, dtype=np.float64))


def _grids(curve: str, pauses: Pauses) -> tuple[PolicyFamily, PolicyFamily]:
    """The same policies without and with the floor, in the same order."""
    floored = np.maximum(ACTION_DELAYS, FLOOR)
    if curve == "step":
        values = tuple(thresholds_for(pauses.score))
        return StepPolicies(thresholds=values), StepPolicies(thresholds=values, action_delays=floored)
    if curve in ("continuous", "rescored"):
        again = curve == "rescored"
        return ContinuousPolicies(rescore=again), ContinuousPolicies(min_delays=floored, rescore=again)
    raise ValueError(f"curve {curve!r} is unknown: step, continuous or rescored")


def _single(policy: Policy) -> StepPolicies:
    return StepPolicies((policy.threshold,), (policy.options.min_delay,), (policy.options.max_delay,))


def _groups(pauses: Pauses, seed: int) -> tuple[npt.NDArray[np.intp], int]:
    groups, number = pauses.clusters()
    if number <= MAX_GROUPS:
        return groups, number
    tied = np.random.default_rng(seed).permutation(number) % MAX_GROUPS
    return tied[groups].astype(np.intp), MAX_GROUPS


def _halves(number: int, seed: int) -> list[npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    halves = []
    for _ in range(SPLITS):
        first = np.zeros(number, dtype=np.bool_)
        first[rng.permutation(number)[: number // 2]] = True
        halves.append(first)
    return halves


def _better(budget: Budget, candidates: list[Tuned]) -> Tuned:
    """The first, unless another is better where it counts and spends no more than is allowed, or than the first."""
    best = candidates[0]
    for other in candidates[1:]:
        (spent, aim), (best_spent, best_aim) = _pair(budget, other.held_out), _pair(budget, best.held_out)
        if aim < best_aim and spent <= max(budget.value, best_spent):
            best = other
    return best


def _pair(budget: Budget, measured: Measured) -> tuple[float, float]:
    """What the budget limits, and what it leaves to be small."""
    both = measured.cutoff_rate, measured.latency
    return both if budget.kind == "cutoff" else both[::-1]
