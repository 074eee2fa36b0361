"""The audio of the traces, and where its pauses truly are."""

from __future__ import annotations

import bisect
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eot_core.cli.audio_file import read_audio
from eot_core.data import demo_recording
from eot_core.models.base import PcmArray
from eot_core.vad import SileroVAD, SpeechEnded, SpeechStarted

RATE = 16_000
ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT.parent / "shared/audio"

_BURSTS = {"short": (0.55, 2.15), "middle": (2.95, 5.12), "long": (5.9, 8.82), "word": (0.55, 0.95)}
"""Seconds within the bundled recording: three stretches of speech, and the first syllables of it."""


@dataclass(frozen=True)
class Pause:
    """A silence that the VAD reports. Seconds since the first sample."""

    ended_at: float
    """True end of speech: the end of the last window of speech."""
    noticed_at: float
    """End of the window with which it was certain."""
    resumed_at: float | None
    """When it was certain that the user speaks on; None: never."""


@functools.cache
def _demo() -> PcmArray:
    pcm, rate = read_audio(str(demo_recording()))
    assert rate == RATE
    return np.asarray(pcm, dtype=np.int16)


def burst(name: str) -> PcmArray:
    """Speech: "short" (1.6 s), "middle" (2.2 s), "long" (2.9 s) or "word" (0.4 s). int16 mono at 16 kHz."""
    start, end = _BURSTS[name]
    return _demo()[round(start * RATE) : round(end * RATE)]


def silence(seconds: float) -> PcmArray:
    """Noise at -70 dB: digital silence is nothing that a microphone gives."""
    return np.random.default_rng(3).normal(0, 10, round(seconds * RATE)).astype(np.int16)


def spoken(*parts: str | float) -> PcmArray:
    """Bursts by name, and silences by their length in seconds."""
    return np.concatenate([burst(part) if isinstance(part, str) else silence(part) for part in parts])


def recording(name: str | None) -> PcmArray:
    """A recording: None is the bundled one, else a path within the recorded speech beside the repository."""
    if name is None:
        return _demo()
    pcm, rate = read_audio(str(RECORDINGS / name))
    return resampled(np.asarray(pcm, dtype=np.int16), rate, RATE)


def resampled(pcm: PcmArray, rate: int, to: int) -> PcmArray:
    """At another sample rate."""
    if rate == to:
        return pcm
    import soxr

    return np.asarray(soxr.resample(pcm, rate, to, quality="HQ"), dtype=np.int16)


def pauses(frames: list[tuple[float, PcmArray]], rate: int) -> tuple[Pause, ...]:
    """The pauses in what is heard of a call: (when the frame has been spoken, int16 mono) for each frame."""
    stream = SileroVAD().stream()
    found: list[Pause] = []
    heard, ends = 0, []
    for _, pcm in frames:
        heard += len(pcm)
        ends.append(heard / rate)

    def when(position: float) -> float:
        """The moment in the call of a position in what was heard: where frames are missing, the two differ."""
        number = min(bisect.bisect_left(ends, position - 1e-9), len(ends) - 1)
        return frames[number][0] - (ends[number] - position)

    for _, pcm in frames:
        for event in stream.push(pcm, rate):
            if isinstance(event, SpeechEnded):
                found.append(Pause(when(event.speech_ended_at), when(event.at), None))
            elif isinstance(event, SpeechStarted) and found and found[-1].resumed_at is None:
                found[-1] = Pause(found[-1].ended_at, found[-1].noticed_at, when(event.at))
    return tuple(found)
