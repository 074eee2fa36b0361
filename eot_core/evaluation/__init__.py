"""How good a detector is, measured: pauses with known answers, scored causally, and what a policy makes of the scores.

Light to import: numpy and the standard library. Audio, models, parquet and plots come with the parts that need them.
"""

from __future__ import annotations

from .metrics import auc, average_precision
from .pauses import Pauses
from .policies import ContinuousPolicies, DelayOnly, PolicyFamily, StepPolicies
from .sweep import Budget, PolicyPoint, Sweep, sweep

__all__ = [
    "Budget",
    "ContinuousPolicies",
    "DelayOnly",
    "Pauses",
    "PolicyFamily",
    "PolicyPoint",
    "StepPolicies",
    "Sweep",
    "auc",
    "average_precision",
    "sweep",
]
