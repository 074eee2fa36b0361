"""A sweep: every policy of a family on a set of pauses, the best within a budget, and the frontier."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .pauses import Floats, Pauses
from .policies import EPSILON, Counts, PolicyFamily


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent; the other of the two is made as small as it can be."""

    kind: Literal["latency", "cutoff"]
    """"latency": the mean latency of ends, in seconds. "cutoff": the share of holds that are cut off, 0..1."""
    value: float

    @property
    def label(self) -> str:
        """For tables: "cutoffs @300 ms", "latency @5 %"."""
        if self.kind == "latency":
            return f"cutoffs @{self.value * 1000:g} ms"
        return f"latency @{self.value * 100:g} %"


BUDGETS = (Budget("latency", 0.3), Budget("latency", 0.6), Budget("cutoff", 0.05), Budget("cutoff", 0.10))
"""The four that eot-bench's reports show."""


@dataclass(frozen=True, slots=True)
class PolicyPoint:
    """One policy, and what it did."""

    index: int
    """In the family's grid."""
    parameters: Mapping[str, float]
    cutoff_rate: float
    """Share of the holds that were cut off, 0..1."""
    latency: float
    """Mean delay of the ends, in seconds."""
    detect_rate: float
    """Share of the ends that were committed before the maximum delay, 0..1."""
    cutoffs: int
    """How many holds were cut off."""

    def value(self, budget: Budget) -> float:
        """What ``budget`` asks to be small."""
        return self.cutoff_rate if budget.kind == "latency" else self.latency


@dataclass(frozen=True, eq=False)
class Sweep:
    """Rates of all policies of a family; arrays of shape (p,), in the order of the family's grid."""

    family: PolicyFamily
    cutoff_rate: Floats
    latency: Floats
    detect_rate: Floats
    holds: int
    ends: int

    def best(self, budget: Budget) -> PolicyPoint | None:
        """The policy that keeps to ``budget`` and is best in the other; None where none keeps to it.

        Among equals: the one that spends least of the budget, then the higher threshold, the shorter delays (the order
        of eot-bench's ``get_pareto_operating_points``).
        """
        index = best_index(self.family, self.cutoff_rate, self.latency, budget)
        return None if index is None else self.point(index)

    def point(self, index: int) -> PolicyPoint:
        """Policy ``index``."""
        rate = float(self.cutoff_rate[index])
        return PolicyPoint(
            index=index,
            parameters={name: float(values[index]) for name, values in self.family.parameters.items()},
            cutoff_rate=rate,
            latency=float(self.latency[index]),
            detect_rate=float(self.detect_rate[index]),
            cutoffs=0 if math.isnan(rate) else round(rate * self.holds),
        )

    def frontier(self) -> list[PolicyPoint]:
        """Policies that no other beats in both, by rising latency and falling cutoff rate."""
        order = np.lexsort((*_ties(self.family), np.round(self.cutoff_rate, 9), np.round(self.latency, 9)))
        rates = self.cutoff_rate[order]
        before = np.concatenate(([np.inf], np.minimum.accumulate(rates)[:-1]))
        return [self.point(int(i)) for i in order[rates < before - EPSILON]]


def sweep(family: PolicyFamily, pauses: Pauses) -> Sweep:
    """Try every policy of ``family`` on ``pauses``.

    Raises:
        ValueError: there are no holds, or no ends.
    """
    if pauses.holds == 0 or pauses.ends == 0:
        raise ValueError(f"a sweep needs holds and ends, got {pauses.holds} and {pauses.ends}")
    counts = family.count(pauses, np.zeros(len(pauses), dtype=np.intp), 1)
    cutoff_rate, latency = rates(counts, np.ones((1, 1)))
    return Sweep(
        family, cutoff_rate[0], latency[0], counts.detected[0] / counts.ends[0], pauses.holds, pauses.ends
    )  # fmt: skip


def rates(counts: Counts, weights: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Cutoff rate and mean latency, each (b, p), for each row of weights of the groups, shape (b, g).

    NaN in rows that leave no holds, or no ends.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        cutoff = (weights @ counts.cutoffs) / (weights @ counts.holds)[:, None]
        latency = (weights @ counts.latency) / (weights @ counts.ends)[:, None]
    return cutoff, latency


def best_index(family: PolicyFamily, cutoff_rate: Floats, latency: Floats, budget: Budget) -> int | None:
    """Index of the best policy within ``budget``, as :meth:`Sweep.best`; None where none keeps to it."""
    spent, aim = (latency, cutoff_rate) if budget.kind == "latency" else (cutoff_rate, latency)
    best = np.flatnonzero(spent <= budget.value + EPSILON)
    if len(best) == 0:
        return None
    for values in (aim, spent, *reversed(_ties(family))):
        # Rounded, so that sums in another order do not decide between equals.
        key = np.round(values[best], 9)
        best = best[key == np.min(key)]
    return int(best[0])


def _ties(family: PolicyFamily) -> list[Floats]:
    """Keys for :func:`numpy.lexsort`, the last counts most: higher threshold, then shorter delays."""
    p = family.parameters
    keys = [p[name] for name in ("timeout", "max_delay", "action_delay", "min_delay") if name in p]
    return [*keys, *([-p["threshold"]] if "threshold" in p else []), *([p["exponent"]] if "exponent" in p else [])]
