"""What the adapter adds to Pipecat's frames and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from pipecat.frames.frames import SystemFrame, VADUserStoppedSpeakingFrame
from pipecat.metrics.metrics import TurnMetricsData

from eot_core import Prediction, TurnDecision


@dataclass
class BackchannelOpportunityFrame(SystemFrame):
    """A pause in which a short acknowledgement ("mhm") would be welcome. Broadcast in both directions.

    Only the cloud's models tell; with a local model no such frame is ever seen.
    """

    probability: float
    """How fitting an acknowledgement would be, 0..1."""
    threshold: float
    """What ``probability`` reached, 0..1."""
    end_of_turn_probability: float
    """Probability that the user has finished the turn, 0..1."""
    end_of_turn_threshold: float
    """Threshold for that, 0..1."""
    language: str | None = None
    """Key of the language that the thresholds are for, or None."""


@dataclass
class MissedEndOfSpeechFrame(VADUserStoppedSpeakingFrame):
    """An end of speech that the aggregator has not heard of: it was muted. ``stop_secs`` have passed since then."""


class TurnDecisionMetricsData(TurnMetricsData):
    """Pipecat's metrics of a turn prediction, and what was decided on it.

    ``is_complete``: the probability reached the threshold. ``e2e_processing_time_ms``: from the request to the answer,
    queue, network and inference. ``model``: full name of the model that was asked.

    It is a ``TurnMetricsData`` for ``isinstance``. Pipecat's ``MetricsLogObserver(include_metrics=...)`` compares exact
    types: name this class there.
    """

    threshold: float
    """0..1."""
    delay: float
    """Seconds from the true end of speech to the end of the turn, if the silence lasts."""
    source: str
    """"cloud", "local" or "default"."""
    language: str | None = None
    """BCP-47 tag from the latest transcript, or None."""
    outcome: str
    """How the request ended: "answered" or "default"."""
    reason: str
    """Why the turn ends when it does: "likely", "unlikely" or "default"."""
    default_reason: str | None = None
    """Why no model answered, for example "timeout"; None where one did."""
    queue_time_ms: float = 0.0
    """Milliseconds before the work began."""
    network_time_ms: float = 0.0
    """Milliseconds on the way to a remote model and back."""
    inference_time_ms: float = 0.0
    """Milliseconds of the model's own work."""

    @classmethod
    def of(cls, processor: str, prediction: Prediction, decision: TurnDecision) -> TurnDecisionMetricsData:
        """The metrics of one prediction. ``processor``: name of whoever asked for it."""
        return cls(
            processor=processor,
            model=prediction.model,
            is_complete=prediction.probability >= decision.threshold,
            probability=prediction.probability,
            e2e_processing_time_ms=prediction.total_time * 1000,
            threshold=decision.threshold,
            delay=decision.delay,
            source=prediction.source,
            language=decision.language,
            outcome=prediction.outcome.value,
            reason=decision.reason.value,
            default_reason=prediction.reason,
            queue_time_ms=prediction.queue_time * 1000,
            network_time_ms=prediction.network_time * 1000,
            inference_time_ms=prediction.inference_time * 1000,
        )
