"""Metrics over OpenTelemetry. Without an SDK in the process they cost nothing and go nowhere.

========================  =========  ======  ==================================================================
instrument                kind       unit    attributes
========================  =========  ======  ==================================================================
eot.predictions           counter            eot.model, eot.source, eot.outcome, eot.reason (but for answers)
eot.prediction.queue      histogram  s       eot.model, eot.source; answered predictions only, as the next two
eot.prediction.network    histogram  s
eot.prediction.inference  histogram  s
eot.fallbacks             counter            eot.model (the one left), eot.fallback.model, eot.reason
eot.recoveries            counter            eot.model (the one left), eot.fallback.model
========================  =========  ======  ==================================================================

Reasons are short words of a fixed kind: no URL, no header, no text of a server.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from .events import FallbackOccurred, Outcome, Prediction

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram

_BOUNDARIES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0)
"""Seconds; a prediction has one second."""


class _Instruments:
    def __init__(self) -> None:
        from opentelemetry.metrics import get_meter

        meter = get_meter("eot_core")
        self.predictions: Counter = meter.create_counter("eot.predictions", description="Predictions, by outcome")
        self.fallbacks: Counter = meter.create_counter("eot.fallbacks", description="Streams that left their model")
        self.recoveries: Counter = meter.create_counter("eot.recoveries", description="Streams back on the cloud")
        self.queue, self.network, self.inference = (
            self._histogram(part, what)
            for part, what in (
                ("queue", "Waiting for the scheduler or the connection"),
                ("network", "To a remote model and back"),
                ("inference", "The model's own work, features included"),
            )
        )

    @staticmethod
    def _histogram(part: str, description: str) -> Histogram:
        from opentelemetry.metrics import get_meter

        return get_meter("eot_core").create_histogram(
            f"eot.prediction.{part}",
            unit="s",
            description=description,
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )


@cache
def _instruments() -> _Instruments:
    """Made at first use: the API's proxies find an SDK that is set up later."""
    return _Instruments()


def record(event: object) -> None:
    """Count a :class:`Prediction` or a :class:`FallbackOccurred`; anything else is ignored."""
    match event:
        case Prediction():
            _record_prediction(event)
        case FallbackOccurred():
            _record_fallback(event)


def _record_prediction(prediction: Prediction) -> None:
    instruments = _instruments()
    labels = {"eot.model": prediction.model, "eot.source": prediction.source}
    outcome = {**labels, "eot.outcome": prediction.outcome.value}
    if prediction.reason is not None:
        outcome["eot.reason"] = _word(prediction.reason)
    instruments.predictions.add(1, outcome)
    if prediction.outcome is Outcome.ANSWERED:
        instruments.queue.record(prediction.queue_time, labels)
        instruments.network.record(prediction.network_time, labels)
        instruments.inference.record(prediction.inference_time, labels)


def _record_fallback(event: FallbackOccurred) -> None:
    labels = {"eot.model": event.from_model, "eot.fallback.model": event.to_model or "none"}
    if event.recovered:
        _instruments().recoveries.add(1, labels)
    else:
        _instruments().fallbacks.add(1, {**labels, "eot.reason": _word(event.reason)})


def _word(reason: str) -> str:
    """What comes before the colon: the rest ("model_error: ValueError") is for the log."""
    return reason.split(":", 1)[0]
