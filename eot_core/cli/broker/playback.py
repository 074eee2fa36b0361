"""A loudspeaker without sound: when would what the agent sent have been played to the end? No I/O, time is given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finished:
    """One utterance of the agent is over."""

    duration: float
    """Seconds that were played."""
    interrupted: bool
    """Cut off by a clear before its end."""


class Playback:
    """Audio arrives faster than it can be heard; this says when the loudspeaker would fall silent.

    An utterance starts with its first sound, and ends after a flush, when all of it has been played, or with a clear.
    """

    def __init__(self) -> None:
        self._started_at: float | None = None
        self._buffered = 0.0
        self._flushed = False

    @property
    def active(self) -> bool:
        """Something is being played, or waits for its flush to be answered."""
        return self._started_at is not None or self._flushed

    @property
    def ends_at(self) -> float | None:
        """When the utterance will have been played, in seconds of the caller's clock; None until it was flushed."""
        if not self._flushed:
            return None
        return (self._started_at or 0.0) + self._buffered

    def push(self, duration: float, now: float) -> None:
        """``duration`` seconds of sound arrived at ``now``."""
        if self._started_at is None:
            self._started_at = now
        elif now > self._started_at + self._buffered:
            # The loudspeaker ran dry: what comes now is heard from now on.
            self._buffered = now - self._started_at
        self._buffered += duration

    def flush(self, now: float) -> None:
        """The utterance is complete. An agent that was cut off also flushes, with nothing to play: it ends at once."""
        if self._started_at is None:
            self._started_at = now
        self._flushed = True

    def clear(self, now: float) -> Finished | None:
        """The user spoke over it: silence. None when nothing was being played."""
        if not self.active:
            return None
        played = min(max(0.0, now - (self._started_at or 0.0)), self._buffered)
        self._reset()
        return Finished(played, interrupted=True)

    def poll(self, now: float) -> Finished | None:
        """The utterance that has been played to its end by ``now``, once."""
        ends_at = self.ends_at
        if ends_at is None or now < ends_at:
            return None
        finished = Finished(self._buffered, interrupted=False)
        self._reset()
        return finished

    def _reset(self) -> None:
        self._started_at = None
        self._buffered = 0.0
        self._flushed = False
