"""The client's end of a session: what a detector does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from livekit.protocol.agent_pb import agent_inference as pb

from . import codec
from .calibration import read_calibration
from .errors import ErrorCode, LocalProtocolError, Violation
from .events import (
    Backend,
    Encoding,
    EotPrediction,
    Ignored,
    InferenceStarted,
    InferenceStats,
    InferenceStopped,
    ServerError,
    ServerEvent,
    SessionClosed,
    SessionCreated,
)
from .limits import ProtocolLimits
from .state import State

_ROUNDING = 1e-6
"""How far a probability may be above 1 or below 0 and still be rounding (the wire carries 32-bit floats)."""
_LIVE: Final = (State.CREATING, State.OPEN)


class ClientProtocol:
    """One session, seen from the client. Methods return the bytes of one binary WebSocket frame.

    Order: :meth:`session_create` first; audio and requests may follow at once, without waiting for ``session_created``
    (the stock client does the same); nothing after :meth:`session_close`. A method called out of order, or with a
    value that cannot be sent, raises :class:`LocalProtocolError` and changes nothing.

    Every method takes ``created_at``, Unix seconds: when the message is sent.
    """

    def __init__(self, limits: ProtocolLimits | None = None) -> None:
        self._limits = limits or ProtocolLimits()
        self._state = State.NEW

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    @property
    def limits(self) -> ProtocolLimits:
        """The bounds in force."""
        return self._limits

    # ---- to the server

    def session_create(self, *, sample_rate: int, created_at: float, encoding: Encoding = Encoding.PCM_S16LE) -> bytes:
        """Open the session.

        Args:
            sample_rate: of the audio to come, in Hz, 8000..48000.
            created_at: Unix seconds.
            encoding: only PCM_S16LE for now.
        """
        self._require("session_create", State.NEW)
        if not isinstance(sample_rate, int) or not 8_000 <= sample_rate <= 48_000:
            raise LocalProtocolError(f"sample_rate must be a whole number from 8000 to 48000 Hz, got {sample_rate!r}")
        if encoding is not Encoding.PCM_S16LE:
            raise LocalProtocolError(f"encoding must be Encoding.PCM_S16LE, got {encoding!r}")
        message = _message(created_at)
        message.session_create.settings.sample_rate = sample_rate
        message.session_create.settings.encoding = pb.AUDIO_ENCODING_PCM_S16LE
        self._state = State.CREATING
        return message.SerializeToString()

    def input_audio(
        self,
        pcm: bytes | bytearray | memoryview,
        *,
        captured_at: float,
        created_at: float,
        num_samples: int | None = None,
    ) -> bytes:
        """A chunk of audio.

        Args:
            pcm: int16 little-endian mono at the session's sample rate; not empty, at most ``limits.max_audio_bytes``.
            captured_at: Unix seconds at which it was captured.
            created_at: Unix seconds.
            num_samples: None for what ``pcm`` holds.
        """
        self._require("input_audio", *_LIVE)
        data = bytes(pcm)
        if not data or len(data) % 2 or len(data) > self._limits.max_audio_bytes:
            raise LocalProtocolError(
                f"pcm must be an even number of bytes from 2 to {self._limits.max_audio_bytes}, got {len(data)}"
            )
        if num_samples is not None and num_samples != len(data) // 2:
            raise LocalProtocolError(f"num_samples must be {len(data) // 2} for {len(data)} bytes, got {num_samples!r}")
        message = _message(created_at)
        codec.write_timestamp(message.input_audio.created_at, captured_at, "captured_at")
        message.input_audio.audio = data
        message.input_audio.num_samples = len(data) // 2
        return message.SerializeToString()

    def inference_start(self, request_id: str, *, created_at: float) -> bytes:
        """Ask for a prediction over all audio sent so far."""
        self._require("inference_start", *_LIVE)
        message = _message(created_at)
        message.inference_start.request_id = codec.local_request_id(request_id, self._limits)
        return message.SerializeToString()

    def inference_stop(self, request_id: str, *, created_at: float) -> bytes:
        """Say that an answer is not needed any more. Harmless when it is already on its way."""
        self._require("inference_stop", *_LIVE)
        message = _message(created_at)
        message.inference_stop.request_id = codec.local_request_id(request_id, self._limits)
        return message.SerializeToString()

    def session_flush(self, *, created_at: float) -> bytes:
        """Say that the turn has ended."""
        self._require("session_flush", *_LIVE)
        message = _message(created_at)
        message.session_flush.SetInParent()
        return message.SerializeToString()

    def session_close(self, *, created_at: float) -> bytes:
        """End the session; the server answers ``session_closed``."""
        self._require("session_close", *_LIVE)
        message = _message(created_at)
        message.session_close.SetInParent()
        self._state = State.CLOSING
        return message.SerializeToString()

    def _require(self, name: str, *states: State) -> None:
        if self._state not in states:
            raise LocalProtocolError(f"{name} is not allowed in state {self._state}")

    # ---- from the server

    def receive(self, data: bytes | bytearray | memoryview | str) -> list[ServerEvent]:
        """The events of one frame. Never raises.

        After a :class:`ProtocolError` the session is FAILED and every further frame gives nothing.
        """
        if self._state is State.FAILED:
            return []
        try:
            return [self._read(codec.parse(pb.ServerMessage, data, self._limits))]
        except Violation as violation:
            self._state = State.FAILED
            return [violation.event]

    def _read(self, message: pb.ServerMessage) -> ServerEvent:
        kind = message.WhichOneof("message")
        if self._state is State.CLOSED:
            raise Violation(ErrorCode.AFTER_CLOSE, "received a message after session_closed")
        if self._state is State.NEW:
            raise Violation(ErrorCode.OUT_OF_ORDER, "received a message before session_create was sent")
        reader = _READERS.get(kind or "")
        if reader is None:
            return Ignored(kind or "unknown")
        return reader(self, message)

    def _session_created(self, message: pb.ServerMessage) -> ServerEvent:
        if self._state is State.OPEN:
            raise Violation(ErrorCode.OUT_OF_ORDER, "received a second session_created")
        calibration = read_calibration(message.session_created, self._limits)
        if self._state is State.CREATING:
            self._state = State.OPEN
        return SessionCreated(calibration, _created_at(message))

    def _inference_started(self, message: pb.ServerMessage) -> ServerEvent:
        self._require_created("inference_started")
        return InferenceStarted(self._request_id(message), _created_at(message))

    def _inference_stopped(self, message: pb.ServerMessage) -> ServerEvent:
        self._require_created("inference_stopped")
        return InferenceStopped(self._request_id(message), _created_at(message))

    def _eot_prediction(self, message: pb.ServerMessage) -> ServerEvent:
        self._require_created("eot_prediction")
        prediction = message.eot_prediction
        request_id = self._request_id(message)
        if not -_ROUNDING <= prediction.probability <= 1 + _ROUNDING:
            raise Violation(
                ErrorCode.BAD_PROBABILITY,
                f"eot_prediction has a probability of {prediction.probability:g}, which is not 0..1",
                request_id,
            )
        return EotPrediction(
            request_id=request_id,
            probability=min(1.0, max(0.0, prediction.probability)),
            backchannel_probability=_backchannel(prediction.backchannel_probability),
            stats=_stats(prediction.inference_stats),
            backend=_BACKENDS.get(prediction.backend, Backend.UNKNOWN),
            created_at=_created_at(message),
        )

    def _session_closed(self, message: pb.ServerMessage) -> ServerEvent:
        self._state = State.CLOSED
        return SessionClosed(_created_at(message))

    def _error(self, message: pb.ServerMessage) -> ServerEvent:
        request_id = self._request_id(message) or None
        if request_id is None:
            self._state = State.CLOSED
        text = codec.clean_text(message.error.message, self._limits.max_error_chars)
        return ServerError(text, message.error.code, request_id, _created_at(message))

    def _require_created(self, name: str) -> None:
        # In CLOSING the session may have been closed before it was created; answers then are as odd as any other.
        if self._state is State.CREATING:
            raise Violation(ErrorCode.OUT_OF_ORDER, f"received {name} before session_created")

    def _request_id(self, message: pb.ServerMessage) -> str:
        return codec.read_request_id(message.request_id, self._limits) if message.request_id else ""


_READERS: Final[dict[str, Callable[[ClientProtocol, pb.ServerMessage], ServerEvent]]] = {
    "session_created": ClientProtocol._session_created,
    "inference_started": ClientProtocol._inference_started,
    "inference_stopped": ClientProtocol._inference_stopped,
    "eot_prediction": ClientProtocol._eot_prediction,
    "session_closed": ClientProtocol._session_closed,
    "error": ClientProtocol._error,
}

_BACKENDS: Final[dict[int, Backend]] = {
    pb.EotPrediction.EOT_BACKEND_MULTIMODAL: Backend.MULTIMODAL,
    pb.EotPrediction.EOT_BACKEND_TEXT: Backend.TEXT,
}


def _message(created_at: float) -> pb.ClientMessage:
    message = pb.ClientMessage()
    codec.write_timestamp(message.created_at, created_at, "created_at")
    return message


def _created_at(message: pb.ServerMessage) -> float | None:
    return codec.read_timestamp(message.server_created_at)


def _backchannel(value: float) -> float | None:
    """A side output: when it is nonsense, the prediction beside it is still good."""
    return value if math.isfinite(value) and 0 <= value <= 1 else None


def _stats(stats: pb.InferenceStats) -> InferenceStats:
    return InferenceStats(
        earliest_client_created_at=codec.read_timestamp(stats.earliest_client_created_at),
        latest_client_created_at=codec.read_timestamp(stats.latest_client_created_at),
        client_e2e_latency=(
            codec.read_duration(stats.client_e2e_latency) if stats.HasField("client_e2e_latency") else None
        ),
        server_e2e_latency=codec.read_duration(stats.server_e2e_latency) or 0.0,
        preprocessing_duration=codec.read_duration(stats.preprocessing_duration) or 0.0,
        inference_duration=codec.read_duration(stats.inference_duration) or 0.0,
    )
