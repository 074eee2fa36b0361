"""When has the user finished speaking? The core, which knows no framework."""

from typing import TYPE_CHECKING, Any

from .detector import TurnDetector
from .endpointing import Endpointer, EndpointingOptions
from .events import BackchannelOpportunity, FallbackOccurred, Outcome, Prediction, TurnDecision
from .models.base import ModelSpec
from .models.registry import available_models
from .offline import no_telemetry
from .options import FallbackOptions
from .stream import DetectorStream
from .thresholds import Thresholds

if TYPE_CHECKING:
    from .operating_points import OperatingPoint

no_telemetry()

__all__ = [
    "BackchannelOpportunity",
    "DetectorStream",
    "Endpointer",
    "EndpointingOptions",
    "FallbackOccurred",
    "FallbackOptions",
    "ModelSpec",
    "OperatingPoint",
    "Outcome",
    "Prediction",
    "Thresholds",
    "TurnDecision",
    "TurnDetector",
    "available_models",
]


def __getattr__(name: str) -> Any:
    """OperatingPoint brings a table along, which most do not need: it is imported when it is asked for."""
    if name == "OperatingPoint":
        from .operating_points import OperatingPoint

        return OperatingPoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
