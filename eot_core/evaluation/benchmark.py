"""A benchmark: several models on one dataset, overall and for each language and source, with what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .evaluate import Evaluation, differences, evaluate
from .items import Problem
from .pauses import MAX_HOLD, MIN_HOLD, Pauses
from .policies import ContinuousPolicies, DelayOnly, PolicyFamily, StepPolicies
from .resampling import RESAMPLES
from .scorers import VAD
from .scoring import ScoredSet

SCHEMA = "eot-bench-report/1"
FEW = 30
"""Fewer holds, or ends, than this: a group's figures are shown with a warning."""


@dataclass(slots=True)
class Benchmark:
    """The result of ``eot bench``."""

    dataset: str
    settings: dict[str, Any]
    models: list[str]
    overall: dict[str, Evaluation]
    groups: dict[str, dict[str, dict[str, Evaluation]]] = field(default_factory=dict)
    """"language" and "source": value -> model -> evaluation. Only where there is more than one value."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def differences(self, models: Mapping[str, Evaluation] | None = None) -> list[dict[str, Any]]:
        """What each model gains over the first, on the same pauses with the same draws; silence alone is left out.

        Args:
            models: those of a group; None takes the whole set.
        """
        chosen = self.overall if models is None else models
        names = [name for name in self.models if name != VAD]
        if not names or self.models[0] == VAD:
            return []
        return [differences(chosen[name], chosen[names[0]]) for name in names[1:]]

    def to_json(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {
            "schema": SCHEMA,
            "dataset": self.dataset,
            "settings": self.settings,
            "notes": self.notes,
            "failed_models": self.failed,
            "problems": [{"item": p.item, "message": p.message, "left_out": p.left_out} for p in self.problems],
            "models": {name: e.to_json() for name, e in self.overall.items()},
            "differences": self.differences(),
            "groups": {
                kind: {value: {name: e.to_json() for name, e in models.items()} for value, models in values.items()}
                for kind, values in self.groups.items()
            },
            "group_differences": {
                kind: {value: self.differences(models) for value, models in values.items()}
                for kind, values in self.groups.items()
            },
        }


def families_for(model: str, *, rescored: bool = False, all_curves: bool = True) -> list[PolicyFamily]:
    """What is tried for a model: silence alone needs a delay only."""
    if model == VAD:
        return [DelayOnly()]
    curves: list[PolicyFamily] = [StepPolicies()]
    if all_curves:
        curves.append(StepPolicies.published())
        curves.append(ContinuousPolicies())
    if all_curves and rescored:
        curves.append(ContinuousPolicies(rescore=True))
    return curves


def benchmark(
    dataset: str,
    pauses: Mapping[str, Pauses],
    *,
    sources: Sequence[str | None] = (),
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    min_hold: float = MIN_HOLD,
    max_hold: float = MAX_HOLD,
) -> Benchmark:
    """Evaluate every model.

    Args:
        dataset: its name, for the report.
        pauses: by model, all of the same pauses in the same order.
        sources: of each pause, where the dataset names them.
        settings: kept in the report.
        seed: see :func:`evaluate`.
        resamples: see :func:`evaluate`.
        min_hold: seconds; shorter holds are not counted.
        max_hold: seconds; longer holds are not counted.
    """
    overall: dict[str, Evaluation] = {}
    groups: dict[str, dict[str, dict[str, Evaluation]]] = {}
    for model, all_pauses in pauses.items():
        rescored = all_pauses.later.shape[1] > 0
        chosen = all_pauses.counted(min_hold, max_hold)
        overall[model] = evaluate(
            model, chosen, families=families_for(model, rescored=rescored), seed=seed, resamples=resamples
        )
        kinds = {"language": all_pauses.language}
        if len(sources) == len(all_pauses) and all(s is not None for s in sources):
            kinds["source"] = np.array(sources, dtype=np.str_)
        for kind, values in kinds.items():
            names = sorted(set(values.tolist()))
            if len(names) < 2:
                continue
            for value in names:
                part = all_pauses.where(values == value).counted(min_hold, max_hold)
                groups.setdefault(kind, {}).setdefault(value, {})[model] = evaluate(
                    model, part, families=families_for(model, all_curves=False), seed=seed, resamples=resamples
                )
    return Benchmark(
        dataset=dataset,
        settings={**(settings or {}), "seed": seed, "resamples": resamples, "min_hold": min_hold, "max_hold": max_hold},
        models=list(pauses),
        overall=overall,
        groups=groups,
    )


def from_scored(dataset: str, scored: ScoredSet, **arguments: Any) -> Benchmark:
    """:func:`benchmark` of what :func:`eot_core.evaluation.scoring.score_items` gave."""
    result = benchmark(
        dataset,
        {model: scored.for_model(model) for model in scored.scores},
        sources=[p.item.source for p in scored.pauses],
        min_hold=scored.options.min_hold,
        max_hold=scored.options.max_hold,
        **arguments,
    )
    result.notes += scored.notes
    result.failed |= scored.failed
    return result
