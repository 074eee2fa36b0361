"""When the audio of a request was captured, by the client's clock."""

from __future__ import annotations

from collections import deque

from ..models.base import SAMPLE_RATE

_STEP = SAMPLE_RATE // 50
"""Chunks shorter than 20 ms share an entry, so that one sample per message costs no memory."""


class Timeline:
    """Capture times of the newest audio, for :class:`eot_core.protocol.InferenceStats`."""

    def __init__(self, seconds: float) -> None:
        """
        Args:
            seconds: how far back it must reach.
        """
        self._reach = round(seconds * SAMPLE_RATE)
        self._entries: deque[tuple[int, float]] = deque()
        self._written = 0
        self._latest: float | None = None

    def add(self, samples: int, captured_at: float) -> None:
        """A chunk came in, of so many samples at 16 kHz."""
        self._latest = captured_at
        if not self._entries or self._written - self._entries[-1][0] >= _STEP:
            self._entries.append((self._written, captured_at))
        self._written += samples
        # Keep one entry at or before the reach: it holds the oldest sample.
        while len(self._entries) > 1 and self._entries[1][0] <= self._written - self._reach:
            self._entries.popleft()

    def span(self, samples: int) -> tuple[float | None, float | None]:
        """Capture times of the chunks with the oldest and the newest of the last ``samples`` samples.

        None where there was no audio, or for an oldest beyond the reach.
        """
        first = self._written - samples
        earliest = next((time for position, time in reversed(self._entries) if position <= first), None)
        return earliest, self._latest
