"""Pauses of recorded speech, in the eot-bench schema: what the head is fitted on, and what it is measured on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

RATE = 16_000
MIN_PAUSE = 0.2
"""Seconds; shorter silences are no pauses (eot-bench scores at 0.2 s)."""

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pause:
    """A silence inside a turn (a hold), or the one after it (its end)."""

    turn: str
    source: str
    split: str
    language: str
    speaker: str
    audio: Path
    channel: int
    turn_start: float
    """Seconds in the recording from which the turn's audio counts."""
    speech_start: float
    """Seconds: where the turn's speech begins."""
    onsets: tuple[float, ...]
    """Seconds: where speech begins again before this pause, ``speech_start`` first."""
    start: float
    """Seconds: where the silence begins."""
    duration: float
    """Seconds of silence: until speech goes on (hold), or until the recording ends or somebody else speaks (end)."""
    is_end: bool


def read(folder: Path) -> list[Pause]:
    """Every pause of at least :data:`MIN_PAUSE` in ``turns.jsonl`` and, where it is there, ``calls.jsonl``."""
    pauses = [pause for row in _rows(folder / "turns.jsonl") for pause in _of_turn(folder, row)]
    if (folder / "calls.jsonl").is_file():
        pauses += [pause for row in _rows(folder / "calls.jsonl") for pause in _of_call(folder, row)]
    return [pause for pause in pauses if pause.duration >= MIN_PAUSE]


def load(path: Path, channel: int = 0) -> Wave:
    """A recording as float32 at 16 kHz, shape (n,)."""
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    one = np.ascontiguousarray(wave[:, channel])
    return one if rate == RATE else np.asarray(soxr.resample(one, rate, RATE), dtype=np.float32)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _of_turn(folder: Path, row: dict[str, Any]) -> Iterator[Pause]:
    spans = row["silence_spans"]
    onsets = [0.0] if spans[0]["start"] > 0.0 else []
    for index, span in enumerate(spans):
        if span["start"] > 0.0:
            yield Pause(
                turn=row["id"],
                source=row.get("source", "unknown"),
                split=row.get("split", "test"),
                language=row["language"],
                speaker=row.get("speaker", row["id"]),
                audio=folder / row["audio"],
                channel=0,
                turn_start=0.0,
                speech_start=onsets[0],
                onsets=tuple(onsets),
                start=span["start"],
                duration=span["end"] - span["start"],
                is_end=index == len(spans) - 1,
            )
        onsets.append(span["end"])


PRE_SPEECH = 0.7
"""Seconds before a caller's first word that belong to the turn, as the running detector takes them."""


def _of_call(folder: Path, row: dict[str, Any]) -> Iterator[Pause]:
    """A pause is a hold when the same person speaks next, an end when the other does; overlaps are dropped."""
    for channel, name in enumerate(row["channels"]):
        own, other = row["speech"][name], row["speech"][row["channels"][1 - channel]]
        onsets: list[float] = []
        for index, (begin, end) in enumerate(own):
            said_before = [b for b, _ in other if b < begin]
            if onsets and said_before and said_before[-1] > onsets[-1]:
                onsets = []
            onsets.append(begin)
            if any(b < end and e > end for b, e in other):
                continue
            own_next = own[index + 1][0] if index + 1 < len(own) else None
            other_next = next((b for b, _ in other if b >= end), None)
            if own_next is None and other_next is None:
                continue
            is_end = own_next is None or (other_next is not None and other_next < own_next)
            until = other_next if is_end else own_next
            assert until is not None
            yield Pause(
                turn=f"{row['id']}-{name}-{onsets[0]:.2f}",
                source="calls" if channel == 0 else "calls-agent",
                split="test",
                language=row["language"],
                speaker=f"{row['id']}-{name}",
                audio=folder / row["audio"],
                channel=channel,
                turn_start=max(0.0, onsets[0] - PRE_SPEECH),
                speech_start=onsets[0],
                onsets=tuple(onsets),
                start=end,
                duration=until - end,
                is_end=is_end,
            )
