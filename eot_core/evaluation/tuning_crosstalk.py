"""Speech that a channel merely overhears from the other: an echo, far fainter than whoever speaks there themselves."""

from __future__ import annotations

from typing import Final

import numpy as np

from .pauses import Bools, Floats
from .recording import Recording
from .tuning_speech import PIECE, Segments

FAINTER: Final = 12.0
"""Decibels by which an echo is fainter than the other channel is at the time, and than speech of the channel's own. Of
whoever says "mhm" into what the other says, both are seldom so; and where it is so, nothing is lost."""
LAG: Final = 0.3
"""Seconds; echoes come back within that."""
STEP: Final = 0.05
"""Seconds that a level is of."""


def powers(recording: Recording) -> Floats:
    """Mean square of each :data:`STEP` of the recording's channel, shape (n,).

    Raises:
        AudioFileError: the recording cannot be decoded.
    """
    found: list[Floats] = []
    size = round(STEP * recording.rate)
    at = 0.0
    while at < recording.duration:
        pcm = recording.read(at, min(recording.duration, at + PIECE)).astype(np.float64) ** 2
        found.append(np.pad(pcm, (0, -len(pcm) % size)).reshape(-1, size).mean(axis=1))
        at += PIECE
    return np.concatenate(found) if found else np.zeros(0)


def overheard(own: Segments, own_power: Floats, other_power: Floats) -> Bools:
    """Which stretches of speech on a channel are an echo of the other, shape (n,).

    Args:
        own: speech on the channel.
        own_power: of the channel (:func:`powers`).
        other_power: of the other channel.
    """
    mine = np.array([_decibels(own_power, start, end) for start, end in own])
    theirs = np.array([_decibels(other_power, start - LAG, end) for start, end in own])
    spoken_here = mine[mine > theirs]
    if not len(spoken_here):  # nothing to hold them against
        return np.zeros(len(own), dtype=np.bool_)
    fainter = np.minimum(theirs, np.median(spoken_here)) - FAINTER
    return np.asarray(mine <= fainter, dtype=np.bool_)


def _decibels(power: Floats, start: float, end: float) -> float:
    first = max(0, round(start / STEP))
    part = power[first : max(first + 1, round(end / STEP))]
    return float(10.0 * np.log10(part.mean() + 1e-3)) if len(part) else -30.0
