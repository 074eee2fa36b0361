"""How much one gateway gives, and to one client."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..protocol.limits import ProtocolLimits


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Bounds of a gateway. Times are seconds."""

    max_sessions: int = 512
    """Sessions at once; further ones get HTTP 503. Each holds 8 s of audio (256 KB) and a socket."""
    max_outgoing: int = 128
    """Messages that may wait for a client that does not read; with one more its connection is cut."""
    create_timeout: float = 10.0
    """From the handshake to ``session_create``; and from the connection to the handshake, up to twice as long."""
    idle_timeout: float = 600.0
    """Without any message. Long, because a muted microphone may send no audio, and losing the session would cost
    that call its cloud model. Dead connections are found by ``heartbeat``."""
    heartbeat: float = 20.0
    """Between WebSocket pings to a silent client."""
    request_timeout: float = 1.0
    """For one prediction, its wait for a free thread included. LiveKit waits as long, and a later answer is of no use
    to anybody. Where the model has not begun by half of it, the request is refused ("expired", 503)."""
    max_wait: float = 0.4
    """For an answer, as far as can be told when a request comes: until a thread is free, and the model's work. One that
    would wait longer is refused at once ("overloaded", 503), while its client has the time to ask a local model. Only
    where the model runs in this process."""
    send_timeout: float = 5.0
    """For one message to leave; then the connection is cut."""
    close_timeout: float = 2.0
    """For a client to answer the closing handshake."""
    protocol: ProtocolLimits = field(default_factory=ProtocolLimits)
    """Bounds of single messages."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if name == "protocol":
                continue
            if name in ("max_sessions", "max_outgoing"):
                if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                    raise ValueError(f"{name} must be a positive whole number, got {value!r}")
            elif not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"{name} must be a positive number of seconds, got {value!r}")
