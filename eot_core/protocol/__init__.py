"""The ``agent_inference`` wire protocol, both ends, without I/O: bytes in, events out; calls in, bytes out.

Neither end touches a socket, a clock or an event loop. A shell (the WebSocket transport, the gateway) feeds received
frames to :meth:`receive` and sends what the other methods return. Times are Unix seconds and always arguments.

Importing this package imports the generated messages of PyPI ``livekit-protocol`` (about 0.1 s), so import it where a
connection is made, not at start-up.
"""

from .client import ClientProtocol
from .errors import ErrorCode, LocalProtocolError, ProtocolError
from .events import (
    NO_ROOM,
    Backend,
    ClientEvent,
    Encoding,
    EotPrediction,
    Ignored,
    InferenceStarted,
    InferenceStartRequested,
    InferenceStats,
    InferenceStopped,
    InferenceStopRequested,
    InputAudio,
    ServerError,
    ServerEvent,
    SessionClosed,
    SessionCloseRequested,
    SessionCreated,
    SessionCreateRequested,
    SessionFlushRequested,
)
from .limits import ProtocolLimits
from .server import ServerProtocol
from .state import State

__all__ = [
    "NO_ROOM",
    "Backend",
    "ClientEvent",
    "ClientProtocol",
    "Encoding",
    "EotPrediction",
    "ErrorCode",
    "Ignored",
    "InferenceStartRequested",
    "InferenceStarted",
    "InferenceStats",
    "InferenceStopRequested",
    "InferenceStopped",
    "InputAudio",
    "LocalProtocolError",
    "ProtocolError",
    "ProtocolLimits",
    "ServerError",
    "ServerEvent",
    "ServerProtocol",
    "SessionCloseRequested",
    "SessionClosed",
    "SessionCreateRequested",
    "SessionCreated",
    "SessionFlushRequested",
    "State",
]
