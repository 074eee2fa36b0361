"""What one policy did to calls, and how sure that is: sums for each call, and intervals from drawing calls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pauses import Floats
from .policies import Counts
from .resampling import interval
from .sweep import Budget

Interval = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Measured:
    """What a policy did; intervals of 95 %, by call."""

    cutoff_rate: float
    """Share of the holds that were cut off, 0..1."""
    latency: float
    """Mean delay of the ends, in seconds."""
    cutoff_interval: Interval
    latency_interval: Interval


@dataclass(frozen=True, eq=False)
class Sums:
    """What one policy did to each group; arrays of shape (g,)."""

    cutoffs: Floats
    latency: Floats
    holds: Floats
    ends: Floats


NOTHING = Measured(float("nan"), float("nan"), None, None)
"""Where there are no holds, or no ends."""


def sums_of(counts: Counts, index: int) -> Sums:
    """Those of policy ``index``."""
    return Sums(counts.cutoffs[:, index], counts.latency[:, index], counts.holds, counts.ends)


def _drawn(sums: Sums, weights: Floats) -> tuple[Floats, Floats]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return (weights @ sums.cutoffs) / (weights @ sums.holds), (weights @ sums.latency) / (weights @ sums.ends)


def measured(sums: Sums, weights: Floats) -> Measured:
    """Rates, and intervals from ``weights`` of the groups, shape (b, g); no interval where b is 0."""
    cutoff, latency = _drawn(sums, weights)
    return Measured(
        float(sums.cutoffs.sum() / sums.holds.sum()),
        float(sums.latency.sum() / sums.ends.sum()),
        interval(cutoff),
        interval(latency),
    )


def change(one: Sums, other: Sums, weights: Floats) -> Measured:
    """``one`` less ``other``, drawn together."""
    a, b = measured(one, weights), measured(other, weights)
    (cut_a, late_a), (cut_b, late_b) = _drawn(one, weights), _drawn(other, weights)
    return Measured(
        a.cutoff_rate - b.cutoff_rate, a.latency - b.latency, interval(cut_a - cut_b), interval(late_a - late_b)
    )


def both_of(budget: Budget, measured: Measured) -> tuple[float, float]:
    """What the budget limits, and what it leaves to be small."""
    both = measured.cutoff_rate, measured.latency
    return both if budget.kind == "cutoff" else both[::-1]
