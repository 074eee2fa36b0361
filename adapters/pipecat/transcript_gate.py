"""Whether what the user said in a turn has been written down. Pure: times are arguments."""

from __future__ import annotations

import math


class TranscriptGate:
    """Follows the transcripts of one turn, as Pipecat's own stop strategies do.

    A transcript is there when one that the STT marked as final has come since the user last began to speak, or when
    something has been written and the STT's own latency has passed since the end of speech.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        self._has_text = False
        self._finalized = False
        self._due: float | None = None

    def set_latency(self, seconds: float) -> None:
        """From the end of speech to the STT's last words, 99th percentile; what is no such number is taken as 0."""
        self.latency = seconds if math.isfinite(seconds) and seconds > 0 else 0.0

    def turn_started(self) -> None:
        """Nothing is written of a new turn."""
        self._has_text = self._finalized = False

    def speech_started(self) -> None:
        """More is being said: what was final does not cover it."""
        self._finalized = False
        self._due = None

    def speech_ended(self, at: float) -> None:
        """The last words are due now; ``at`` is the true end of speech."""
        self._due = at + self.latency

    def interim(self) -> None:
        """More is on the way: what was final does not cover it."""
        self._finalized = False

    def written(self, text: str, *, finalized: bool) -> bool:
        """A transcript came. Returns False where it holds no words."""
        if not text.strip():
            return False
        self._has_text = True
        self._finalized = self._finalized or finalized
        return True

    def expect_more(self, until: float) -> None:
        """Take what is written as complete when nothing more comes ``until`` then."""
        self._due = until

    @property
    def has_text(self) -> bool:
        """Whether anything has been written in this turn."""
        return self._has_text

    @property
    def due(self) -> float | None:
        """When what is written counts as complete; None while the user speaks."""
        return self._due

    def is_open(self, now: float) -> bool:
        """Whether the transcript is there."""
        return self._has_text and (self._finalized or (self._due is not None and now >= self._due))
