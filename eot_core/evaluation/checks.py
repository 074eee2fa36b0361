"""Does a recording hold speech where its labels say so? Asked of Silero VAD, once per recording."""

from __future__ import annotations

import math

import numpy as np

from ..models.session import shared_session
from ..vad.hysteresis import WINDOW, WINDOW_SAMPLES
from ..vad.silero import SHA256, SileroNetwork, weights_path
from .items import Item, Problem
from .pauses import Floats
from .recording import Recording

SPEECH = 0.5
"""Probability from which a window counts as speech; the default of the VAD here."""
SETTLING = 0.1
"""Seconds at the beginning of a silence in which the VAD may still hear the word before it."""
LOOK = 1.0
"""Seconds of a silence that are looked at."""
PIECE = 60.0
"""Seconds that are decoded at a time."""

FINGERPRINT = f"silero-check-{SHA256}"


def speech_shares(item: Item, recording: Recording) -> list[float]:
    """Share of windows that are speech, 0..1: first in all that comes before the end of the turn, then in each span.

    Raises:
        ModelError: the VAD cannot be loaded.
        AudioFileError: the recording cannot be decoded.
    """
    begin = item.turn_start
    until = min(recording.duration, item.spans[-1].start + LOOK)
    probability = _probabilities(recording, begin, until)
    said = probability[: max(1, math.ceil((item.spans[-1].start - begin) / WINDOW))]
    shares = [_share(said)]
    for span in item.spans:
        first = math.ceil((span.start + SETTLING - begin) / WINDOW)
        last = int((min(span.end, span.start + LOOK) - begin) / WINDOW)
        shares.append(_share(probability[first:last]))
    return shares


def judge(item: Item, shares: list[float]) -> list[Problem]:
    """What :func:`speech_shares` says of the labels; the first problem may leave the item out."""
    if shares[0] == 0.0:
        return [Problem(item.id, "no speech is heard before its end of turn: not speech, or silent")]
    return [
        Problem(
            item.id,
            f"silence_spans[{i}] ({span.start:.2f} to {span.end:.2f} s) sounds like speech: mislabelled?",
            left_out=False,
        )
        for i, (span, share) in enumerate(zip(item.spans, shares[1:], strict=True))
        if share > 0.5
    ]


def _share(probability: Floats) -> float:
    return float((probability >= SPEECH).mean()) if len(probability) else 0.0


def _probabilities(recording: Recording, begin: float, until: float) -> Floats:
    network = SileroNetwork(shared_session(weights_path()))
    scores: list[float] = []
    rest = np.zeros(0, dtype=np.int16)
    pieces = max(1, math.ceil((until - begin) / PIECE))
    for number in range(pieces):
        start = begin + number * PIECE
        pcm = np.concatenate((rest, recording.read_16k(start, min(until, start + PIECE))))
        whole = len(pcm) - len(pcm) % WINDOW_SAMPLES
        scores += [network.score(pcm[i : i + WINDOW_SAMPLES]) for i in range(0, whole, WINDOW_SAMPLES)]
        rest = pcm[whole:]
    return np.asarray(scores, dtype=np.float64)
