"""The turn detector on Pipecat."""

from eot_core import EndpointingOptions, TurnDetector

from .frames import BackchannelOpportunityFrame, TurnDecisionMetricsData
from .strategy import TurnDetectorUserTurnStopStrategy

__all__ = [
    "BackchannelOpportunityFrame",
    "EndpointingOptions",
    "TurnDecisionMetricsData",
    "TurnDetector",
    "TurnDetectorUserTurnStopStrategy",
]
