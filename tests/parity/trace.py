"""What a trace is, and what is written down when a framework plays it. Seconds count from the first sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from eot_core.models.base import ModelSpec, PcmArray

from . import speech
from .speech import Pause

HANG = float("inf")
"""As a model's latency: it never answers."""


@dataclass(frozen=True)
class Said:
    """Something that the STT writes."""

    text: str
    pause: int = 0
    """Counted from the end of speech of this pause (from 0)..."""
    after: float = 0.15
    """...so many seconds."""
    final: bool = True
    language: str | None = "en"


@dataclass(frozen=True)
class Cloud:
    """A model behind a connection, of which the local one is the fallback. It answers as many pauses as it is told."""

    probabilities: tuple[float, ...] = (0.9,)
    latency: float = 0.08
    """Seconds to an answer; HANG for none."""
    refuses: str | None = None
    """Why no connection comes about, or None."""
    fails_at: float | None = None
    """When the connection breaks."""
    fails_in_request: int | None = None
    """The connection breaks instead of an answer to this request (from 0)."""
    thresholds: Mapping[str, float] = field(default_factory=lambda: {"en": 0.6, "de": 0.5})
    local_fallback: bool = True
    recover_after: float | None = None


@dataclass(frozen=True)
class Trace:
    """One call."""

    name: str
    kind: str
    """For the table."""
    audio: Callable[[], PcmArray]
    """int16 mono at 16 kHz; silence is added behind it."""
    probabilities: tuple[float, ...] | None = (0.9,)
    """What the local model says after each end of speech; the last one stays. None: smart-turn v3.2 itself."""
    latencies: tuple[float, ...] = (0.03,)
    """Seconds that the local model takes, likewise."""
    raises: tuple[int, ...] = ()
    """Pauses after which the local model raises."""
    said: tuple[Said, ...] | None = None
    """None: the first words 0.15 s after each end of speech, final, in English."""
    stt: bool = True
    """False: a realtime model without an STT."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Calibrated ones of the local model, by language; others have 0.5. Empty: any language."""
    override: float | Mapping[str, float] | None = None
    """``unlikely_threshold``."""
    delays: tuple[float, float] | None = None
    """min_delay and max_delay where they are not the defaults."""
    decides: Mapping[str, object] = field(default_factory=dict)
    """Options by which the detector decides the moment itself: ``endpointing``, ``operating_point``."""
    local: str = "local-model"
    """What the local model is called; operating points know models by their names."""
    spec: ModelSpec | None = None
    """The local model, where it is a real one; what it says is ``probabilities``, if there are any."""
    cloud: Cloud | None = None
    rate: int = 16_000
    frame: float = 0.02
    """Seconds of audio in a frame."""
    tail: float = 4.0
    """Seconds of silence behind the audio."""
    muted: tuple[tuple[float, float], ...] = ()
    """From when until when no frames come. (Zeros instead of frames are audio.)"""
    agent_speaks: tuple[float, float] | None = None
    """When the agent begins to speak, and for how long it would."""
    real_time: bool = False
    turns: int | None = None
    """How many turns there must be, where the trace is about that."""
    needs: str | None = None
    """A recording that is not part of this repository; without it the trace is skipped."""

    @property
    def id(self) -> str:
        """Names the trace."""
        return f"{self.kind}: {self.name}"

    @property
    def skipped_because(self) -> str | None:
        """Why it cannot be played here, or None."""
        if self.needs is not None and not (speech.RECORDINGS / self.needs).is_file():
            return f"the recording {self.needs} is not here"
        return None

    def pcm(self) -> PcmArray:
        """The whole audio, at :attr:`rate`."""
        whole = np.concatenate((self.audio(), speech.silence(self.tail)))
        return speech.resampled(whole, speech.RATE, self.rate)

    @property
    def step(self) -> int:
        """Samples in a frame."""
        return round(self.rate * self.frame)

    @cached_property
    def pauses(self) -> tuple[Pause, ...]:
        """Where speech truly ends."""
        return speech.pauses(self.frames, self.rate)

    @cached_property
    def frames(self) -> list[tuple[float, PcmArray]]:
        """(when it has been spoken, int16 mono) for each frame."""
        pcm, step = self.pcm(), self.step
        frames = []
        for number, start in enumerate(range(0, len(pcm) - step + 1, step), start=1):
            at = number * step / self.rate
            if not any(begin < at <= end for begin, end in self.muted):
                frames.append((at, pcm[start : start + step]))
        return frames

    def words(self) -> list[tuple[float, Said]]:
        """(when, what) for each thing that the STT writes."""
        if not self.stt:
            return []
        said = self.said
        if said is None:
            said = tuple(Said(f"these are the words number {i}", pause=i) for i in range(len(self.pauses)))
        return sorted(((self.pauses[s.pause].ended_at + s.after, s) for s in said), key=lambda item: item[0])


@dataclass(frozen=True)
class Predicted:
    """What the detector said."""

    at: float
    probability: float
    model: str
    source: str
    outcome: str
    reason: str | None


@dataclass(frozen=True)
class Judged:
    """What the framework (LiveKit) or the strategy (Pipecat) made of it."""

    at: float
    probability: float
    threshold: float | None
    delay: float


@dataclass(frozen=True)
class Turn:
    """A turn that was committed."""

    at: float
    text: str | None


@dataclass
class Played:
    """A trace, as one framework took it."""

    framework: str
    predictions: list[Predicted] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    fallbacks: list[tuple[str, str | None, str]] = field(default_factory=list)
    interrupted_at: float | None = None
    """When the agent fell silent."""
