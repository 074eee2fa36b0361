"""Measured policies of models, by language: the published table, or a calibration file. JSON, versioned, checked.

::

    {"schema": "eot-calibration/1",
     "sources": {"my-calls": {"title": "...", "caveat": "..."}},
     "models": {"smart-turn-v3.2": {
        "source": "my-calls",
        "languages": {"en": {"holds": 705, "ends": 400, "points": [
            {"budget": "cutoff", "value": 0.05, "threshold": 0.09, "min_delay": 0.7, "max_delay": 3.0,
             "exponent": null, "rescore_every": null, "cutoff_rate": 0.0482, "latency": 1.0507}]}}}}}

Rates are shares of holds, 0..1; times are seconds. ``exponent`` and ``rescore_every`` may be left out (the step curve).

A language may have a ``head`` too, fitted on one's own calls (:mod:`eot_core.models.own_head`)::

    "en": {"points": [...], "head": {"document": {"format": "eot-open-head/1", ...}, "sha256": "...", "points": [...]}}

``points`` beside it are for scores of the model as it is shipped, those within it for scores of that head. ``sha256``
is of the document (:func:`eot_core.models.own_head.checksum`) and may be left out.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from .endpointing import EndpointingOptions
from .languages import language_key
from .options import check_seconds
from .thresholds import check_probability

SCHEMAS = ("eot-operating-points/1", "eot-calibration/1")
_POINT = {"budget", "value", "threshold", "min_delay", "max_delay", "exponent", "rescore_every"} | {
    "cutoff_rate",
    "latency",
    "detect_rate",
}
_SLACK = 1e-6
_HEX = re.compile(r"[0-9a-f]{64}")

LONGEST_DELAY = 60.0
"""Seconds; a delay of more is a number of milliseconds."""


class OperatingPointError(ValueError):
    """An operating point, or a calibration file, cannot be used. The message says where and what to do."""


@dataclass(frozen=True, slots=True)
class MeasuredPolicy:
    """A policy, and what it did to the pauses that it was measured on."""

    threshold: float
    options: EndpointingOptions
    cutoff_rate: float
    """Share of holds that were cut off, 0..1."""
    latency: float
    """Mean delay of the ends, in seconds."""
    budget: str | None = None
    """What it was chosen for: "cutoff" or "latency"."""
    value: float | None = None
    """The budget: a share of holds, or seconds."""

    def keeps_cutoff_rate(self, rate: float) -> bool:
        """Whether it cut off no more than ``rate``, or was chosen for just that: figures are rounded, or of other calls
        than it was chosen on."""
        return self._chosen_for("cutoff", rate) or self.cutoff_rate <= rate + _SLACK

    def keeps_latency(self, latency: float) -> bool:
        """Whether its mean latency was within ``latency`` seconds, or it was chosen for just that."""
        return self._chosen_for("latency", latency) or self.latency <= latency + _SLACK

    def _chosen_for(self, budget: str, value: float) -> bool:
        return self.budget == budget and self.value is not None and abs(self.value - value) <= _SLACK

    @classmethod
    def from_json(cls, point: Any, where: str = "point") -> MeasuredPolicy:
        """A policy from what JSON gave.

        Raises:
            OperatingPointError: it is none; ``where`` begins the message.
        """
        point = _mapping(point, where)
        unknown = sorted(set(point) - _POINT)
        if unknown:
            raise OperatingPointError(f"{where}: {', '.join(unknown)} is not known")
        missing = [k for k in ("threshold", "min_delay", "max_delay", "cutoff_rate", "latency") if point.get(k) is None]
        if missing:
            raise OperatingPointError(f"{where}: has no {', '.join(missing)}")
        budget, value = point.get("budget"), point.get("value")
        if budget not in (None, "cutoff", "latency"):
            raise OperatingPointError(f'{where}: budget must be "cutoff" or "latency", got {budget!r}')
        for name in ("min_delay", "max_delay"):
            if isinstance(point[name], int | float) and LONGEST_DELAY < point[name] < float("inf"):
                raise OperatingPointError(
                    f"{where}: {name} is in seconds, at most {LONGEST_DELAY:g}, got {str(point[name])[:20]}"
                )
        try:
            return cls(
                threshold=check_probability(point["threshold"], "threshold"),
                options=EndpointingOptions(
                    point["min_delay"], point["max_delay"], point.get("exponent"), point.get("rescore_every")
                ),
                cutoff_rate=check_probability(point["cutoff_rate"], "cutoff_rate"),
                latency=check_seconds(point["latency"], "latency"),
                budget=budget,
                value=None if value is None else check_seconds(value, "value"),
            )
        except ValueError as error:
            raise OperatingPointError(f"{where}: {error}") from error


@dataclass(frozen=True, slots=True)
class OwnHead:
    """A head of one's own for one language, and what was measured with it."""

    document: Mapping[str, Any]
    """As :mod:`eot_core.models.eot_open_head` describes it. It is checked when a model takes it."""
    points: tuple[MeasuredPolicy, ...]
    """At least one policy."""
    sha256: str | None = None
    """Checksum of ``document``, as it was written; None where the file has none."""


@dataclass(frozen=True, slots=True)
class ModelPolicies:
    """Everything that was measured of one model."""

    languages: Mapping[str, tuple[MeasuredPolicy, ...]]
    """By language key; each at least one policy."""
    provenance: str
    sha256: str | None = None
    """Checksum of the weights that were measured; None where it is not known."""
    heads: Mapping[str, OwnHead] = field(default_factory=dict)
    """By language key, some of ``languages``."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicyTable:
    """Measured policies of one or more models."""

    models: Mapping[str, ModelPolicies]
    """By full name."""
    where: str = "calibration"
    """What it was read from, for messages: "calibration my-calls.json"."""

    @classmethod
    def published(cls) -> PolicyTable:
        """The table that comes with the package: eot-bench's published figures, in 14 languages."""
        return _published()

    def without(self, model: str) -> PolicyTable:
        """The table without what was measured of ``model``."""
        return replace(self, models=MappingProxyType({k: v for k, v in self.models.items() if k != model}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PolicyTable:
        """Read a calibration file.

        Raises:
            OperatingPointError: there is none, or it is not one; the message says where in it.
            TypeError: ``path`` is no path.
        """
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"calibration must be a path, got {type(path).__name__}")
        name = os.fspath(path)
        try:
            with open(os.path.expanduser(name), encoding="utf-8-sig") as file:  # an editor may have put a mark first
                data = json.load(file)
        except OSError as error:
            raise OperatingPointError(f"calibration {name}: cannot be read: {error.strerror}") from error
        except RecursionError as error:
            raise OperatingPointError(f"calibration {name}: is nested too deeply to be one") from error
        except ValueError as error:  # JSON's own, and bytes that are no UTF-8
            raise OperatingPointError(f"calibration {name}: is no JSON: {error}") from error
        return cls.from_json(data, f"calibration {name}")

    @classmethod
    def from_json(cls, data: Any, where: str = "calibration") -> PolicyTable:
        """A table from what JSON gave. Keys that are not known are passed over outside the points.

        Raises:
            OperatingPointError: it is no table; ``where`` begins the message.
        """
        if not isinstance(data, Mapping):
            raise OperatingPointError(f"{where}: must be a JSON object")
        if data.get("schema") not in SCHEMAS:
            raise OperatingPointError(
                f"{where}: schema {data.get('schema')!r} is not known to this version ({' or '.join(SCHEMAS)}): "
                "upgrade eot-adapters, or make the file again"
            )
        sources = _mapping(data.get("sources", {}), f"{where}: sources")
        models = _mapping(data.get("models"), f"{where}: models")
        if not models:
            raise OperatingPointError(f"{where}: models is empty: run eot tune again")
        parsed = {str(m): _model(m, row, sources, f"{where}: {m}") for m, row in models.items()}
        return cls(MappingProxyType(parsed), where)


@lru_cache(maxsize=1)
def _published() -> PolicyTable:
    text = (resources.files("eot_core.data") / "operating_points.json").read_text(encoding="utf-8")
    return PolicyTable.from_json(json.loads(text), "the published table")


def _model(name: str, row: Any, sources: Mapping[str, Any], where: str) -> ModelPolicies:
    row = _mapping(row, where)
    languages: dict[str, tuple[MeasuredPolicy, ...]] = {}
    heads: dict[str, OwnHead] = {}
    for tag, measured in _mapping(row.get("languages"), f"{where}: languages").items():
        key = language_key(tag)
        if key is None or key in languages:
            raise OperatingPointError(f"{where}: {tag!r} names no language, or one that is there already")
        measured = _mapping(measured, f"{where} {tag}")
        languages[key] = _points(measured, f"{where} {tag}")
        if measured.get("head") is not None:
            head = _mapping(measured["head"], f"{where} {tag} head")
            document = _mapping(head.get("document"), f"{where} {tag} head: document")
            heads[key] = OwnHead(
                document, _points(head, f"{where} {tag} head"), _checksum(head.get("sha256"), f"{where} {tag} head")
            )
    if not languages:
        raise OperatingPointError(f"{where}: languages is empty")
    source = sources.get(str(row.get("source")), {})
    said = [str(source[k]).rstrip(". ") for k in ("title", "caveat") if isinstance(source, Mapping) and source.get(k)]
    return ModelPolicies(
        MappingProxyType(languages),
        (". ".join(said) or where) + ".",
        _checksum(row.get("sha256"), where),
        MappingProxyType(heads),
    )


def _points(row: Mapping[str, Any], where: str) -> tuple[MeasuredPolicy, ...]:
    points = row.get("points")
    if not isinstance(points, list) or not points:
        raise OperatingPointError(f"{where}: points must be a list with at least one policy")
    return tuple(MeasuredPolicy.from_json(point, f"{where} point {i}") for i, point in enumerate(points))


def _checksum(value: Any, where: str) -> str | None:
    if value is not None and not (isinstance(value, str) and _HEX.fullmatch(value)):
        raise OperatingPointError(f"{where}: sha256 must be 64 hexadecimal digits, got {str(value)[:80]!r}")
    return value


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise OperatingPointError(f"{where} must be a JSON object")
    return value
