"""The vocabulary of the wire: what :meth:`ClientProtocol.receive` and :meth:`ServerProtocol.receive` return.

Times are Unix seconds, durations are seconds. A timestamp that the far end left out, or that makes no sense (before
1970, after 9999), reads None: a client with a wrong clock must still get its predictions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TypeAlias

from ..transports.base import Calibration
from .errors import ProtocolError


class Encoding(IntEnum):
    """Audio encodings, as numbered on the wire."""

    PCM_S16LE = 0
    OPUS = 1


class Backend(StrEnum):
    """What kind of model made a prediction."""

    UNKNOWN = "unknown"
    MULTIMODAL = "multimodal"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class InferenceStats:
    """Where the time of one prediction went."""

    earliest_client_created_at: float | None = None
    """When the oldest audio of the request was captured, by the client's clock."""
    latest_client_created_at: float | None = None
    """When the newest audio of the request was captured, by the client's clock."""
    client_e2e_latency: float | None = None
    """Seconds from the newest audio's capture (client's clock) to the answer (server's clock)."""
    server_e2e_latency: float = 0.0
    """Seconds from the request's arrival at the server to the answer."""
    preprocessing_duration: float = 0.0
    """Seconds of preparing the audio."""
    inference_duration: float = 0.0
    """Seconds of the model's work."""


# ---- server to client


@dataclass(frozen=True, slots=True)
class SessionCreated:
    """The server is ready, and says which thresholds its model was calibrated to."""

    calibration: Calibration
    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class InferenceStarted:
    """The server took up a request. Optional: not every server says so."""

    request_id: str
    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class InferenceStopped:
    """The server dropped a request; no prediction follows. Optional: not every server says so."""

    request_id: str
    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class EotPrediction:
    """An answer."""

    request_id: str
    """Empty when the server named none; such an answer belongs to no request."""
    probability: float
    """0..1, finite."""
    backchannel_probability: float | None
    """0..1; 0.0 also when the server has no backchannel model (the field cannot be absent); None when unusable."""
    stats: InferenceStats = field(default_factory=InferenceStats)
    backend: Backend = Backend.UNKNOWN
    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The server is done with the session."""

    created_at: float | None = None


NO_ROOM = 503, frozenset(("overloaded", "expired"))
"""Code and messages with which a gateway of this package refuses one request that it could not answer in time."""


@dataclass(frozen=True, slots=True)
class ServerError:
    """The server reports a failure: of one request where ``request_id`` is given, else of the whole session."""

    message: str
    """Free text of the server, control characters removed and cut to a bound. Not for metrics labels."""
    code: int
    """HTTP-like."""
    request_id: str | None = None
    created_at: float | None = None

    @property
    def spares_the_session(self) -> bool:
        """Whether it is about one request alone, for want of room, and the next may be asked. So says a gateway of this
        package; after any other error, of a request too, LiveKit's client leaves a server, and so does ours."""
        code, messages = NO_ROOM
        return self.request_id is not None and self.code == code and self.message in messages


# ---- client to server


@dataclass(frozen=True, slots=True)
class SessionCreateRequested:
    """The client opens its session."""

    sample_rate: int
    """Of the audio to come, in Hz, 8000..48000."""
    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class InputAudio:
    """A chunk of continuous audio."""

    pcm: bytes = field(repr=False)
    """int16 little-endian mono at the session's sample rate; never empty."""
    captured_at: float | None = None
    """When it was captured, by the client's clock."""
    created_at: float | None = None

    @property
    def num_samples(self) -> int:
        """Length in samples."""
        return len(self.pcm) // 2


@dataclass(frozen=True, slots=True)
class InferenceStartRequested:
    """The client asks for a prediction over all audio sent so far."""

    request_id: str
    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class InferenceStopRequested:
    """The client does not need that answer any more."""

    request_id: str
    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class SessionFlushRequested:
    """The turn has ended."""

    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class SessionCloseRequested:
    """The client is done."""

    created_at: float | None = None


# ---- either way


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that this end does not use: of another LiveKit product, or from a newer version of the protocol."""

    kind: str
    """Field name of the message, or "unknown"."""


ServerEvent: TypeAlias = (
    SessionCreated
    | InferenceStarted
    | InferenceStopped
    | EotPrediction
    | SessionClosed
    | ServerError
    | Ignored
    | ProtocolError
)
"""What a client receives."""

ClientEvent: TypeAlias = (
    SessionCreateRequested
    | InputAudio
    | InferenceStartRequested
    | InferenceStopRequested
    | SessionFlushRequested
    | SessionCloseRequested
    | Ignored
    | ProtocolError
)
"""What a server receives."""
