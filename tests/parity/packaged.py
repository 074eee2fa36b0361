"""A labelled dataset out of the package's own recording: for where no other recorded speech is."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np

from eot_core.models.base import PcmArray

from . import speech

_CALLS: tuple[tuple[str | float, ...], ...] = (
    ("short", 0.4, "middle", 0.7, "long"),
    ("middle", 0.55, "short", 0.9, "long"),
    ("long", 0.3, "word", 0.5, "short"),
    ("word", 0.45, "word", 1.1, "middle"),
    ("short", 1.5, "long", 0.35, "word"),
    ("middle", 0.25, "middle", 0.6, "short"),
    ("long", 0.8, "middle"),
    ("word", 0.65, "long"),
)
_ENDING = 0.5
"""Seconds of silence behind each."""


def write(folder: Path) -> Path:
    """Write ``turns.jsonl`` and its recordings; returns its path. Silences are labelled by the VAD, as in sets that
    nobody has labelled by hand."""
    rows = []
    for number, parts in enumerate(_CALLS):
        pcm = np.concatenate((speech.spoken(*parts), speech.silence(_ENDING)))
        name = f"call-{number}.wav"
        with wave.open(str(folder / name), "wb") as file:
            file.setparams((1, 2, speech.RATE, 0, "NONE", ""))
            file.writeframes(pcm.astype("<i2").tobytes())
        row = {"id": f"call-{number}", "language": "en", "audio": name, "source": "packaged", "speaker": f"s{number}"}
        rows.append({**row, "silence_spans": _spans(pcm)})
    path = folder / "turns.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _spans(pcm: PcmArray) -> list[dict[str, float]]:
    step = speech.RATE // 50
    frames = [((at + step) / speech.RATE, pcm[at : at + step]) for at in range(0, len(pcm) - step + 1, step)]
    pauses = speech.pauses(frames, speech.RATE)
    # Speech began two windows before the VAD was sure of it.
    ends = [len(pcm) / speech.RATE if p.resumed_at is None else p.resumed_at - 0.064 for p in pauses]
    return [{"start": p.ended_at, "end": end} for p, end in zip(pauses, ends, strict=True)]
