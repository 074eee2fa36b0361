"""What a console session tells: typed events, each stamped with the position in the recording.

Positions are in seconds of audio since the first sample of the recording was played; they are the clock on which a
delay from the true end of speech is measured. An event before the recording began has a negative position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

UserState = Literal["speaking", "listening", "away", "unknown"]
AgentState = Literal["initializing", "idle", "listening", "thinking", "speaking", "unknown"]
Role = Literal["user", "assistant", "system", "developer", "unknown"]


@dataclass(frozen=True, slots=True)
class ConsoleEvent:
    """What every event has."""

    position: float
    """When the event arrived here, in seconds of the recording."""
    occurred_at: float | None
    """When the agent says that it happened, in seconds of the recording; None where the agent does not say."""


@dataclass(frozen=True, slots=True)
class UserStateChanged(ConsoleEvent):
    """The agent's VAD heard the user start or stop; ``occurred_at`` has the VAD's latency taken off."""

    old: UserState
    new: UserState


@dataclass(frozen=True, slots=True)
class AgentStateChanged(ConsoleEvent):
    """The agent went from one state to another."""

    old: AgentState
    new: AgentState


@dataclass(frozen=True, slots=True)
class UserInputTranscribed(ConsoleEvent):
    """The agent's STT wrote something down."""

    transcript: str
    final: bool


@dataclass(frozen=True, slots=True)
class EotPredicted(ConsoleEvent):
    """The agent's turn detector scored a pause."""

    probability: float
    """Probability that the user has finished, 0..1."""
    threshold: float
    """The turn ends after the minimum delay when ``probability`` reaches this."""
    inference_duration: float
    """Seconds of the model's work."""
    delay: float
    """Seconds from the newest audio to the answer, as the agent tells it."""


@dataclass(frozen=True, slots=True)
class MessageAdded(ConsoleEvent):
    """A message entered the conversation: a user's turn that was committed, or a reply of the agent."""

    role: Role
    text: str
    interrupted: bool
    """The user spoke over the reply."""
    committed_at: float | None = None
    """For a turn of the user: when it was ended, in seconds of the recording, as the agent measured it. The message
    itself may come later, for example behind a reply that is being spoken. None where the agent does not tell."""


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What one model was used for, so far in the session."""

    kind: str
    """"llm", "tts", "stt", "eot" or "interruption"."""
    provider: str
    model: str
    requests: int
    """Requests so far, where the kind counts them ("eot", "interruption"); else 0."""


@dataclass(frozen=True, slots=True)
class UsageUpdated(ConsoleEvent):
    """The session's usage, in full."""

    models: tuple[ModelUsage, ...]


@dataclass(frozen=True, slots=True)
class AudioReceived(ConsoleEvent):
    """The agent sent sound to be played."""

    pcm: bytes
    """int16 little-endian, interleaved."""
    sample_rate: int
    """Hz."""
    channels: int
    duration: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class PlaybackEnded(ConsoleEvent):
    """What the agent sent has been played, or was cut off by the user."""

    duration: float
    """Seconds that were played."""
    interrupted: bool


@dataclass(frozen=True, slots=True)
class AgentError(ConsoleEvent):
    """The agent reported an error of its own."""

    message: str


@dataclass(frozen=True, slots=True)
class OtherEvent(ConsoleEvent):
    """An event that this version has no class for."""

    name: str


Event = (
    UserStateChanged
    | AgentStateChanged
    | UserInputTranscribed
    | EotPredicted
    | MessageAdded
    | UsageUpdated
    | AudioReceived
    | PlaybackEnded
    | AgentError
    | OtherEvent
)
