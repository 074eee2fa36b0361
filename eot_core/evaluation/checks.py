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

AFTER = 3.0
"""Seconds after the end of the turn that are looked at, where the recording goes on."""
GOES_ON = 0.25
"""Share of these that may be speech: more is somebody who goes on, not a click."""

FINGERPRINT = f"silero-check-2-{SHA256}"


def speech_shares(item: Item, recording: Recording) -> list[float]:
    """Share of windows that are speech, 0..1: first in all that comes before the end of the turn, in each span, and
    last after the end of the turn. A turn in a longer recording is followed by others: there the last is 0.

    Raises:
        ModelError: the VAD cannot be loaded.
        AudioFileError: the recording cannot be decoded.
    """
    begin = item.turn_start
    last = item.spans[-1]
    alone = item.turn_start == 0 and item.channel is None and recording.duration > last.end + 2 * SETTLING
    until = min(recording.duration, last.end + AFTER if alone else last.start + LOOK)
    probability = _probabilities(recording, begin, until)
    said = probability[: max(1, math.ceil((last.start - begin) / WINDOW))]
    shares = [_share(said)]
    for span in item.spans:
        first = math.ceil((span.start + SETTLING - begin) / WINDOW)
        stop = int((min(span.end, span.start + LOOK) - begin) / WINDOW)
        shares.append(_share(probability[first:stop]))
    shares.append(_share(probability[math.ceil((last.end - begin) / WINDOW) :]) if alone else 0.0)
    return shares


def judge(item: Item, shares: list[float]) -> list[Problem]:
    """What :func:`speech_shares` says of the labels; the first problem may leave the item out."""
    if shares[0] == 0.0:
        return [Problem(item.id, "no speech is heard before its end of turn: not speech, or silent")]
    problems = [
        Problem(
            item.id,
            f"silence_spans[{i}] ({span.start:.2f} to {span.end:.2f} s) sounds like speech: mislabelled?",
            left_out=False,
        )
        for i, (span, share) in enumerate(zip(item.spans, shares[1:-1], strict=True))
        if share > 0.5
    ]
    if shares[-1] > GOES_ON:
        end = item.spans[-1].end
        problems.append(
            Problem(
                item.id,
                f"somebody speaks on after its last silence, which ends at {end:.2f} s: mislabelled, or one of several "
                "turns of a recording (then give turn_start)",
                left_out=False,
            )
        )
    return problems


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
