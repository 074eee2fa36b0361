"""Calibration files with heads of one's own, made without fitting one: the package's head, its logit moved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eot_core.models.eot_open import packaged_head
from eot_core.models.own_head import corrected
from eot_core.models.registry import resolve_model

WITHOUT_HEAD = {"threshold": 0.4, "min_delay": 0.5, "max_delay": 1.5, "cutoff_rate": 0.08, "latency": 0.7}
WITH_HEAD = {"threshold": 0.6, "min_delay": 0.3, "max_delay": 1.0, "cutoff_rate": 0.04, "latency": 0.5}


def moved_head(model: str, by: float) -> dict[str, Any]:
    """The package's head of ``model``, ``by`` added to its logit."""
    zeros = np.zeros(len(packaged_head(model).weights))
    document = corrected(model, zeros, zeros, {"fitted_with": "tests"})
    document["calibration"]["offset"] += by
    return document


def with_own_heads(
    heads: Mapping[str, float], model: str = "eot-open-1", languages: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A calibration file: for each language of ``heads`` one that moves the logit by so much, and points for scores
    with it (:data:`WITH_HEAD`) and without (:data:`WITHOUT_HEAD`). ``languages`` have none, and the latter only."""
    rows: dict[str, Any] = {language: {"points": [_for_all(WITHOUT_HEAD)]} for language in (*heads, *languages)}
    for language, by in heads.items():
        rows[language]["head"] = {"document": moved_head(model, by), "points": [_for_all(WITH_HEAD)]}
    return {
        "schema": "eot-calibration/1",
        "sources": {"eot-tune": {"title": "made for a test"}},
        "models": {model: {"source": "eot-tune", "sha256": resolve_model(model).sha256, "languages": rows}},
    }


def write_own_heads(
    path: Path, heads: Mapping[str, float], model: str = "eot-open-1", languages: tuple[str, ...] = ()
) -> Path:
    """:func:`with_own_heads` as a file."""
    path.write_text(json.dumps(with_own_heads(heads, model, languages)))
    return path


def _for_all(point: Mapping[str, float]) -> dict[str, Any]:
    return {"budget": "cutoff", "value": 0.1, **point}
