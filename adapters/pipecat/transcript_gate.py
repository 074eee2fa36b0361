"""Whether what the user said in a turn has been written down. Pure: times are arguments."""

from __future__ import annotations

import math

_REPORTED_AFTER = 0.2
"""Seconds of silence after which the VAD reported the pause that an STT's latency was measured with; pipecat's
VAD_STOP_SECS, which the figures of its services assume."""


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

    def speech_ended(self, at: float, *, reported_after: float = 0.0) -> None:
        """The last words are due now.

        Args:
            at: true end of speech.
            reported_after: seconds after it in which it was reported. An STT is often told then to write down the
                rest: one whose words would be there by that time writes them after it.
        """
        wait = self.latency
        if 0.0 < wait <= reported_after:
            wait = reported_after + max(0.0, wait - _REPORTED_AFTER)
        self._due = at + wait

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
