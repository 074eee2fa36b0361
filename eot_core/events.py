"""The vocabulary of the core: what a detector says, in framework-free terms.

Times are in seconds. Probabilities are finite and between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, SupportsFloat

Source = Literal["cloud", "local", "default"]
"""Who produced a probability: a model behind a WebSocket, a model in this host, or nobody (a default)."""


class Outcome(StrEnum):
    """How a prediction request ended. Every request ends in exactly one of these."""

    ANSWERED = "answered"
    """A model gave the probability."""
    DEFAULT = "default"
    """No model could answer in time; the default (1.0: end the turn after the minimum delay) went out."""
    SUPERSEDED = "superseded"
    """A later request took this one's place."""
    CANCELLED = "cancelled"
    """The user spoke on, the turn ended elsewhere, or the stream closed."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one :meth:`DetectorStream.predict`.

    A superseded or cancelled request has probability 0.0, so that a caller who overlooks ``outcome`` does not end a
    turn in which the user is speaking again.
    """

    probability: float
    """Probability that the user has finished the turn, 0..1, always finite."""
    outcome: Outcome
    """How the request ended."""
    reason: str | None
    """Why, for every outcome but ANSWERED: for example "timeout", "no_audio", "model_error", "speech_resumed"."""
    model: str
    """Full name of the model that was asked, for example "smart-turn-v3.2"."""
    source: Source
    """Where the probability came from; "default" for every outcome but ANSWERED."""
    request_id: str
    """Identifies the request in logs and on the wire."""
    backchannel_probability: float | None = None
    """How fitting a short acknowledgement ("mhm") would be now, 0..1; None when the model does not tell."""
    queue_time: float = 0.0
    """Seconds the request waited for the scheduler (local) or for the connection (cloud)."""
    network_time: float = 0.0
    """Seconds on the way to a remote model and back, its own work excluded; 0.0 for a local model."""
    inference_time: float = 0.0
    """Seconds of the model's own work, features included."""
    detection_delay: float = 0.0
    """Seconds from the newest audio in the request to the answer."""

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a probability is not a finite number between 0 and 1.
        """
        for name in ("probability", "backchannel_probability"):
            value = getattr(self, name)
            if value is None and name == "backchannel_probability":
                continue
            if not isinstance(value, SupportsFloat) or not 0.0 <= float(value) <= 1.0:
                raise ValueError(f"{name} must be a finite number between 0 and 1, got {value!r}")

    @property
    def total_time(self) -> float:
        """Seconds from request to answer: queue, network and inference."""
        return self.queue_time + self.network_time + self.inference_time


@dataclass(frozen=True, slots=True)
class FallbackOccurred:
    """A stream left one model for another, in the middle of a call."""

    from_model: str
    to_model: str | None
    """The model that took over, or None when there is none to be had (turns then end on the delays)."""
    reason: str
    """A short cause without secrets, for example "http_503", "timeout", "connection_closed_1011"."""
    recovered: bool = False
    """True for the way back to the cloud."""


@dataclass(frozen=True, slots=True)
class BackchannelOpportunity:
    """A pause in which a short acknowledgement would be welcome. Cloud models only."""

    probability: float
    threshold: float
    end_of_turn_probability: float
    end_of_turn_threshold: float
    language: str | None


class DecisionReason(StrEnum):
    """Why a pause ended, or did not end, a turn."""

    LIKELY = "likely"
    """The probability reached the threshold: the turn ends after the minimum delay."""
    UNLIKELY = "unlikely"
    """The probability stayed below the threshold: the turn ends after the maximum delay, if the silence lasts."""
    DEFAULT = "default"
    """No model answered: the turn ends after the minimum delay."""
    RESUMED = "resumed"
    """The user spoke on before the delay was over: the pause did not end the turn."""
    EXTERNAL = "external"
    """The turn was ended elsewhere (the application, the framework, a commit by hand)."""


@dataclass(frozen=True, slots=True)
class TurnDecision:
    """The record of one pause: what was known, what was decided, and when it takes effect."""

    ends_turn: bool
    """True when the turn ends at ``commit_at`` unless the user speaks before then."""
    reason: DecisionReason
    speech_ended_at: float
    """True end of speech, in seconds of the caller's clock. Every delay counts from here."""
    commit_at: float
    """When the turn ends, in seconds of the caller's clock."""
    probability: float
    threshold: float
    model: str
    source: Source
    language: str | None = None

    @property
    def delay(self) -> float:
        """Seconds from the true end of speech to the end of the turn."""
        return self.commit_at - self.speech_ended_at
