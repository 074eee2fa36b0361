"""What is tuned for, and how much data that takes."""

from __future__ import annotations

import math

from ..endpointing import DETECTOR_MIN_DELAY
from ..operating_points import BALANCED_CUTOFF_RATE, PATIENT_CUTOFF_RATE, QUICK_LATENCY
from .pauses import Pauses
from .resampling import MIN_CLUSTERS
from .sweep import Budget

FLOOR = DETECTOR_MIN_DELAY
"""Seconds; no operating point ends a turn before (``DetectorSession.endpointing``), so that is how it is measured."""
REACHABLE = FLOOR + 0.1
"""Seconds; a mean latency below this leaves no room above the floor. See :func:`below_floor`."""

NAMED: dict[Budget, str] = {
    Budget("latency", QUICK_LATENCY): "quick",
    Budget("cutoff", BALANCED_CUTOFF_RATE): "balanced",
    Budget("cutoff", PATIENT_CUTOFF_RATE): "patient",
}
"""What the names of operating points ask for."""
OTHERS = (Budget("cutoff", 0.02), Budget("cutoff", 0.15), Budget("latency", 0.6), Budget("latency", 1.0))
"""Also written, so that an operating point between the named ones finds one near to it."""

MIN_CALLS = MIN_CLUSTERS
"""Fewer say nothing of other calls: an interval is drawn by call, and half of them are held out."""
MIN_ENDS = 30
MIN_HOLDS = 30
MIN_CUTOFFS = 2
"""A share of cutoffs that comes to fewer holds than this cannot be measured: 5 % takes 40 holds."""


def parse_budget(text: str) -> Budget:
    """ "cutoff=0.05" or "latency=0.3".

    Raises:
        ValueError: it is neither, or the value is out of range.
    """
    kind, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if kind == "cutoff" and 0 < number < 1:
        return Budget("cutoff", number)
    if kind == "latency" and 0.2 <= number <= 5:
        return Budget("latency", number)
    raise ValueError(
        f"--budget {text!r}: give cutoff=SHARE (of the pauses inside turns, more than 0 and less than 1, for example "
        "cutoff=0.05) or latency=SECONDS (mean, 0.2 to 5, for example latency=0.3)"
    )


def budget_name(budget: Budget) -> str:
    """For tables: "cutoff 5 %", "latency 0.3 s"."""
    return f"cutoff {budget.value * 100:g} %" if budget.kind == "cutoff" else f"latency {budget.value:g} s"


def below_floor(budget: Budget) -> bool:
    """Whether a budget asks for what the floor does not allow.

    "quick" is one: 300 ms on average, where nothing ends before 300 ms. Such a policy is chosen as if there were no
    floor, as in the published table, and measured with it.
    """
    return budget.kind == "latency" and budget.value < REACHABLE - 1e-9


def too_little(pauses: Pauses, budget: Budget) -> list[str]:
    """What is missing to tune for ``budget``; empty where there is enough. ``pauses`` as they are counted."""
    holds = MIN_HOLDS
    if budget.kind == "cutoff":
        holds = max(holds, math.ceil(MIN_CUTOFFS / budget.value - 1e-9))
    there = (("calls or speakers", pauses.clusters()[1], MIN_CALLS), ("ends of turns", pauses.ends, MIN_ENDS),
             ("pauses inside turns", pauses.holds, holds))  # fmt: skip
    return [f"{number} {what}, needs {least}" for what, number, least in there if number < least]
