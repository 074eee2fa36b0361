"""The way from a stream to a model: a transport takes audio and requests, and reports to a sink.

Every method is synchronous, returns at once and does not raise; results come back through :class:`TransportSink`, on
the event loop's thread. A transport is used by one stream, on one loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..models.base import PcmArray


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibrated thresholds of a model, as shipped (local) or as sent by the server (``session_created``)."""

    thresholds: Mapping[str, float] = field(default_factory=dict)
    """ISO 639-1 key -> threshold, 0..1. Empty means that no language is singled out."""
    default_threshold: float = 0.5
    """For a language that is not listed."""
    backchannel_thresholds: Mapping[str, float] = field(default_factory=dict)
    """ISO 639-1 key -> threshold; a value that is not positive switches backchannels off for that language."""
    default_backchannel_threshold: float | None = None
    """For a language that is not listed; None or not positive: off."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, before the session has looked at it: the numbers may still be nonsense."""

    probability: float
    backchannel_probability: float | None = None
    queue_time: float = 0.0
    """Seconds before the work began (scheduler, or connection)."""
    network_time: float = 0.0
    """Seconds to the remote model and back, without its work."""
    inference_time: float = 0.0
    """Seconds of the model's work."""
    by_head: Mapping[str, float] = field(default_factory=dict)
    """What heads of one's own said of the same pause, by language key; empty where the model has none."""


@dataclass(frozen=True, slots=True, eq=False)
class InferenceRequest:
    """One pause to be scored."""

    request_id: str
    pcm: PcmArray
    """Snapshot taken at the request: int16 mono at 16 kHz, shape (n,), n > 0, cut to the model's window. Read-only."""
    created_at: float
    """Seconds of the session's clock."""
    deadline: float
    """Seconds of the session's clock after which the answer is of no use."""


class TransportSink(Protocol):
    """Where a transport reports. Reports after ``close`` are ignored."""

    def on_ready(self, calibration: Calibration | None) -> None:
        """The model can answer; ``calibration`` where the far end sent its own thresholds."""
        ...

    def on_answer(self, request_id: str, answer: Answer) -> None:
        """A request was answered. Unknown and duplicate ids are allowed; the session ignores them."""
        ...

    def on_request_failed(self, request_id: str, reason: str) -> None:
        """This request will not be answered; the transport itself still works. ``reason`` holds no secrets."""
        ...

    def on_failed(self, reason: str, *, retryable: bool) -> None:
        """The transport is dead; nothing more will come from it. ``reason`` holds no secrets."""
        ...


class Transport(Protocol):
    """One stream's way to one model."""

    def open(self, sink: TransportSink) -> None:
        """Start connecting or warming up, in the background."""
        ...

    def push_audio(self, pcm: PcmArray, captured_at: float) -> None:
        """Continuous audio, int16 mono 16 kHz; ``captured_at`` is wall-clock time in seconds (``time.time()``)."""
        ...

    def start(self, request: InferenceRequest) -> None:
        """Ask for a prediction over all audio pushed so far (remote) or over the request's snapshot (local)."""
        ...

    def stop(self, request_id: str) -> None:
        """The answer is no longer wanted; a request that has not started never runs."""
        ...

    def flush(self) -> None:
        """The turn has ended."""
        ...

    def close(self) -> None:
        """Stop reporting and begin to shut down, in the background. Idempotent."""
        ...

    async def aclose(self) -> None:
        """Close, and wait until nothing is left: no task, thread of its own, socket or descriptor. Idempotent."""
        ...
