"""Every policy of one grid on one set of calls: the best within a budget, and what it does to calls not chosen on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from .pauses import Floats, Pauses
from .policies import ACTION_DELAYS, ContinuousPolicies, Counts, PolicyFamily, StepPolicies
from .resampling import SPLITS, interval
from .simulation import Policy
from .sweep import Budget, best_index, rates
from .tuning_budgets import FLOOR, below_floor
from .tuning_measure import Interval, Measured, Sums, change, measured, sums_of

MAX_THRESHOLDS = 101
TIGHTENED = (1.0, 0.85, 0.7, 0.55)
"""A share of cutoffs that just fits the calls it was chosen on is above the budget on others. It is chosen for less, in
these steps, until it keeps to the budget on held-out calls."""
CHOICE = 0.5
"""The policy that is written differs from those that were chosen on halves by so much of what these differ by: of 200
simulated sets of 8, 25 and 40 calls, intervals of 95 % then hold what the written policy does in .91 to 1; with none of
it, its latency in .74 to 1."""
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
    chosen_for: float
    """The budget's value, or less (:data:`TIGHTENED`)."""
    threshold_interval: Interval
    """95 % of the thresholds chosen anew in resamples of the calls; None for the curves that have none."""
    chosen: Measured
    """On the calls it was chosen on: too good."""
    held_out: Measured
    """Chosen on one half of the calls, measured on the other."""
    change: Measured
    """``held_out`` less what today's settings do."""
    sums: Sums = field(compare=False, repr=False)
    """``held_out`` by call, as drawn for its intervals."""


class Bench:
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
        self._in_halves: dict[bool, list[tuple[Floats, Floats]]] = {}

    def tune(self, budgets: Sequence[Budget]) -> dict[Budget, Tuned]:
        """The policy for each of ``budgets`` that one keeps to."""
        found = {budget: tuned for budget in budgets if (tuned := self._tightened(budget)) is not None}
        for floorless in (True, False) if self._curve == "step" else ():
            aims = {b: t.chosen_for for b, t in found.items() if below_floor(Budget(b.kind, t.chosen_for)) == floorless}
            for budget, thresholds in self._thresholds(floorless, aims).items():
                found[budget] = replace(found[budget], threshold_interval=thresholds)
        return found

    def _tightened(self, budget: Budget) -> Tuned | None:
        found: Tuned | None = None
        for step in TIGHTENED if budget.kind == "cutoff" else TIGHTENED[:1]:
            tuned = self._choose(budget, Budget(budget.kind, budget.value * step))
            if tuned is None:
                break
            if found is None or tuned.held_out.cutoff_rate < found.held_out.cutoff_rate:
                found = tuned
            if found.held_out.cutoff_rate <= budget.value:
                break
        return found

    def _choose(self, budget: Budget, aim: Budget) -> Tuned | None:
        """The policy for ``budget``, chosen for ``aim``; without the interval of its threshold."""
        floorless = below_floor(aim)
        family = self._families[floorless]
        cutoff, latency = rates(self._counts(floorless), np.ones((1, self._number)))
        best = _best(family, cutoff[0], latency[0], aim)
        held_out = self._cross_fit(floorless, aim)
        if best is None or held_out is None:
            return None
        run = self._families[False]
        policy = Policy.of(self._curve, {name: float(values[best]) for name, values in run.parameters.items()})
        return Tuned(
            budget=budget,
            curve=self._curve,
            policy=policy,
            chosen_for=aim.value,
            threshold_interval=None,
            chosen=measured(sums_of(self._run, best), self._weights),
            held_out=measured(held_out, self._weights),
            change=change(held_out, self._today, self._weights),
            sums=held_out,
        )

    def _counts(self, floorless: bool) -> Counts:
        if not floorless:
            return self._run
        if self._free is None:
            self._free = self._families[True].count(self._pauses, self._groups, self._number)
        return self._free

    def _rates_in_halves(self, floorless: bool) -> list[tuple[Floats, Floats]]:
        """Rates in both halves, (2, p), of each halving: the same for every budget."""
        if floorless not in self._in_halves:
            counts = self._counts(floorless)
            both = (np.stack([first, ~first]).astype(np.float64) for first in self._halves)
            self._in_halves[floorless] = [rates(counts, halves) for halves in both]
        return self._in_halves[floorless]

    def _cross_fit(self, floorless: bool, budget: Budget) -> Sums | None:
        """What was chosen on the other half did this to each group; the mean over the halvings."""
        family, counts = self._families[floorless], self._counts(floorless)
        cutoffs, late, used = np.zeros(self._number), np.zeros(self._number), 0
        taken: list[int] = []
        for first, (cutoff, latency) in zip(self._halves, self._rates_in_halves(floorless), strict=True):
            chosen = [_best(family, cutoff[i], latency[i], budget) for i in (0, 1)]
            if chosen[0] is None or chosen[1] is None:
                continue
            used += 1
            taken += [chosen[0], chosen[1]]
            for mask, index in ((~first, chosen[0]), (first, chosen[1])):
                cutoffs[mask] += self._run.cutoffs[mask, index]
                late[mask] += self._run.latency[mask, index]
        if 2 * used < len(self._halves):
            return None
        choice = (
            CHOICE * float((self._run.cutoffs[:, taken].sum(axis=0) / counts.holds.sum()).std()),
            CHOICE * float((self._run.latency[:, taken].sum(axis=0) / counts.ends.sum()).std()),
        )
        return Sums(cutoffs / used, late / used, counts.holds, counts.ends, choice)

    def _thresholds(self, floorless: bool, aims: Mapping[Budget, float]) -> dict[Budget, Interval]:
        """For each budget, 95 % of the thresholds that are chosen for ``aims`` in resamples."""
        if not aims:
            return {}
        family, counts = self._families[floorless], self._counts(floorless)
        values = family.parameters["threshold"]
        drawn: dict[Budget, list[float]] = {budget: [] for budget in aims}
        for begin in range(0, min(_DRAWS, len(self._weights)), 20):
            cutoff, latency = rates(counts, self._weights[begin : min(begin + 20, _DRAWS)])
            for budget, aim in aims.items():
                for row in range(len(cutoff)):
                    index = _best(family, cutoff[row], latency[row], Budget(budget.kind, aim))
                    drawn[budget].append(np.nan if index is None else float(values[index]))
        return {budget: interval(np.asarray(found, dtype=np.float64)) for budget, found in drawn.items()}


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


def grids_for(curve: str, pauses: Pauses) -> tuple[PolicyFamily, PolicyFamily]:
    """The same policies without and with the floor, in the same order."""
    floored = np.maximum(ACTION_DELAYS, FLOOR)
    if curve == "step":
        values = tuple(thresholds_for(pauses.score))
        return StepPolicies(thresholds=values), StepPolicies(thresholds=values, action_delays=floored)
    if curve in ("continuous", "rescored"):
        again = curve == "rescored"
        return ContinuousPolicies(rescore=again), ContinuousPolicies(min_delays=floored, rescore=again)
    raise ValueError(f"curve {curve!r} is unknown: step, continuous or rescored")


def _best(family: PolicyFamily, cutoff_rate: Floats, latency: Floats, budget: Budget) -> int | None:
    """:func:`best_index`; of thresholds that come to the same here, the one in the middle.

    On other calls scores lie a little elsewhere: the middle is the farthest from doing something else.
    """
    best = best_index(family, cutoff_rate, latency, budget)
    if best is None or "threshold" not in family.parameters:
        return best
    alike = np.isclose(cutoff_rate, cutoff_rate[best], atol=1e-9) & np.isclose(latency, latency[best], atol=1e-9)
    for name, values in family.parameters.items():
        if name != "threshold":
            alike &= values == values[best]
    same = np.flatnonzero(alike)  # by rising threshold
    return int(same[len(same) // 2])


def _halves(number: int, seed: int) -> list[npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    halves = []
    for _ in range(SPLITS):
        first = np.zeros(number, dtype=np.bool_)
        first[rng.permutation(number)[: number // 2]] = True
        halves.append(first)
    return halves
