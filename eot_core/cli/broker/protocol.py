"""The wire of LiveKit's TCP console: length-prefixed protobuf, and its translation into events. No I/O.

Framing: 4 bytes of length, big-endian, then an ``AgentSessionMessage`` of at most 1 MiB. Audio is int16 mono at 48 kHz
in both directions. (livekit-agents, ``voice/remote_session.py`` and ``cli/tcp_console.py``; the same in 1.7 and 1.8.)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, Protocol

from google.protobuf.message import DecodeError
from livekit.protocol.agent_pb import agent_session as pb

from . import events as ev

WIRE_SAMPLE_RATE: Final = 48_000
"""Hz, int16 mono, in both directions."""
MAX_MESSAGE_SIZE: Final = 1 << 20
"""Bytes; the agent drops the connection over anything longer, and so does this end."""

Message = pb.AgentSessionMessage
_Console = pb.AgentSessionMessage.ConsoleIO
_HEADER = struct.Struct(">I")


class ProtocolError(Exception):
    """The other end sent something that is not the console protocol. The connection cannot be used any more."""


def encode(message: Message) -> bytes:
    """A message with its length in front, ready to be written."""
    data: bytes = message.SerializeToString()
    if len(data) > MAX_MESSAGE_SIZE:
        raise ProtocolError(
            f"message of {len(data)} bytes is over the limit of {MAX_MESSAGE_SIZE}: send shorter frames"
        )
    return _HEADER.pack(len(data)) + data


class MessageDecoder:
    """Bytes in, whole messages out, however the bytes were cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes as they came; return the messages that are now complete. Raises :class:`ProtocolError`."""
        self._buffer += data
        messages: list[Message] = []
        while len(self._buffer) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer)
            if length > MAX_MESSAGE_SIZE:
                raise ProtocolError(f"a message of {length} bytes was announced, the limit is {MAX_MESSAGE_SIZE}")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            message = Message()
            try:
                message.ParseFromString(body)
            except DecodeError as e:
                raise ProtocolError(f"a message of {length} bytes is not an AgentSessionMessage") from e
            messages.append(message)
        return messages


def audio_input(pcm: bytes) -> Message:
    """A frame of the user's voice: int16 little-endian mono at 48 kHz."""
    return Message(
        audio_input=_Console.AudioFrame(
            data=pcm, sample_rate=WIRE_SAMPLE_RATE, num_channels=1, samples_per_channel=len(pcm) // 2
        )
    )


def playback_finished() -> Message:
    """The answer to a flush, once everything before it has been played."""
    return Message(audio_playback_finished=_Console.AudioPlaybackFinished())


def ping(request_id: str) -> Message:
    """Answered with a pong as soon as the agent's session is up."""
    return Message(request=pb.SessionRequest(request_id=request_id, ping=pb.SessionRequest.Ping()))


def get_session_state(request_id: str) -> Message:
    """Answered with the states of agent and user."""
    return Message(
        request=pb.SessionRequest(request_id=request_id, get_session_state=pb.SessionRequest.GetSessionState())
    )


_AGENT_STATES: Final[dict[int, ev.AgentState]] = {
    pb.AS_INITIALIZING: "initializing",
    pb.AS_IDLE: "idle",
    pb.AS_LISTENING: "listening",
    pb.AS_THINKING: "thinking",
    pb.AS_SPEAKING: "speaking",
}
_USER_STATES: Final[dict[int, ev.UserState]] = {
    pb.US_SPEAKING: "speaking",
    pb.US_LISTENING: "listening",
    pb.US_AWAY: "away",
}


def agent_state(value: int) -> ev.AgentState:
    """The name of an agent state on the wire; "unknown" for one that this version does not know."""
    return _AGENT_STATES.get(value, "unknown")


def to_event(message: pb.AgentSessionEvent, position: float, to_position: Callable[[float], float]) -> ev.Event | None:
    """Translate one event of the session.

    Args:
        message: the event as it came.
        position: position in the recording at which it arrived, in seconds.
        to_position: turns a wall-clock time (``time.time()``) of the agent, on the same host, into a position.

    Returns:
        The event, or None where it says nothing (an item of the conversation that is not a message).
    """
    kind = message.WhichOneof("event")
    at: float | None = None
    if message.HasField("created_at"):
        at = to_position(_seconds(message.created_at))
    match kind:
        case "user_state_changed":
            user = message.user_state_changed
            return ev.UserStateChanged(
                position, at, _USER_STATES.get(user.old_state, "unknown"), _USER_STATES.get(user.new_state, "unknown")
            )
        case "agent_state_changed":
            agent = message.agent_state_changed
            return ev.AgentStateChanged(position, at, agent_state(agent.old_state), agent_state(agent.new_state))
        case "user_input_transcribed":
            said = message.user_input_transcribed
            return ev.UserInputTranscribed(position, at, said.transcript, said.is_final)
        case "eot_prediction":
            eot = message.eot_prediction
            return ev.EotPredicted(
                position,
                at,
                eot.probability,
                eot.threshold,
                _seconds(eot.inference_duration),
                _seconds(eot.delay),
            )
        case "conversation_item_added":
            return _message_added(message.conversation_item_added.item, position, at, to_position)
        case "session_usage_updated":
            return ev.UsageUpdated(position, at, _usage(message.session_usage_updated.usage))
        case "error":
            return ev.AgentError(position, at, message.error.message)
        case None:
            return None
        case name:
            return ev.OtherEvent(position, at, name)


_ROLES: Final[dict[int, ev.Role]] = {
    pb.USER: "user",
    pb.ASSISTANT: "assistant",
    pb.SYSTEM: "system",
    pb.DEVELOPER: "developer",
}


def _message_added(
    item: pb.ChatContext.ChatItem, position: float, at: float | None, to_position: Callable[[float], float]
) -> ev.MessageAdded | None:
    if not item.HasField("message"):
        return None
    message = item.message
    text = "\n".join(part.text for part in message.content if part.text)
    committed_at: float | None = None
    metrics = message.metrics
    if metrics.HasField("stopped_speaking_at") and metrics.HasField("end_of_turn_delay"):
        committed_at = to_position(_seconds(metrics.stopped_speaking_at) + metrics.end_of_turn_delay)
    role = _ROLES.get(message.role, "unknown")
    return ev.MessageAdded(position, at, role, text, message.interrupted, committed_at)


class _HasSeconds(Protocol):
    seconds: int
    nanos: int


def _seconds(value: _HasSeconds) -> float:
    return value.seconds + value.nanos * 1e-9


def _usage(usage: pb.AgentSessionUsage) -> tuple[ev.ModelUsage, ...]:
    models: list[ev.ModelUsage] = []
    for item in usage.model_usage:
        kind = item.WhichOneof("usage")
        if kind is None:
            continue
        used = getattr(item, kind)
        models.append(ev.ModelUsage(kind, used.provider, used.model, getattr(used, "total_requests", 0)))
    return tuple(models)
