"""A broker for LiveKit's TCP console: drives any LiveKit agent from a recording, without a LiveKit server or keys.

Needs nothing of LiveKit but ``livekit-protocol``; the agent runs in a process of its own.
"""

from .broker import BrokerError, ConsoleBroker, ConsoleResult, console_command
from .conversation import StopReason
from .events import (
    AgentError,
    AgentStateChanged,
    AudioReceived,
    ConsoleEvent,
    EotPredicted,
    Event,
    MessageAdded,
    ModelUsage,
    OtherEvent,
    PlaybackEnded,
    UsageUpdated,
    UserInputTranscribed,
    UserStateChanged,
)
from .protocol import ProtocolError

__all__ = [
    "AgentError",
    "AgentStateChanged",
    "AudioReceived",
    "BrokerError",
    "ConsoleBroker",
    "ConsoleEvent",
    "ConsoleResult",
    "EotPredicted",
    "Event",
    "MessageAdded",
    "ModelUsage",
    "OtherEvent",
    "PlaybackEnded",
    "ProtocolError",
    "StopReason",
    "UsageUpdated",
    "UserInputTranscribed",
    "UserStateChanged",
    "console_command",
]
