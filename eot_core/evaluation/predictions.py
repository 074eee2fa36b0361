"""eot-bench's ``predictions.parquet``: one row for each score, read and written.

Columns: ``id``, ``language``, ``span_index``, ``timestamp`` (s), ``silence_dur`` (s into the silence), ``p_eot``,
``label`` ("hold" or "eot"), as in livekit/eot-bench (eot_harness/schemas.py). Needs ``pyarrow``. Speakers and sources,
which have no column there, are kept in the file's metadata, so that what is read back gives the same intervals.
"""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..languages import language_key
from .dataset import DatasetError, pyarrow
from .output_file import write_output
from .pauses import Pauses
from .scored import ScoredSet, ScoringOptions, unnamed_note

COLUMNS = ("id", "language", "span_index", "timestamp", "silence_dur", "p_eot", "label")
_SLACK = 1e-6
_ROUNDED = 1e-3
"""How far beyond 0 and 1 a score may lie by rounding."""
_ORIGIN = b"eot_adapters.origin"
"""Of the file's metadata: JSON, for each id its speaker or call, and its source."""


def write_predictions(path: str | Path, scored: ScoredSet, model: str) -> None:
    """Write one model's scores, as :func:`write_output` does.

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
            round(pause.span.start + into, 9),
            round(into, 9),
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
    origin = {pause.item.id: [pause.item.cluster, pause.item.source] for pause in scored.pauses}
    schema = schema.with_metadata({_ORIGIN: json.dumps(origin).encode()})
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns, schema=schema), buffer)
    write_output(Path(path), buffer.getvalue())


def is_written_here(path: Path) -> bool:
    """Whether a file is one that :func:`write_predictions` wrote, and may be replaced by the next.

    Raises:
        DatasetError: pyarrow is not installed.
    """
    try:
        return _ORIGIN in (pyarrow("parquet").read_schema(path).metadata or {})
    except (OSError, ValueError):
        return False


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


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a ``predictions.parquet`` holds."""

    pauses: Pauses
    """Holds of any length. The cluster of a pause is its speaker or call, or its item where the file knows neither."""
    sources: list[str | None]
    """Of each pause."""
    notes: list[str] = field(default_factory=list)
    """What is to be known of them as a whole."""


def read_predictions(path: str | Path, options: ScoringOptions | None = None) -> Predictions:
    """Pauses with their scores at ``score_at`` seconds, and further on where the options say so.

    A score further on is the last that was given by its moment (eot-bench scores every 0.1 s).

    Raises:
        DatasetError: pyarrow is not installed, the file cannot be read, lacks a column, holds what is no score or
            label, or has a pause without a score at ``score_at``.
    """
    options = options or ScoringOptions()
    parquet = pyarrow("parquet")
    try:
        table = parquet.read_table(str(path))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: is no parquet file that can be read: {error}") from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise DatasetError(f"{path}: has no column {', '.join(missing)}: expected {', '.join(COLUMNS)}")
    spans: dict[tuple[str, int], _Scores] = {}
    for number, row in enumerate(table.select(list(COLUMNS)).to_pylist()):
        try:
            _collect(spans, row)
        except (TypeError, ValueError, OverflowError) as error:
            raise DatasetError(f"{path}: row {number} cannot be used: {error}") from error
    origin = json.loads((table.schema.metadata or {}).get(_ORIGIN, b"{}"))
    for (item, index), span in spans.items():
        late = span.duration >= options.score_at - _SLACK
        if span.at(options.score_at) is None and (late or span.label == "eot"):
            raise DatasetError(
                f"{path}: span {index} of {item} has no score at {options.score_at:g} s: say when it was scored "
                "(--score-at)"
            )
    if not spans:
        raise DatasetError(f"{path}: holds no scores")
    rows = [span.row(options.moments) for span in spans.values()]
    first = np.array([row[0] for row in rows], dtype=np.float64)
    asked = np.isfinite(first)
    items = [item for item, _ in spans]
    pauses = Pauses(
        score=np.where(asked, first, 0.0),
        duration=np.array([span.duration for span in spans.values()]),
        is_end=np.array([span.label == "eot" for span in spans.values()], dtype=bool),
        cluster=np.array([origin.get(item, [item])[0] for item in items], dtype=np.str_),
        answered_at=np.where(asked, options.score_at, np.inf),
        language=np.array([span.language for span in spans.values()], dtype=np.str_),
        later=np.array([row[1:] for row in rows], dtype=np.float64).reshape(len(rows), -1),
        later_at=np.array(options.asked_at[1:]),
    )
    notes = unnamed_note(dict(zip(items, pauses.cluster.tolist(), strict=True)))
    return Predictions(pauses, [origin.get(item, [item, None])[1] for item in items], notes)


@dataclass(slots=True)
class _Scores:
    """The rows of one silence."""

    label: str
    language: str
    duration: float = 0.0
    scores: dict[float, float] = field(default_factory=dict)
    """By seconds into the silence."""

    def at(self, into: float) -> float | None:
        return next((score for at, score in self.scores.items() if abs(at - into) < _SLACK), None)

    def row(self, moments: Sequence[float]) -> list[float]:
        """A score for each moment, NaN where the silence was over, or nothing new was said since the one before."""
        first = self.at(moments[0])
        row = [math.nan if first is None else first]
        for before, moment in itertools.pairwise(moments):
            new = [at for at in self.scores if before + _SLACK < at <= moment + _SLACK]
            row.append(self.scores[max(new)] if new and moment <= self.duration + _SLACK else math.nan)
        return row


def _collect(spans: dict[tuple[str, int], _Scores], row: Mapping[str, Any]) -> None:
    key = (str(row["id"]), int(row["span_index"]))
    into, label = round(float(row["silence_dur"]), 6), row["label"]
    if label not in ("hold", "eot"):
        raise ValueError(f'label must be "hold" or "eot", got {label!r}')
    if not 0 <= into < math.inf:
        raise ValueError(f"silence_dur must be seconds, got {into}")
    span = spans.setdefault(key, _Scores(label, language_key(str(row["language"] or "")) or ""))
    if span.label != label:
        raise ValueError(f"span {key[1]} of {key[0]} is labelled hold and eot")
    span.duration = max(span.duration, into)
    score = row["p_eot"]
    if score is None or math.isnan(score):
        return
    if not -_ROUNDED <= score <= 1 + _ROUNDED:
        raise ValueError(f"p_eot must be a probability, 0 to 1, got {score}")
    span.scores[into] = min(1.0, max(0.0, float(score)))
