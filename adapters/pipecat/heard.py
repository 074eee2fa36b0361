"""How much of a pause has been heard. Pure: times are arguments, in seconds of the caller's clock."""

from __future__ import annotations

from collections import deque

_KEPT = 3.0
"""Seconds of arrivals that are remembered; no VAD waits for longer before it reports a pause."""
_STALLED = 0.5
"""Seconds without audio, or that are missing from a pause, which no jitter explains: there was none. A transport may
send nothing while the microphone is muted, and Pipecat's VADs report the end of speech a second later."""
_LONGEST_MADE_UP = 1.0
"""Seconds of a pause that was not heard which are made up at most; no model needs more."""


class HeardAudio:
    """When audio came in, and how much of it."""

    def __init__(self) -> None:
        self._frames: deque[tuple[float, float]] = deque()
        self.rate = 16_000
        """Of the newest audio, in Hz."""
        self.total = 0.0
        """Seconds that came in so far."""

    @property
    def last_at(self) -> float | None:
        """When the newest audio came in; None: there has been none."""
        return self._frames[-1][0] if self._frames else None

    def came(self, at: float, samples: int, rate: int) -> None:
        """``samples`` came in ``at`` that moment."""
        self.rate = max(1, rate)
        self._frames.append((at, samples / self.rate))
        self.total += samples / self.rate
        while self._frames[0][0] < at - _KEPT:
            self._frames.popleft()

    def since(self, at: float) -> float:
        """Seconds of audio that came in after ``at``, in the last few seconds."""
        return sum(seconds for arrived, seconds in self._frames if arrived > at)

    def made_up(self, now: float, ended_at: float, silence: float) -> tuple[float, float]:
        """What a VAD reports of a pause, and what of it was never heard.

        Args:
            now: this moment.
            ended_at: true end of speech.
            silence: seconds that the VAD says there have been.

        Returns:
            Seconds of silence that are to be made up, and those that there are thereafter at the end of all audio.
        """
        if self.last_at is None:
            return 0.0, silence
        heard = self.since(ended_at)
        missing = silence - heard
        if missing <= 0.0 or (missing <= _STALLED and now - self.last_at < _STALLED):
            return 0.0, silence
        missing = min(missing, _LONGEST_MADE_UP)
        return missing, heard + missing
