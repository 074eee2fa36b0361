"""When has the user finished speaking? The core, which knows no framework."""

from .detector import TurnDetector
from .endpointing import Endpointer, EndpointingOptions
from .events import BackchannelOpportunity, FallbackOccurred, Outcome, Prediction, TurnDecision
from .models.base import ModelSpec
from .models.registry import available_models
from .options import FallbackOptions
from .stream import DetectorStream
from .thresholds import Thresholds

__all__ = [
    "BackchannelOpportunity",
    "DetectorStream",
    "Endpointer",
    "EndpointingOptions",
    "FallbackOccurred",
    "FallbackOptions",
    "ModelSpec",
    "Outcome",
    "Prediction",
    "Thresholds",
    "TurnDecision",
    "TurnDetector",
    "available_models",
]
