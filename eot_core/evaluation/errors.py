"""What a model got wrong at one policy, to be listened to."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..cli.audio_file import AudioFileError
from ..models.base import PcmArray
from .policies import EPSILON
from .recording import Recording
from .scoring import ScoredPause, ScoredSet
from .simulation import Policy, simulate

BEFORE = 8.0
"""Seconds before a pause that are kept, as far as the turn reaches back: what most models hear."""
AFTER = 1.5
"""Seconds after a pause that are kept."""
_CLIP_RATE = 16_000


@dataclass(frozen=True, slots=True)
class Mistake:
    """A hold that was cut off, or an end that had to wait for the maximum delay."""

    kind: Literal["cutoff", "late"]
    number: int
    """Of the pause in the scored set."""
    pause: ScoredPause
    score: float
    delay: float
    """Seconds from the end of speech to the end of the turn."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of a recording around a pause. Times are in seconds of the recording."""

    begin: float
    end: float
    encoded: bytes
    mime: str
    envelope: tuple[float, ...]
    """Loudness, 0..1, of equal parts of the clip."""


def mistakes(scored: ScoredSet, model: str, policy: Policy) -> list[Mistake]:
    """Cutoffs, the surest of them first, then late ends, the least sure of them first.

    The Endpointer itself decides.
    """
    pauses = scored.for_model(model)
    found: list[Mistake] = []
    heard = np.flatnonzero(pauses.asked).tolist()  # what was over before a model was asked was listened through
    for number, decision in zip(heard, simulate(policy, pauses.where(pauses.asked)), strict=True):
        pause, score = scored.pauses[number], float(pauses.score[number])
        if not pause.is_end and decision.delay < pause.span.duration - EPSILON:
            found.append(Mistake("cutoff", number, pause, score, decision.delay))
        elif pause.is_end and decision.delay >= policy.options.max_delay - EPSILON:
            found.append(Mistake("late", number, pause, score, decision.delay))
    cut = sorted((m for m in found if m.kind == "cutoff"), key=lambda m: (-m.score, m.number))
    late = sorted((m for m in found if m.kind == "late"), key=lambda m: (m.score, m.number))
    return cut + late


def clips(wanted: list[ScoredPause], channel: int | None = None) -> Iterator[Clip | str]:
    """The audio around each pause, or why there is none."""
    for pause in wanted:
        try:
            recording = pause.item.audio.open(channel if pause.item.channel is None else pause.item.channel)
        except AudioFileError as error:
            yield str(error)
            continue
        try:
            yield _clip(pause, recording)
        except AudioFileError as error:
            yield str(error)
        finally:
            recording.close()


def _clip(pause: ScoredPause, recording: Recording) -> Clip:
    begin = max(pause.item.turn_start, pause.span.start - BEFORE)
    end = min(recording.duration, pause.span.end + (0.0 if pause.is_end else AFTER), pause.span.start + 8.0)
    pcm = recording.read_16k(begin, end)
    encoded, mime = encode(pcm)
    return Clip(begin, end, encoded, mime, _envelope(pcm))


def encode(pcm: PcmArray) -> tuple[bytes, str]:
    """16 kHz mono as MP3 where soundfile can write it (10 kB for 6 s), else as WAV; and the MIME type."""
    buffer = io.BytesIO()
    try:
        import soundfile

        if "MP3" in soundfile.available_formats():
            soundfile.write(buffer, pcm, _CLIP_RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=0.9)
            return buffer.getvalue(), "audio/mpeg"
    except (ImportError, OSError):  # OSError: the package is there, its libsndfile is not
        pass
    import wave

    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, _CLIP_RATE, 0, "NONE", ""))
        file.writeframes(pcm.astype("<i2").tobytes())
    return buffer.getvalue(), "audio/wav"


def _envelope(pcm: PcmArray, parts: int = 240) -> tuple[float, ...]:
    if len(pcm) == 0:
        return ()
    peaks = [float(np.abs(part.astype(np.float64)).max()) for part in np.array_split(pcm, parts) if len(part)]
    loudest = max(peaks) or 1.0
    return tuple(round((p / loudest) ** 0.6, 2) for p in peaks)  # quiet parts stay visible
