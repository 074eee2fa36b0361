"""A gateway's counts for Prometheus (extra ``serve``). Nothing here costs anything between two scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from .counts import BOUNDS, Durations, GatewayCounts

if TYPE_CHECKING:
    from prometheus_client.core import Metric

INSTALL = "pip install 'eot-adapters[serve]'"


class MetricsPage:
    """Makes the text of ``/metrics``.

    ========================================  =========  ===============  ========================================
    metric                                    kind       labels
    ========================================  =========  ===============  ========================================
    eot_gateway_sessions                      gauge                       open now
    eot_gateway_sessions_limit                gauge                       ``max_sessions``
    eot_gateway_draining                      gauge                       1: no new sessions
    eot_gateway_requests_pending              gauge                       waiting, or being worked on
    eot_gateway_expected_wait_seconds         gauge                       of the next request, for a thread
    eot_gateway_sessions_started_total        counter
    eot_gateway_sessions_ended_total          counter    reason
    eot_gateway_refused_total                 counter    reason           clients that did not get in
    eot_gateway_requests_total                counter    outcome, reason
    eot_gateway_audio_seconds_total           counter
    eot_gateway_preparation_seconds           histogram                   resampling, search for the onset
    eot_gateway_queue_seconds                 histogram
    eot_gateway_inference_seconds             histogram
    eot_gateway_answer_seconds                histogram                   all of it
    eot_gateway_loop_lag_seconds              histogram                   how late the event loop is
    ========================================  =========  ===============  ========================================

    All have the label ``model``. Reasons are those of :class:`GatewayCounts`: fixed words, never a client's. Beside
    them are prometheus-client's own ``process_*`` (Linux: descriptors, memory, CPU).
    """

    def __init__(self, counts: GatewayCounts, model: str, gauges: Callable[[], dict[str, float]]) -> None:
        """
        Args:
            counts: what is shown.
            model: its full name.
            gauges: gives "sessions", "sessions_limit", "draining", "requests_pending" and "expected_wait_seconds" as
                they are now.

        Raises:
            ImportError: prometheus-client is not installed.
        """
        from prometheus_client import CollectorRegistry, ProcessCollector

        self._counts = counts
        self._model = model
        self._gauges = gauges
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The page, and its content type.

        Args:
            accept: the request's Accept header; Prometheus's own text format, or OpenMetrics where that is asked for.
        """
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """For prometheus-client's registry."""
        from prometheus_client.core import GaugeMetricFamily

        for name, value in self._gauges().items():
            gauge = GaugeMetricFamily(f"eot_gateway_{name}", _GAUGES[name], labels=["model"])
            gauge.add_metric([self._model], value)
            yield gauge
        counts = self._counts
        yield self._counter("sessions_started", "Sessions begun", [], {(): counts.started})
        yield self._counter("sessions_ended", "Sessions over, by what ended them", ["reason"], _single(counts.ended))
        yield self._counter("refused", "Clients that did not get in", ["reason"], _single(counts.refused))
        yield self._counter("requests", "Requests, by what came of them", ["outcome", "reason"], counts.requests)
        yield self._counter("audio_seconds", "Seconds of audio received", [], {(): counts.audio_seconds})
        yield self._histogram("preparation", "From a request to its audio being ready", counts.prepared)
        yield self._histogram("queue", "Waiting for a thread", counts.queued)
        yield self._histogram("inference", "The model's own work", counts.inferred)
        yield self._histogram("answer", "From a request to its answer", counts.answered)
        yield self._histogram("loop_lag", "How late the event loop is", counts.loop_lag)

    def _counter(self, name: str, text: str, labels: list[str], values: Any) -> Metric:
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(f"eot_gateway_{name}", text, labels=["model", *labels])
        for key, value in sorted(values.items()):
            family.add_metric([self._model, *key], value)
        return family

    def _histogram(self, name: str, text: str, durations: Durations) -> Metric:
        from prometheus_client.core import HistogramMetricFamily

        family = HistogramMetricFamily(f"eot_gateway_{name}_seconds", text, labels=["model"])
        bounds = [*map(str, BOUNDS), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(durations.buckets)), strict=True))
        family.add_metric([self._model], buckets, sum_value=durations.total)
        return family


_GAUGES = {
    "sessions": "Sessions open now",
    "sessions_limit": "Sessions at most",
    "draining": "1 while the gateway takes no new sessions because it is about to end",
    "requests_pending": "Requests that wait or are worked on",
    "expected_wait_seconds": "How long the next request would wait for a thread",
}


def _single(counter: dict[str, int]) -> dict[tuple[str], int]:
    return {(reason,): count for reason, count in counter.items()}
