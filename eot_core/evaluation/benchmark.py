"""A benchmark: several models on one dataset, overall and for each language and source, with what went wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .evaluate import Evaluation, differences, evaluate
from .items import Problem
from .pauses import MAX_HOLD, MIN_HOLD, SCORE_AT, Pauses
from .policies import ContinuousPolicies, DelayOnly, PolicyFamily, StepPolicies
from .resampling import RESAMPLES
from .scored import unnamed_note
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
        """As JSON knows it. Figures have 9 decimals: how many threads summed them up does not show."""
        rounded: dict[str, Any] = _rounded(self._json())
        return rounded

    def _json(self) -> dict[str, Any]:
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


def is_report(path: Path) -> bool:
    """Whether a file is JSON of a :class:`Benchmark`, and may be replaced by the next."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and str(content.get("schema", "")).startswith("eot-bench-report/")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def families_for(
    model: str, *, rescored: bool = False, all_curves: bool = True, score_at: float = SCORE_AT
) -> list[PolicyFamily]:
    """What is tried for a model that is asked ``score_at`` seconds into a pause: silence alone needs a delay only."""
    if model == VAD:
        return [DelayOnly()]
    curves: list[PolicyFamily] = [StepPolicies()]
    if all_curves:
        curves.append(StepPolicies.published(score_at))
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
    on_progress: Callable[[int, int], None] = lambda done, of: None,
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
        on_progress: told at first, and after each family of policies: how many pauses it was tried on, of how many.
    """
    overall: dict[str, Evaluation] = {}
    groups: dict[str, dict[str, dict[str, Evaluation]]] = {}
    work: list[tuple[str, str, str, Pauses, list[PolicyFamily]]] = []
    for model, some in pauses.items():
        rescored, score_at = some.later.shape[1] > 0, _asked_at(some)
        work.append((model, "", "", some, families_for(model, rescored=rescored, score_at=score_at)))
        work += [(model, *part, families_for(model, all_curves=False)) for part in _parts(some, sources)]
    done, of = 0, sum(len(some) * len(families) for *_, some, families in work)
    on_progress(done, of)
    for model, kind, value, some, families in work:

        def on_family(tried_on: int = len(some)) -> None:
            nonlocal done
            done += tried_on
            on_progress(done, of)

        found = evaluate(
            model,
            some.counted(min_hold, max_hold),
            families=families,
            scored=model != VAD,
            seed=seed,
            resamples=resamples,
            on_family=on_family,
        )
        if kind:
            groups.setdefault(kind, {}).setdefault(value, {})[model] = found
        else:
            overall[model] = found
    return Benchmark(
        dataset=dataset,
        settings={**(settings or {}), "seed": seed, "resamples": resamples, "min_hold": min_hold, "max_hold": max_hold},
        models=list(pauses),
        overall=overall,
        groups=groups,
        notes=_missing(overall, min_hold, max_hold),
    )


def _asked_at(pauses: Pauses) -> float:
    """Seconds into a pause after which every model has answered."""
    return float(np.max(pauses.answered_at[pauses.asked], initial=SCORE_AT))


def _missing(overall: Mapping[str, Evaluation], min_hold: float, max_hold: float) -> list[str]:
    """Why there are no figures, where there are none."""
    first = next(iter(overall.values()), None)
    if first is None or (first.holds and first.ends):
        return []
    what = f"holds (pauses of {min_hold:g} to {max_hold:g} s inside a turn)" if first.ends else "ends of turns"
    return [f"there are no {what} among the pauses that could be scored, so that no figure can be given"]


def _parts(pauses: Pauses, sources: Sequence[str | None]) -> list[tuple[str, str, Pauses]]:
    """What is evaluated on its own besides the whole: ("language", "de", its pauses) and so on."""
    kinds = {"language": pauses.language}
    if len(sources) == len(pauses) and all(s is not None for s in sources):
        kinds["source"] = np.array(sources, dtype=np.str_)
    parts = []
    for kind, values in kinds.items():
        names = sorted(set(values.tolist()))
        if len(names) > 1:
            parts += [(kind, name, pauses.where(values == name)) for name in names]
    return parts


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
    result.notes += [*scored.notes, *unnamed_note({p.item.id: p.item.cluster for p in scored.pauses})]
    result.failed |= scored.failed
    return result
