"""The turn detector on Pipecat: put ``TurnDetectorProcessor()`` into a pipeline, before the user aggregator.

Needs no part of LiveKit Agents.
"""

try:
    import pipecat  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "pipecat":
        raise
    raise ModuleNotFoundError("Pipecat is not installed: pip install 'eot-adapters[pipecat]'", name="pipecat") from None

from eot_core import EndpointingOptions, TurnDetector
from eot_core.vad import VADOptions

from .analyzer import TurnDetectorAnalyzer
from .frames import BackchannelOpportunityFrame, TurnDecisionMetricsData
from .processor import TurnDetectorProcessor
from .strategy import TurnDetectorUserTurnStopStrategy
from .vad import EOTVADAnalyzer

__all__ = [
    "BackchannelOpportunityFrame",
    "EOTVADAnalyzer",
    "EndpointingOptions",
    "TurnDecisionMetricsData",
    "TurnDetector",
    "TurnDetectorAnalyzer",
    "TurnDetectorProcessor",
    "TurnDetectorUserTurnStopStrategy",
    "VADOptions",
]
