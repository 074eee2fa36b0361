"""What a :class:`~eot_core.session.DetectorSession` asks its shell to do. Carried out in the order given."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .events import BackchannelOpportunity, FallbackOccurred, Prediction
from .models.base import PcmArray
from .transports.base import InferenceRequest


class Route(StrEnum):
    """Which of the two ways to a model."""

    CLOUD = "cloud"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class OpenTransport:
    """Make a new transport for the route and open it; one that is still there is closed first."""

    route: Route


@dataclass(frozen=True, slots=True)
class CloseTransport:
    """Close the route's transport."""

    route: Route


@dataclass(frozen=True, slots=True, eq=False)
class SendAudio:
    """Send audio to the cloud: int16 mono 16 kHz; ``captured_at`` is wall-clock time."""

    pcm: PcmArray
    captured_at: float


@dataclass(frozen=True, slots=True)
class StartInference:
    """Have a request answered on the route."""

    route: Route
    request: InferenceRequest


@dataclass(frozen=True, slots=True)
class StopInference:
    """The answer is no longer wanted."""

    route: Route
    request_id: str


@dataclass(frozen=True, slots=True)
class FlushTurn:
    """Tell the cloud that the turn ended."""


@dataclass(frozen=True, slots=True)
class Resolve:
    """Give the answer to whoever waits for the request. Exactly one for each request."""

    request_id: str
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Notify:
    """Something that listeners want to know."""

    event: FallbackOccurred | BackchannelOpportunity


@dataclass(frozen=True, slots=True)
class Warn:
    """Something that an operator wants to know, once per stream."""

    message: str


Effect = (
    OpenTransport | CloseTransport | SendAudio | StartInference | StopInference | FlushTurn | Resolve | Notify | Warn
)
