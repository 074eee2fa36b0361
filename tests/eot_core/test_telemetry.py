from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics

from eot_core import BackchannelOpportunity, FallbackOccurred, Outcome, Prediction, telemetry

sdk = pytest.importorskip("opentelemetry.sdk.metrics")
export = pytest.importorskip("opentelemetry.sdk.metrics.export")


class Recorded:
    def __init__(self) -> None:
        self.reader = export.InMemoryMetricReader()
        self.provider = sdk.MeterProvider([self.reader])

    def points(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        found = data.resource_metrics[0].scope_metrics[0].metrics
        return {metric.name: list(metric.data.data_points) for metric in found}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    recorded = Recorded()
    monkeypatch.setattr(metrics, "get_meter", recorded.provider.get_meter)
    telemetry._instruments.cache_clear()
    yield recorded
    telemetry._instruments.cache_clear()


def test_predictions(recorded: Recorded) -> None:
    telemetry.record(Prediction(0.8, Outcome.ANSWERED, None, "m", "cloud", "r", None, 0.01, 0.02, 0.03, 0.06))
    telemetry.record(Prediction(1.0, Outcome.DEFAULT, "model_unavailable: pip install x", "m", "default", "r"))
    points = recorded.points()
    counted = {
        (p.attributes["eot.outcome"], p.attributes["eot.source"], p.attributes.get("eot.reason")): p.value
        for p in points["eot.predictions"]
    }
    assert counted == {("answered", "cloud", None): 1, ("default", "default", "model_unavailable"): 1}
    for part, seconds in (("queue", 0.01), ("network", 0.02), ("inference", 0.03)):
        (point,) = points[f"eot.prediction.{part}"]
        assert point.sum == pytest.approx(seconds)
        assert point.count == 1


def test_fallbacks(recorded: Recorded) -> None:
    telemetry.record(FallbackOccurred("a", "b", "http_503"))
    telemetry.record(FallbackOccurred("a", None, "transport_error: OSError"))
    telemetry.record(FallbackOccurred("b", "a", "recovered", recovered=True))
    telemetry.record(BackchannelOpportunity(0.5, 0.4, 0.2, 0.5, "en"))
    points = recorded.points()
    counted = {(p.attributes["eot.fallback.model"], p.attributes["eot.reason"]) for p in points["eot.fallbacks"]}
    assert counted == {("b", "http_503"), ("none", "transport_error")}
    assert [p.value for p in points["eot.recoveries"]] == [1]


async def test_a_stream_records_what_it_answers(recorded: Recorded) -> None:
    from fakes import fake_spec

    from eot_core import TurnDetector

    stream = TurnDetector(model=fake_spec()).stream()
    stream.push_audio(b"\x01\x00" * 160)
    await stream.predict()
    stream.predict()
    stream.cancel()  # a request that nobody waited for is not counted
    await stream.aclose()
    (point,) = recorded.points()["eot.predictions"]
    assert (point.value, point.attributes["eot.model"]) == (1, "fake-model")
