"""A gateway: turn detection over a WebSocket, for clients that speak LiveKit Inference's ``agent_inference`` protocol.

LiveKit's own ``inference.TurnDetector(version="v1", base_url=...)`` is such a client, and so is this package's.
"""

from .app import Gateway
from .limits import GatewayLimits
from .session import GatewaySession

__all__ = ["Gateway", "GatewayLimits", "GatewaySession"]
