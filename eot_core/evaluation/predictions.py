"""eot-bench's ``predictions.parquet``: one row for each score, read and written.

Columns: ``id``, ``language``, ``span_index``, ``timestamp`` (s), ``silence_dur`` (s into the silence), ``p_eot``,
``label`` ("hold" or "eot"), as in livekit/eot-bench (eot_harness/schemas.py). Needs ``pyarrow``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..languages import language_key
from .dataset import DatasetError, pyarrow
from .pauses import SCORE_AT, Pauses
from .scoring import ScoredSet

COLUMNS = ("id", "language", "span_index", "timestamp", "silence_dur", "p_eot", "label")
_SLACK = 1e-6


def write_predictions(path: str | Path, scored: ScoredSet, model: str) -> None:
    """Write one model's scores.

    eot-bench takes the longest ``silence_dur`` of a span for the length of the silence, so that each span ends in a
    row at its end, with an empty ``p_eot`` where the model was not asked there.

    Raises:
        DatasetError: pyarrow is not installed.
        OSError: the file cannot be written.
    """
    parquet, pa = pyarrow("parquet"), pyarrow("lib")

    moments = scored.options.moments
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}

    def add(number: int, into: float, score: float | None) -> None:
        pause = scored.pauses[number]
        values = (
            pause.item.id,
            pause.item.language,
            pause.index,
            round(pause.span.start + into, 6),
            round(into, 6),
            score,
            "eot" if pause.is_end else "hold",
        )
        for name, value in zip(COLUMNS, values, strict=True):
            columns[name].append(value)

    for number, pause in enumerate(scored.pauses):
        last = 0.0
        for into, score in zip(moments, scored.scores[model][number], strict=True):
            if math.isfinite(score):
                add(number, into, score)
                last = into
        if pause.span.duration > last + _SLACK:
            add(number, pause.span.duration, None)
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("language", pa.string()),
            ("span_index", pa.int64()),
            ("timestamp", pa.float64()),
            ("silence_dur", pa.float64()),
            ("p_eot", pa.float64()),
            ("label", pa.string()),
        ]
    )
    parquet.write_table(pa.table(columns, schema=schema), str(path))


def is_predictions(path: str | Path) -> bool:
    """Whether ``path`` is a parquet file with the columns of ``predictions.parquet``.

    Raises:
        DatasetError: pyarrow is not installed, or the file cannot be read.
    """
    path = Path(path)
    if path.suffix != ".parquet" or not path.is_file():
        return False
    try:
        names = pyarrow("parquet").read_schema(path).names
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: is no parquet file that can be read: {error}") from error
    return set(COLUMNS) <= set(names)


def read_predictions(path: str | Path, *, score_at: float = SCORE_AT) -> Pauses:
    """Pauses with the scores at ``score_at`` seconds, holds of any length; the cluster of a pause is its item.

    Raises:
        DatasetError: pyarrow is not installed, the file cannot be read, lacks a column, or has an end without a score
            at ``score_at``.
    """
    parquet = pyarrow("parquet")
    try:
        table = parquet.read_table(str(path))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: is no parquet file that can be read: {error}") from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise DatasetError(f"{path}: has no column {', '.join(missing)}: expected {', '.join(COLUMNS)}")
    spans: dict[tuple[str, int], dict[str, Any]] = {}
    for row in table.select(list(COLUMNS)).to_pylist():
        _collect(spans, row, score_at)
    kept = []
    for (item, index), span in spans.items():
        if span["score"] is not None:
            kept.append({"item": item, **span})
        elif span["duration"] >= score_at - _SLACK:
            raise DatasetError(
                f"{path}: span {index} of {item} has no score at {score_at:g} s: say when it was scored (--score-at)"
            )
    return Pauses(
        score=np.array([s["score"] for s in kept]),
        duration=np.array([s["duration"] for s in kept]),
        is_end=np.array([s["label"] == "eot" for s in kept], dtype=bool),
        cluster=np.array([s["item"] for s in kept], dtype=np.str_),
        answered_at=np.full(len(kept), score_at),
        language=np.array([s["language"] for s in kept], dtype=np.str_),
    )


def _collect(spans: dict[tuple[str, int], dict[str, Any]], row: Mapping[str, Any], score_at: float) -> None:
    key = (str(row["id"]), int(row["span_index"]))
    into, score = float(row["silence_dur"]), row["p_eot"]
    span = spans.setdefault(
        key,
        {"duration": into, "score": None, "label": row["label"], "language": language_key(row["language"]) or ""},
    )
    span["duration"] = max(span["duration"], into)
    if abs(into - score_at) < _SLACK and score is not None and math.isfinite(score):
        span["score"] = min(1.0, max(0.0, float(score)))
