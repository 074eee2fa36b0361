"""When the audio of a session was captured, by the client's clock."""

from __future__ import annotations

from array import array
from bisect import bisect_right

from ..models.base import SAMPLE_RATE

_STEP = SAMPLE_RATE // 200
"""Chunks shorter than 5 ms share an entry, so that one sample per message costs no memory."""


class Timeline:
    """Capture times of the newest audio. Positions are samples at 16 kHz since the session began."""

    def __init__(self, seconds: float) -> None:
        """
        Args:
            seconds: how far back it must reach.
        """
        self._reach = round(seconds * SAMPLE_RATE)
        self._most = 2 * (self._reach // _STEP + 2)
        self._starts = array("q")
        self._times = array("d")
        self._written = 0
        self._latest: float | None = None

    @property
    def written(self) -> int:
        """Position after the newest sample."""
        return self._written

    @property
    def latest(self) -> float | None:
        """Capture time of the newest chunk; None before the first."""
        return self._latest

    def add(self, samples: int, captured_at: float) -> None:
        """A chunk came in, of so many samples at 16 kHz."""
        self._latest = captured_at
        if not self._starts or self._written - self._starts[-1] >= _STEP:
            self._starts.append(self._written)
            self._times.append(captured_at)
        self._written += samples
        if len(self._starts) > self._most:
            # The entry at or before the reach stays: it holds the oldest sample. Rarely, as it moves the others.
            stale = bisect_right(self._starts, self._written - self._reach) - 1
            del self._starts[:stale], self._times[:stale]

    def captured_at(self, position: int) -> float | None:
        """Capture time of the chunk that holds this sample; None beyond the reach, and where there is no audio."""
        entry = bisect_right(self._starts, position) - 1
        return self._times[entry] if entry >= 0 else None
