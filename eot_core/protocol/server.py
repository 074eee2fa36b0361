"""The server's end of a session: what a gateway does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from livekit.protocol.agent_pb import agent_inference as pb

from ..transports.base import Calibration
from . import codec
from .calibration import write_calibration
from .errors import ErrorCode, LocalProtocolError, Violation
from .events import (
    Backend,
    ClientEvent,
    Ignored,
    InferenceStartRequested,
    InferenceStats,
    InferenceStopRequested,
    InputAudio,
    SessionCloseRequested,
    SessionCreateRequested,
    SessionFlushRequested,
)
from .limits import ProtocolLimits
from .state import State


class ServerProtocol:
    """One session, seen from the server: the mirror of :class:`ClientProtocol`.

    Audio and requests may arrive before :meth:`session_created` is sent. Requests are pending from ``inference_start``
    until they are answered, refused or stopped, and only pending ones can be answered.
    """

    def __init__(self, limits: ProtocolLimits | None = None) -> None:
        self._limits = limits or ProtocolLimits()
        self._state = State.NEW
        self._pending: dict[str, float | None] = {}

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    @property
    def limits(self) -> ProtocolLimits:
        """The bounds in force."""
        return self._limits

    @property
    def pending(self) -> tuple[str, ...]:
        """Requests that wait for an answer, oldest first."""
        return tuple(self._pending)

    # ---- from the client

    def receive(self, data: bytes | bytearray | memoryview | str) -> list[ClientEvent]:
        """The events of one frame. Never raises.

        After a :class:`ProtocolError` the session is FAILED: every further frame gives nothing, and only :meth:`error`
        may still be sent.
        """
        if self._state is State.FAILED:
            return []
        try:
            event = self._read(codec.parse(pb.ClientMessage, data, self._limits))
        except Violation as violation:
            self._state = State.FAILED
            self._pending.clear()
            return [violation.event]
        return [event] if event is not None else []

    def _read(self, message: pb.ClientMessage) -> ClientEvent | None:
        kind = message.WhichOneof("message")
        if self._state in (State.CLOSING, State.CLOSED):
            raise Violation(ErrorCode.AFTER_CLOSE, "received a message after the session was closed")
        if self._state is State.NEW and kind != "session_create":
            raise Violation(ErrorCode.OUT_OF_ORDER, "the first message must be session_create")
        reader = _READERS.get(kind or "")
        if reader is None:
            return Ignored(kind or "unknown")
        return reader(self, message)

    def _session_create(self, message: pb.ClientMessage) -> ClientEvent:
        if self._state is not State.NEW:
            raise Violation(ErrorCode.OUT_OF_ORDER, "received a second session_create")
        settings = message.session_create.settings
        if not 8_000 <= settings.sample_rate <= 48_000:
            raise Violation(
                ErrorCode.BAD_SETTINGS, f"sample_rate must be from 8000 to 48000 Hz, got {settings.sample_rate}"
            )
        if settings.encoding != pb.AUDIO_ENCODING_PCM_S16LE:
            raise Violation(ErrorCode.BAD_SETTINGS, "encoding must be AUDIO_ENCODING_PCM_S16LE")
        if settings.HasField("interruption_settings"):
            raise Violation(ErrorCode.BAD_SETTINGS, "interruption_settings: interruptions are not served here")
        if settings.eot_settings.HasField("detection_interval"):
            # Saying yes and then sending no prediction unasked would leave that client waiting for good.
            raise Violation(
                ErrorCode.BAD_SETTINGS, "eot_settings.detection_interval is not served: use inference_start"
            )
        self._state = State.CREATING
        return SessionCreateRequested(settings.sample_rate, _created_at(message))

    def _input_audio(self, message: pb.ClientMessage) -> ClientEvent | None:
        audio = message.input_audio.audio
        if len(audio) > self._limits.max_audio_bytes:
            raise Violation(
                ErrorCode.BAD_AUDIO, f"input_audio of {len(audio)} bytes, at most {self._limits.max_audio_bytes}"
            )
        if len(audio) % 2:
            raise Violation(ErrorCode.BAD_AUDIO, f"input_audio of {len(audio)} bytes: int16 needs an even number")
        claimed = message.input_audio.num_samples
        if claimed and claimed != len(audio) // 2:
            raise Violation(
                ErrorCode.BAD_AUDIO, f"input_audio claims {claimed} mono samples and holds {len(audio) // 2}"
            )
        if not audio:
            return None
        return InputAudio(audio, codec.read_timestamp(message.input_audio.created_at), _created_at(message))

    def _inference_start(self, message: pb.ClientMessage) -> ClientEvent:
        request_id = codec.read_request_id(message.inference_start.request_id, self._limits)
        if request_id in self._pending:
            raise Violation(ErrorCode.DUPLICATE_REQUEST, "a request_id that is still pending was used again")
        if len(self._pending) >= self._limits.max_pending_requests:
            raise Violation(
                ErrorCode.TOO_MANY_REQUESTS, f"more than {self._limits.max_pending_requests} requests are pending"
            )
        self._pending[request_id] = created_at = _created_at(message)
        return InferenceStartRequested(request_id, created_at)

    def _inference_stop(self, message: pb.ClientMessage) -> ClientEvent | None:
        request_id = codec.read_request_id(message.inference_stop.request_id, self._limits)
        if request_id not in self._pending:
            return None  # already answered, most likely: the two crossed on the way
        del self._pending[request_id]
        return InferenceStopRequested(request_id, _created_at(message))

    def _session_flush(self, message: pb.ClientMessage) -> ClientEvent:
        return SessionFlushRequested(_created_at(message))

    def _session_close(self, message: pb.ClientMessage) -> ClientEvent:
        self._state = State.CLOSING
        self._pending.clear()
        return SessionCloseRequested(_created_at(message))

    # ---- to the client

    def session_created(self, calibration: Calibration, *, created_at: float) -> bytes:
        """Say that the model is ready, and what it is calibrated to (at least one language)."""
        self._require("session_created", State.CREATING)
        message = _message(created_at)
        write_calibration(message.session_created, calibration)
        self._state = State.OPEN
        return message.SerializeToString()

    def inference_started(self, request_id: str, *, created_at: float) -> bytes:
        """Say that a pending request was taken up."""
        self._require("inference_started", State.OPEN)
        message = self._answer(request_id, created_at)
        message.inference_started.SetInParent()
        return message.SerializeToString()

    def inference_stopped(self, request_id: str, *, created_at: float) -> bytes:
        """Say that no prediction will come for a request; pending or just stopped by the client."""
        self._require("inference_stopped", State.OPEN)
        message = _message(created_at)
        message.request_id = codec.local_request_id(request_id, self._limits)
        message.inference_stopped.SetInParent()
        self._pending.pop(request_id, None)
        return message.SerializeToString()

    def eot_prediction(
        self,
        request_id: str,
        probability: float,
        *,
        created_at: float,
        stats: InferenceStats | None = None,
        backend: Backend = Backend.MULTIMODAL,
        backchannel_probability: float | None = None,
    ) -> bytes:
        """Answer a pending request.

        Args:
            request_id: of a pending request, which then is answered.
            probability: 0..1.
            created_at: Unix seconds.
            stats: where the time went.
            backend: what kind of model answered; UNKNOWN for a default that no model gave.
            backchannel_probability: 0..1, or None where the model does not tell (0.0 on the wire).
        """
        self._require("eot_prediction", State.OPEN)
        backchannel = 0.0 if backchannel_probability is None else backchannel_probability
        for name, value in (("probability", probability), ("backchannel_probability", backchannel)):
            if not 0 <= value <= 1:
                raise LocalProtocolError(f"{name} must be 0..1, got {value!r}")
        message = self._answer(request_id, created_at)
        prediction = message.eot_prediction
        prediction.probability = probability
        prediction.backchannel_probability = backchannel
        prediction.backend = _BACKENDS[backend]
        _write_stats(prediction.inference_stats, stats or InferenceStats())
        del self._pending[request_id]
        return message.SerializeToString()

    def session_closed(self, *, created_at: float) -> bytes:
        """The last message of a session that was opened."""
        self._require("session_closed", State.CREATING, State.OPEN, State.CLOSING)
        message = _message(created_at)
        message.session_closed.SetInParent()
        self._state = State.CLOSED
        self._pending.clear()
        return message.SerializeToString()

    def error(self, text: str, code: int, *, created_at: float, request_id: str | None = None) -> bytes:
        """Report a failure: of one pending request, or (without ``request_id``) of the session, which then is closed.

        Args:
            text: one sentence for people, without secrets; cut to ``limits.max_error_chars``.
            code: HTTP-like, 0..4294967295.
            created_at: Unix seconds.
            request_id: of a pending request.
        """
        if self._state is State.CLOSED:
            raise LocalProtocolError(f"error is not allowed in state {self._state}")
        if not 0 <= code < 1 << 32:
            raise LocalProtocolError(f"code must be 0..4294967295, got {code!r}")
        message = _message(created_at) if request_id is None else self._answer(request_id, created_at)
        message.error.message = codec.clean_text(text, self._limits.max_error_chars)
        message.error.code = code
        if request_id is None:
            self._state = State.CLOSED
            self._pending.clear()
        else:
            del self._pending[request_id]
        return message.SerializeToString()

    def _require(self, name: str, *states: State) -> None:
        if self._state not in states:
            raise LocalProtocolError(f"{name} is not allowed in state {self._state}")

    def _answer(self, request_id: str, created_at: float) -> pb.ServerMessage:
        if request_id not in self._pending:
            raise LocalProtocolError("request_id is not pending: it was answered or stopped, or never asked")
        message = _message(created_at)
        message.request_id = request_id
        asked_at = self._pending[request_id]
        if asked_at is not None:
            codec.write_timestamp(message.client_created_at, asked_at, "client_created_at")
        return message


_READERS: Final[dict[str, Callable[[ServerProtocol, pb.ClientMessage], ClientEvent | None]]] = {
    "session_create": ServerProtocol._session_create,
    "input_audio": ServerProtocol._input_audio,
    "inference_start": ServerProtocol._inference_start,
    "inference_stop": ServerProtocol._inference_stop,
    "session_flush": ServerProtocol._session_flush,
    "session_close": ServerProtocol._session_close,
}

_BACKENDS: Final = {
    Backend.UNKNOWN: pb.EotPrediction.EOT_BACKEND_UNKNOWN,
    Backend.MULTIMODAL: pb.EotPrediction.EOT_BACKEND_MULTIMODAL,
    Backend.TEXT: pb.EotPrediction.EOT_BACKEND_TEXT,
}


def _message(created_at: float) -> pb.ServerMessage:
    message = pb.ServerMessage()
    codec.write_timestamp(message.server_created_at, created_at, "created_at")
    return message


def _created_at(message: pb.ClientMessage) -> float | None:
    return codec.read_timestamp(message.created_at)


def _write_stats(message: pb.InferenceStats, stats: InferenceStats) -> None:
    for name in ("earliest_client_created_at", "latest_client_created_at"):
        value = getattr(stats, name)
        if value is not None:
            codec.write_timestamp(getattr(message, name), value, name)
    if stats.client_e2e_latency is not None:
        codec.write_duration(message.client_e2e_latency, stats.client_e2e_latency, "client_e2e_latency")
    codec.write_duration(message.server_e2e_latency, stats.server_e2e_latency, "server_e2e_latency")
    codec.write_duration(message.preprocessing_duration, stats.preprocessing_duration, "preprocessing_duration")
    codec.write_duration(message.inference_duration, stats.inference_duration, "inference_duration")
