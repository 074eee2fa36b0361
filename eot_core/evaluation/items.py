"""One recording of a dataset and its pauses, in the schema of eot-bench, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..languages import language_key
from .recording import AudioRef

_LONGEST = 1e9
"""Seconds. No recording is longer; infinity, and an integer that no float can hold, are no times either."""
REQUIRED = ("id", "language", "audio", "silence_spans")


class ItemError(ValueError):
    """A row cannot be used. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What was left out, or is to be looked at, and why."""

    item: str
    """Id of the item, or the place of its row."""
    message: str
    left_out: bool = True
    """False: it was counted all the same."""

    def __str__(self) -> str:
        """In one line, whatever an id holds."""
        return f"{_one_line(self.item)}: {_one_line(self.message, None)}" + (
            "" if self.left_out else " (counted all the same)"
        )


@dataclass(frozen=True, slots=True)
class Span:
    """A silence, in seconds from the beginning of the recording."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        """Seconds, to the microsecond, as eot-bench has it: of times in single precision the difference of 1.3 and 1.1
        is 0.2 too."""
        return round(self.end - self.start, 6)


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One turn of one speaker. The last span is the end of the turn, every other one a hold."""

    id: str
    language: str
    audio: AudioRef
    spans: tuple[Span, ...]
    cluster: str
    """Call or speaker, or the id where the dataset names neither."""
    split: str | None = None
    source: str | None = None
    turn_start: float = 0.0
    """Seconds; nothing before is heard by a model."""
    is_excerpt: bool = False
    """The audio is what a model was given in a call: nothing of it is to be left out."""
    channel: int | None = None
    """Of the speaker, in a recording with several; None leaves it to the options."""
    words: tuple[Mapping[str, Any], ...] = field(default=())
    """With ``messages``: taken where they are lists of objects. No model here reads them."""
    messages: tuple[Mapping[str, Any], ...] = field(default=())

    def label(self, index: int) -> str:
        """ "eot" for the last span, else "hold"."""
        return "eot" if index == len(self.spans) - 1 else "hold"


def parse_item(row: Mapping[str, Any], folder: Path, default_split: str | None = None) -> Item:
    """An item from a row of a dataset.

    Args:
        row: with the fields of eot-bench's schema; ``speaker`` or ``call``, ``split``, ``source``, ``turn_start``
            (seconds; the beginning of the turn in a longer recording) and ``channel`` are taken where they are there.
        folder: what paths of audio are relative to.
        default_split: where the row has none.

    Raises:
        ItemError: a field is missing or makes no sense.
    """
    missing = [name for name in REQUIRED if row.get(name) is None]
    if missing:
        raise ItemError(f"has no {', '.join(missing)}: the schema asks for {', '.join(REQUIRED)}")
    language = language_key(str(row["language"]))
    if language is None:
        raise ItemError(f"language {row['language']!r} names no language: use a BCP-47 tag such as 'en'")
    cluster = next((str(row[k]) for k in ("call", "speaker") if row.get(k) not in (None, "")), str(row["id"]))
    turn_start = row.get("turn_start") or 0.0
    if not _is_seconds(turn_start):
        raise ItemError(f"turn_start must be seconds, 0 or more, got {_short(turn_start)}")
    channel = row.get("channel")
    if channel is not None and (isinstance(channel, bool) or not isinstance(channel, int) or channel < 0):
        raise ItemError(f"channel must be a whole number from 0, got {channel!r}")
    split = row.get("split", default_split)
    return Item(
        id=str(row["id"]),
        language=language,
        audio=parse_audio(row["audio"], folder),
        spans=parse_spans(row["silence_spans"], float(turn_start)),
        cluster=cluster,
        split=None if split is None else str(split),
        source=None if row.get("source") is None else str(row["source"]),
        turn_start=float(turn_start),
        channel=channel,
        words=_objects(row.get("words")),
        messages=_objects(row.get("messages")),
    )


def parse_spans(value: Any, turn_start: float = 0.0) -> tuple[Span, ...]:
    """Silences from a list of ``{"start", "end"}`` (a JSON text of one, or columns of starts and ends, will do).

    Raises:
        ItemError: there are none, one is no span, or they are not in order.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ItemError(f"silence_spans is no JSON: {error}") from error
    if isinstance(value, Mapping) and {"start", "end"} <= set(value):  # a sequence of structs, as datasets stores it
        value = _from_columns(value["start"], value["end"])
    if not isinstance(value, list | tuple):
        raise ItemError(f'silence_spans must be a list of {{"start": s, "end": s}}, got {_short(value)}')
    if not value:
        raise ItemError("silence_spans is empty: without the silence after the last word there is no end of the turn")
    spans: list[Span] = []
    for number, raw in enumerate(value):
        try:
            start, end = (raw["start"], raw["end"]) if isinstance(raw, Mapping) else (raw[0], raw[1])
            span = Span(float(start), float(end))
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise ItemError(f'silence_spans[{number}] is no {{"start": s, "end": s}}: {_short(raw)}') from error
        if not (_is_seconds(span.start) and _is_seconds(span.end)) or span.end <= span.start:
            raise ItemError(f"silence_spans[{number}] goes from {span.start} to {span.end} s: mislabelled")
        if spans and span.start < spans[-1].end - 1e-6:
            raise ItemError(f"silence_spans[{number}] begins before the one before it ends: mislabelled")
        if span.start < turn_start:
            raise ItemError(f"silence_spans[{number}] begins before the turn does ({turn_start} s): mislabelled")
        spans.append(span)
    return tuple(spans)


def parse_audio(value: Any, folder: Path) -> AudioRef:
    """Audio from a path, or from ``{"path", "bytes"}`` or ``{"array", "sampling_rate"}`` as ``datasets`` stores it.

    Raises:
        ItemError: it is none of these.
    """
    if isinstance(value, str):
        return AudioRef(path=_inside(value, folder))
    if isinstance(value, bytes):
        return AudioRef(encoded=value)
    if isinstance(value, Mapping):
        encoded = value.get("bytes")
        if encoded is not None and not (isinstance(encoded, bytes) or callable(encoded)):
            raise ItemError(
                f"audio.bytes must be bytes, got {type(encoded).__name__}: JSON has none, so give the path of a file"
            )
        if encoded is not None:
            return AudioRef(encoded=encoded)
        if value.get("array") is not None and value.get("sampling_rate"):
            return _from_array(value["array"], value["sampling_rate"])
        if value.get("path"):
            return AudioRef(path=_inside(str(value["path"]), folder))
    raise ItemError("audio is neither a path, nor {bytes}, nor {array, sampling_rate}")


def _from_array(array: Any, rate: Any) -> AudioRef:
    import numpy as np

    from ..audio import AudioFormatError, check_sample_rate, to_pcm

    try:
        samples = np.asarray(array)
    except ValueError as error:
        raise ItemError("audio cannot be understood: array holds lists of different lengths") from error
    if samples.size == 0:
        raise ItemError("audio holds no samples")
    try:
        if samples.ndim == 2:
            samples = samples.mean(axis=int(np.argmin(samples.shape)))
        return AudioRef(pcm=to_pcm(samples), sample_rate=check_sample_rate(rate))
    except (AudioFormatError, TypeError) as error:  # TypeError: a mean of what is no number
        raise ItemError(f"audio cannot be understood: {error}") from error


def _inside(path: str, folder: Path) -> Path:
    if "://" in path:
        raise ItemError(f"audio is a URL: download it, and give its path: {_short(path)}")
    return Path(path) if Path(path).is_absolute() else folder / path


def _from_columns(starts: Any, ends: Any) -> Any:
    """A list of spans from the lists of their starts and ends; what is none stays what it is."""
    if not (isinstance(starts, list | tuple) and isinstance(ends, list | tuple)):
        return {"start": starts, "end": ends}
    if len(starts) != len(ends):
        raise ItemError(f"silence_spans has {len(starts)} starts and {len(ends)} ends")
    return [{"start": s, "end": e} for s, e in zip(starts, ends, strict=True)]


def _objects(value: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple(v for v in value if isinstance(v, Mapping)) if isinstance(value, list | tuple) else ()


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LONGEST


def _one_line(text: str, longest: int | None = 100) -> str:
    """``text`` without what moves the cursor, colours a terminal or ends a line."""
    text = text if longest is None or len(text) <= longest else f"{text[:longest]}..."
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
