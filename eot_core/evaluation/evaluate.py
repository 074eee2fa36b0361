"""Everything that is reported of one model on one set of pauses, and of two models on the same pauses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .metrics import auc, average_precision
from .pauses import Floats, Pauses
from .policies import PolicyFamily, StepPolicies
from .resampling import MIN_CLUSTERS, RESAMPLES, HeldOut, held_out, interval, resample_budgets, resample_scores
from .sweep import BUDGETS, Budget, PolicyPoint, sweep

Interval = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class BudgetResult:
    """The best of a family within a budget."""

    budget: Budget
    best: PolicyPoint | None
    """Chosen on the pauses it is measured on, as in eot-bench; None where no policy keeps to the budget."""
    interval: Interval
    """95 %, of what the budget leaves to be small; the policy chosen anew in each resample."""
    held_out: HeldOut | None
    """Chosen on one half of the speakers, measured on the other."""


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """One family of policies on one model's scores."""

    name: str
    policies: int
    budgets: tuple[BudgetResult, ...]
    frontier: tuple[PolicyPoint, ...]
    replicates: dict[Budget, Floats] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on one set of pauses."""

    model: str
    holds: int
    ends: int
    clusters: int
    auc: float
    """.5 for a score that is the same for every pause; NaN without holds or ends, and for silence alone."""
    auc_interval: Interval
    ap: float
    ap_interval: Interval
    families: tuple[FamilyResult, ...]
    """Empty without holds or without ends."""
    replicates: dict[str, Floats] = field(repr=False)

    def family(self, name: str) -> FamilyResult:
        """The family called ``name``. Raises KeyError where it was not tried."""
        for family in self.families:
            if family.name == name:
                return family
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """As JSON knows it; NaN becomes None."""
        return {
            "model": self.model,
            "holds": self.holds,
            "ends": self.ends,
            "clusters": self.clusters,
            "auc": _number(self.auc),
            "auc_interval": self.auc_interval,
            "ap": _number(self.ap),
            "ap_interval": self.ap_interval,
            "families": [_family_json(family) for family in self.families],
        }


def evaluate(
    model: str,
    pauses: Pauses,
    *,
    families: Sequence[PolicyFamily] = (StepPolicies(),),
    budgets: Sequence[Budget] = BUDGETS,
    scored: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
    on_family: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate one model's scores. The same arguments give the same result.

    Args:
        model: for the tables.
        pauses: already without the holds that are not to count (:meth:`Pauses.counted`).
        families: policies to try, each family on its own.
        budgets: what to report of each.
        scored: False for what gives no scores: silence alone has no AUC and no AP.
        seed: of the resamples and the halves; models are comparable under one seed.
        resamples: for the intervals; 0 leaves them out, as do fewer than :data:`MIN_CLUSTERS` speakers or calls.
        on_family: called after each family.
    """
    both = pauses.holds > 0 and pauses.ends > 0
    heard = pauses.where(pauses.asked)
    ranked = scored and heard.holds > 0 and heard.ends > 0
    if pauses.clusters()[1] < MIN_CLUSTERS:
        resamples = 0
    replicates = resample_scores(heard, resamples, seed) if ranked and resamples else {}
    tried = []
    for family in families:
        if both:
            tried.append(_family(family, pauses, budgets, seed, resamples))
        on_family()
    return Evaluation(
        model=model,
        holds=pauses.holds,
        ends=pauses.ends,
        clusters=pauses.clusters()[1],
        auc=auc(heard.score, heard.is_end) if ranked else math.nan,
        auc_interval=interval(replicates["auc"]) if replicates else None,
        ap=average_precision(heard.score, heard.is_end) if ranked else math.nan,
        ap_interval=interval(replicates["ap"]) if replicates else None,
        families=tuple(tried),
        replicates=replicates,
    )


def _family(family: PolicyFamily, pauses: Pauses, budgets: Sequence[Budget], seed: int, resamples: int) -> FamilyResult:
    whole = sweep(family, pauses)
    replicates = resample_budgets(family, pauses, resamples, seed, budgets) if resamples else {}
    elsewhere = held_out(family, pauses, seed, budgets=budgets)
    return FamilyResult(
        name=family.name,
        policies=len(whole.latency),
        budgets=tuple(
            BudgetResult(
                budget,
                whole.best(budget),
                interval(replicates[budget]) if replicates else None,
                elsewhere[budget],
            )
            for budget in budgets
        ),
        frontier=tuple(whole.frontier()),
        replicates=replicates,
    )


def differences(one: Evaluation, other: Evaluation) -> dict[str, Any]:
    """What ``one`` gains over ``other``, measured on the same pauses with the same seed: figure and 95 % interval.

    Raises:
        ValueError: they were not measured on the same pauses.
    """
    if (one.holds, one.ends, one.clusters) != (other.holds, other.ends, other.clusters):
        raise ValueError(f"{one.model} and {other.model} were not measured on the same pauses")
    result: dict[str, Any] = {"model": one.model, "against": other.model, "auc": None, "budgets": {}}
    if math.isfinite(one.auc - other.auc):
        both = bool(one.replicates and other.replicates)
        drawn = interval(one.replicates["auc"] - other.replicates["auc"]) if both else None
        result["auc"] = {"gain": one.auc - other.auc, "interval": drawn}
    for mine, theirs in zip(one.families[:1], other.families[:1], strict=False):
        for a, b in zip(mine.budgets, theirs.budgets, strict=True):
            if a.best is None or b.best is None:
                continue
            drawn = None
            if mine.replicates and theirs.replicates:
                drawn = interval(mine.replicates[a.budget] - theirs.replicates[b.budget])
            result["budgets"][a.budget.label] = {
                "gain": a.best.value(a.budget) - b.best.value(b.budget),
                "interval": drawn,
            }
    return result


def _family_json(family: FamilyResult) -> dict[str, Any]:
    return {
        "name": family.name,
        "policies": family.policies,
        "budgets": [
            {
                "label": r.budget.label,
                "kind": r.budget.kind,
                "value": r.budget.value,
                "best": None if r.best is None else _point_json(r.best),
                "interval": r.interval,
                "held_out": None
                if r.held_out is None
                else {
                    "cutoff_rate": r.held_out.cutoff_rate,
                    "latency": r.held_out.latency,
                    "splits": r.held_out.splits,
                },
            }
            for r in family.budgets
        ],
        "frontier": [_point_json(p) for p in family.frontier],
    }


def _point_json(point: PolicyPoint) -> dict[str, Any]:
    return {
        **{name: round(value, 6) for name, value in point.parameters.items()},
        "cutoff_rate": point.cutoff_rate,
        "cutoffs": point.cutoffs,
        "latency": point.latency,
        "detect_rate": point.detect_rate,
    }


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
