"""One model in one language, tuned with its own head and, where that pays, with a head of one's own as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..models.own_head import corrected, standardisation
from .pauses import Pauses
from .sweep import Budget
from .tables import plain
from .tuning import Tuning, change_between, tune
from .tuning_budgets import budget_name
from .tuning_features import PauseFeatures
from .tuning_head import HeadTrial, try_head
from .tuning_measure import Measured, both_of


@dataclass(frozen=True, slots=True, eq=False)
class TunedHead:
    """What came of a head of one's own."""

    trial: HeadTrial
    verdict: str
    """In words: what it gains, whether it is written, and why not."""
    tuning: Tuning | None = None
    """With scores of heads that were not fitted on their calls; None where it is not written."""
    document: Mapping[str, Any] | None = None
    """The head, as the calibration file holds it."""
    change: Measured | None = None
    """With the head less without it, for the budget that was asked for, on held-out calls; None where not tried."""


@dataclass(frozen=True, slots=True, eq=False)
class TunedLanguage:
    """One model in one language."""

    shipped: Tuning
    """With the model as it is shipped."""
    head: TunedHead | None = None
    """None where no head could be: the model takes none, or none was wanted."""

    @property
    def best(self) -> Tuning:
        """What runs with the calibration file."""
        return self.shipped if self.head is None or self.head.tuning is None else self.head.tuning


def tune_language(
    model: str,
    language: str,
    pauses: Pauses,
    features: PauseFeatures | None,
    budget: Budget,
    *,
    dataset: str,
    seed: int,
    resamples: int,
    **how: Any,
) -> TunedLanguage:
    """Tune, with and without a head of one's own.

    Args:
        model: full name.
        language: key.
        pauses: with the shipped model's scores.
        features: of the same pauses; None: no head.
        budget: the one that was asked for: a head that does worse there is not written.
        dataset: its name, for the head's provenance.
        seed: of everything that is drawn.
        resamples: for intervals.
        how: further arguments of :func:`tune`.

    Raises:
        ModelLicenseError: v1-mini's scores tune nothing.
    """
    how |= {"seed": seed, "resamples": resamples}
    shipped = tune(model, language, pauses, **how)
    if features is None or shipped.point(budget) is None:
        return TunedLanguage(shipped)
    mean, scale = standardisation(model)
    trial = try_head(pauses, features, mean, scale, seed=seed, resamples=resamples)
    if trial.lacks:
        return TunedLanguage(shipped, TunedHead(trial, "too little data: " + "; ".join(trial.lacks)))
    gained = f"AUC {plain(trial.auc)} on held-out calls, shipped {plain(trial.shipped_auc)}: {_gain(trial)}"
    if not trial.gains or trial.pauses is None or trial.weights is None or trial.centre is None:
        return TunedLanguage(shipped, TunedHead(trial, f"{gained}. That is no clear gain: none is written"))
    own = tune(model, language, trial.pauses, against=pauses, **how)
    one, other = own.point(budget), shipped.point(budget)
    assert other is not None  # asked above
    difference = None if one is None else change_between(one, other, seed=seed, resamples=resamples)
    if difference is None or _is_worse(difference, budget):
        why = f"but for {budget_name(budget)} it does no better: none is written"
        return TunedLanguage(shipped, TunedHead(trial, f"{gained}, {why}", change=difference))
    document = corrected(model, trial.weights, trial.centre, _provenance(trial, dataset, seed))
    verdict = f"{gained}. It is written; what follows is with it"
    return TunedLanguage(shipped, TunedHead(trial, verdict, own, document, difference))


def _is_worse(difference: Measured, budget: Budget) -> bool:
    """Whether a head is no better in what ``budget`` leaves to be small, or spends more of it, clearly."""
    _, aim = both_of(budget, difference)
    spent = difference.cutoff_interval if budget.kind == "cutoff" else difference.latency_interval
    return aim > 0 or (spent is not None and spent[0] > 0)


def _gain(trial: HeadTrial) -> str:
    text = f"{trial.gain:+.3f}"
    return text if trial.gain_interval is None else text + " [{:+.3f}, {:+.3f}]".format(*trial.gain_interval)


def _provenance(trial: HeadTrial, dataset: str, seed: int) -> dict[str, Any]:
    return {
        "fitted_with": "eot tune",
        "dataset": dataset,
        "seed": seed,
        "calls": trial.calls,
        "ends": trial.ends,
        "holds": trial.holds,
        "penalty": trial.penalty,
        "auc": round(trial.auc, 4),
        "shipped_auc": round(trial.shipped_auc, 4),
    }
