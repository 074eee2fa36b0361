"""What one policy did to calls, and how sure that is: sums for each call, and intervals from drawing calls."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .pauses import Floats
from .policies import Counts
from .resampling import interval
from .sweep import Budget
from .tuning_budgets import FLOOR

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
    choice: tuple[float, float] = (0.0, 0.0)
    """Standard deviations of both rates that come of the policy having been chosen on some calls and not on others; 0
    where nothing was chosen."""


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
    cutoff, latency = float(sums.cutoffs.sum() / sums.holds.sum()), float(sums.latency.sum() / sums.ends.sum())
    drawn = _drawn(sums, weights)
    groups = weights.shape[1]
    cutoffs, late = (
        _widened(value, interval(draws), groups, deviation)
        for value, draws, deviation in zip((cutoff, latency), drawn, sums.choice, strict=True)
    )
    if cutoffs is not None:
        cutoffs = max(0.0, cutoffs[0]), min(1.0, cutoffs[1])
    if late is not None:
        late = max(FLOOR, late[0]), late[1]
    return Measured(cutoff, latency, cutoffs, late)


def change(one: Sums, other: Sums, weights: Floats) -> Measured:
    """``one`` less ``other``, drawn together."""
    a, b = measured(one, weights), measured(other, weights)
    cutoff, latency = a.cutoff_rate - b.cutoff_rate, a.latency - b.latency
    drawn = (mine - theirs for mine, theirs in zip(_drawn(one, weights), _drawn(other, weights), strict=True))
    cutoffs, late = (
        _widened(value, interval(draws), weights.shape[1], math.hypot(mine, theirs))
        for value, draws, mine, theirs in zip((cutoff, latency), drawn, one.choice, other.choice, strict=True)
    )
    if cutoffs is not None:
        cutoffs = max(-1.0, cutoffs[0]), min(1.0, cutoffs[1])
    return Measured(cutoff, latency, cutoffs, late)


def _widened(value: float, drawn: Interval, groups: int, deviation: float) -> Interval:
    """What drawing ``groups`` calls leaves out: that they are few, and that on others another policy is chosen."""
    if drawn is None or groups < 2:
        return drawn
    few = math.sqrt(groups / (groups - 1)) * _student(groups - 1) / _NORMAL
    low, high = (math.hypot(few * (value - end), _NORMAL * deviation) for end in drawn)
    return value - low, value + high


_NORMAL = 1.959964


def _student(freedom: int) -> float:
    """The 97.5 % point of Student's t (Abramowitz and Stegun 26.7.5, to within 2 % from 4 degrees of freedom on)."""
    z, n = _NORMAL, float(freedom)
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)


def both_of(budget: Budget, measured: Measured) -> tuple[float, float]:
    """What the budget limits, and what it leaves to be small."""
    both = measured.cutoff_rate, measured.latency
    return both if budget.kind == "cutoff" else both[::-1]
