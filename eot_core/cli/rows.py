"""What a replay tells: one row for each pause and one for each turn. Times are in seconds of the recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PauseDecision = Literal["listened_through", "turn_ended"]
"""The user spoke on before the turn was ended, or the turn was ended in this pause."""


@dataclass(frozen=True, slots=True)
class PauseRow:
    """One pause of the speaker."""

    time: float
    """True end of the speech before the pause."""
    duration: float | None
    """Seconds until the speaker went on; None when they did not, or not before the turn was ended."""
    probability: float | None
    """Probability that the turn was over, 0..1; None when nothing was predicted."""
    threshold: float | None
    """The turn ends after the minimum delay when ``probability`` reaches this; None when nothing was predicted."""
    decision: PauseDecision
    delay: float | None
    """Seconds from the true end of speech to the end of the turn; None when the turn was not ended."""
    model: str
    """Full name of the model that was asked."""
    source: str
    """"cloud", "local" or "default"."""


@dataclass(frozen=True, slots=True)
class TurnRow:
    """One turn of the speaker, and what came back."""

    time: float
    """When the turn was ended."""
    delay: float
    """Seconds from the true end of speech to the end of the turn."""
    transcript: str | None
    """What the speech recogniser wrote; None where there is none."""
    reply: str | None
    """What the agent answered; None where it did not."""


Row = PauseRow | TurnRow
