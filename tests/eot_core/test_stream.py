"""The asyncio shell: futures, timers, transports; nothing raises."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fakes import FakeModel, RecordingTransport, fake_spec

from eot_core import (
    BackchannelOpportunity,
    DetectorStream,
    FallbackOccurred,
    FallbackOptions,
    Outcome,
    Prediction,
    Thresholds,
    TurnDetector,
)
from eot_core.clock import ManualClock
from eot_core.effects import Route
from eot_core.session import DetectorSession
from eot_core.settings import SessionOptions
from eot_core.transports.base import Answer, Calibration, Transport

NOISE = (np.random.default_rng(0).standard_normal(1_600) * 300).astype(np.int16)
CALIBRATION = Calibration({"en": 0.56}, 0.56, {"en": 0.4}, 0.4)


class Rig:
    """A stream whose transports and clock are the test's."""

    def __init__(self, *, cloud: bool = False, make: Callable[[Route], Transport] | None = None) -> None:
        self.clock = ManualClock()
        self.transports: dict[Route, list[RecordingTransport]] = {Route.CLOUD: [], Route.LOCAL: []}
        spec = fake_spec()
        calibration = None if cloud else Calibration(spec.thresholds, spec.default_threshold)
        session = DetectorSession(
            SessionOptions("cloud-model" if cloud else None, spec, 1.0, FallbackOptions()),
            Thresholds("cloud-model" if cloud else spec.name, calibration, backchannels=cloud),
        )
        self.stream = DetectorStream(
            session, make or self.make, clock=self.clock, provider="tests", prediction_timeout=1.0
        )

    def make(self, route: Route) -> Transport:
        transport = RecordingTransport()
        self.transports[route].append(transport)
        return transport

    def sink(self, route: Route = Route.LOCAL, index: int = -1) -> Any:
        return self.transports[route][index].sink


async def test_answer_reaches_the_future_and_the_listeners() -> None:
    rig = Rig()
    seen: list[Prediction] = []
    rig.stream.on("prediction", seen.append)
    rig.stream.push_audio(NOISE)
    future = rig.stream.predict()
    request = rig.transports[Route.LOCAL][0].requests[0]
    rig.sink().on_answer(request.request_id, Answer(0.8))
    assert future.result().probability == 0.8
    assert seen == [future.result()]
    assert rig.stream.unlikely_threshold("en") == 0.5
    assert rig.stream.supports_language("sv")
    assert rig.stream.backchannel_threshold() is None
    assert rig.stream.thresholds.model == rig.stream.model == "fake-model"
    assert (rig.stream.provider, rig.stream.prediction_timeout, rig.stream.is_fallback) == ("tests", 1.0, False)
    await rig.stream.aclose()


async def test_a_language_that_the_model_was_not_made_for_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    spec = fake_spec(thresholds={"en": 0.5}, judges_any_language=True)
    session = DetectorSession(
        SessionOptions(None, spec, 1.0, FallbackOptions()), Thresholds(spec.name, Calibration({"en": 0.5}, 0.5))
    )
    stream = DetectorStream(session, Rig().make, clock=ManualClock(), provider="tests", prediction_timeout=1.0)
    for tag in ("en", None, "sv-SE", "sv", "multi"):
        assert stream.supports_language(tag)
    (record,) = caplog.records
    assert "fake-model was not made for the language 'sv'" in record.getMessage()
    await stream.aclose()


async def test_deadline_comes_from_the_injected_clock() -> None:
    rig = Rig()
    rig.stream.push_audio(NOISE)
    future = rig.stream.predict()
    rig.clock.advance(0.999)
    assert not future.done()
    rig.clock.advance(0.002)
    assert future.result().reason == "timeout"
    await rig.stream.aclose()


async def test_default_at_once_without_audio() -> None:
    rig = Rig()
    future = rig.stream.predict()
    assert future.result().reason == "no_audio"
    await rig.stream.aclose()


async def test_cancelling_the_future_drops_the_request() -> None:
    rig = Rig()
    rig.stream.push_audio(NOISE)
    future = rig.stream.predict()
    future.cancel()
    await asyncio.sleep(0)
    assert rig.transports[Route.LOCAL][0].calls[-1] == "stop"
    rig.sink().on_answer(rig.transports[Route.LOCAL][0].requests[0].request_id, Answer(0.8))
    await rig.stream.aclose()


async def test_two_waiters_cancelled_and_timed_out() -> None:
    rig = Rig()
    rig.stream.push_audio(NOISE)
    first = rig.stream.predict()
    second = rig.stream.predict()
    assert first.result().outcome is Outcome.SUPERSEDED
    rig.stream.cancel()
    assert second.result().outcome is Outcome.CANCELLED
    third = rig.stream.predict()
    rig.stream.time_out()
    assert third.result().reason == "timeout"
    fourth = rig.stream.predict()
    rig.stream.flush("turn committed")
    assert fourth.result().reason == "turn committed"
    fifth = rig.stream.predict()
    await rig.stream.aclose()
    assert fifth.result().reason == "closed"
    assert rig.stream.closed
    assert rig.stream.predict().result().reason == "closed"
    await rig.stream.aclose()


@pytest.mark.parametrize(
    ("pcm", "rate", "message"),
    [
        (None, 16_000, "pcm must be"),
        ("abc", 16_000, "pcm must be"),
        (np.zeros((2, 100), dtype=np.int16), 16_000, "mono"),
        (np.zeros(100, dtype=np.int32), 16_000, "int32"),
        (NOISE, 0, "sample_rate"),
        (NOISE, 96_000, "sample_rate"),
        (NOISE, None, "sample_rate"),
        (NOISE, float("nan"), "sample_rate"),
    ],
)
async def test_audio_that_cannot_be_understood_is_reported_once(
    pcm: Any, rate: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig()
    with caplog.at_level(logging.ERROR, "eot_core"):
        for _ in range(3):
            rig.stream.push_audio(pcm, rate)
    assert len(caplog.records) == 1
    assert message in caplog.text
    assert rig.stream.predict().result().reason == "no_audio"
    await rig.stream.aclose()


@pytest.mark.parametrize(
    "pcm",
    [
        b"",
        b"\x01",
        b"\x01\x02\x03",
        np.zeros(0, dtype=np.int16),
        np.full(400, np.nan, dtype=np.float32),
        np.full(400, np.inf),
        np.zeros(30 * 16_000, dtype=np.int16),
    ],
)
async def test_odd_audio_harms_nobody(pcm: Any) -> None:
    rig = Rig()
    rig.stream.push_audio(pcm)
    rig.stream.push_audio(NOISE)
    future = rig.stream.predict()
    rig.sink().on_answer(rig.transports[Route.LOCAL][0].requests[0].request_id, Answer(0.8))
    assert future.result().probability == 0.8
    await rig.stream.aclose()


async def test_fallback_is_seen_by_stream_and_detector_listeners() -> None:
    rig = Rig(cloud=True)
    seen: list[object] = []
    rig.stream.on("fallback", seen.append)
    rig.stream.on("backchannel_opportunity", seen.append)
    rig.sink(Route.CLOUD).on_ready(CALIBRATION)
    rig.stream.push_audio(NOISE, 16_000)
    first = rig.stream.predict()
    cloud = rig.transports[Route.CLOUD][0]
    rig.sink(Route.CLOUD).on_answer(cloud.requests[0].request_id, Answer(0.2, backchannel_probability=0.9))
    assert first.result().source == "cloud"
    rig.stream.flush()
    assert cloud.calls == ["open", "audio", "start", "flush"]
    second = rig.stream.predict()
    rig.sink(Route.CLOUD).on_failed("http_503", retryable=True)
    assert cloud.closed
    local = rig.transports[Route.LOCAL][0]
    rig.sink().on_answer(local.requests[0].request_id, Answer(0.3))
    assert second.result().source == "local"
    assert rig.stream.is_fallback
    assert seen == [
        BackchannelOpportunity(0.9, 0.4, 0.2, 0.56, None),
        FallbackOccurred("cloud-model", "fake-model", "http_503"),
    ]
    cloud.sink.on_answer(local.requests[0].request_id, Answer(0.9))  # type: ignore[union-attr]
    cloud.sink.on_failed("again", retryable=True)  # type: ignore[union-attr]
    cloud.sink.on_ready(None)  # type: ignore[union-attr]
    cloud.sink.on_request_failed("x", "y")  # type: ignore[union-attr]
    assert len(seen) == 2
    rig.stream.off("fallback", seen.append)
    await rig.stream.aclose()


class Raising(RecordingTransport):
    """Raises in one method."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method

    def __getattribute__(self, name: str) -> Any:
        if name in ("open", "start", "stop", "close", "push_audio", "flush") and name == self.method:
            raise RuntimeError("broken transport")
        return super().__getattribute__(name)

    async def aclose(self) -> None:
        if self.method == "aclose":
            raise RuntimeError("broken transport")


@pytest.mark.parametrize("method", ["open", "start", "stop", "push_audio", "flush", "close", "aclose"])
@pytest.mark.parametrize("cloud", [False, True])
async def test_a_transport_that_raises_is_one_that_failed(
    method: str, cloud: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(cloud=cloud, make=lambda route: Raising(method))
    with caplog.at_level(logging.ERROR, "eot_core"):
        rig.stream.push_audio(NOISE)
        first = rig.stream.predict()
        rig.stream.cancel()
        rig.stream.flush()
        second = rig.stream.predict()
        rig.clock.advance(2)
        await rig.stream.aclose()
    assert first.done()
    assert second.result().outcome in (Outcome.DEFAULT, Outcome.CANCELLED)
    if cloud or method not in ("push_audio", "flush"):  # the core keeps these from a local model
        assert "transport" in caplog.text


async def test_a_transport_that_cannot_be_made(caplog: pytest.LogCaptureFixture) -> None:
    def make(route: Route) -> Transport:
        raise ImportError("no such thing")

    with caplog.at_level(logging.ERROR, "eot_core"):
        rig = Rig(cloud=True, make=make)
    rig.stream.push_audio(NOISE)
    assert rig.stream.predict().result().reason == "transport_error: ImportError"
    await rig.stream.aclose()


async def test_update_options() -> None:
    rig = Rig(cloud=True)
    rig.sink(Route.CLOUD).on_ready(CALIBRATION)
    rig.stream.update_options(unlikely_threshold={"de": 0.9}, backchannel_threshold=0.8)
    assert rig.stream.unlikely_threshold("de") == 0.9
    assert rig.stream.backchannel_threshold("en") == 0.8
    with pytest.raises(ValueError, match="unlikely_threshold must be between 0 and 1"):
        rig.stream.update_options(unlikely_threshold=7)
    rig.stream.update_options()
    assert rig.stream.unlikely_threshold("de") == 0.9
    await rig.stream.aclose()


# -- on a real scheduler ---------------------------------------------------------------------------------------------


async def test_update_options_changes_all_or_nothing() -> None:
    rig = Rig(cloud=True)
    with pytest.raises(ValueError, match="backchannel_threshold"):
        rig.stream.update_options(unlikely_threshold=0.25, backchannel_threshold=2.0)
    assert rig.stream.thresholds.overrides is None
    await rig.stream.aclose()


@pytest.mark.parametrize("call", ["predict", "cancel", "flush", "time_out", "push_audio", "aclose"])
def test_nothing_raises_when_the_loop_is_closed(call: str) -> None:
    """A thread that outlives its event loop, or a destructor, may still hold the stream."""
    model = FakeModel(hang=True)

    async def talk() -> tuple[DetectorStream, asyncio.Future[Prediction]]:
        stream = TurnDetector(model=fake_spec(model)).stream()
        stream.push_audio(NOISE)
        return stream, stream.predict()

    async def close() -> None:
        await stream.aclose()

    stream, waiting = asyncio.run(talk())
    model.gate.set()
    match call:
        case "push_audio":
            stream.push_audio(NOISE)
        case "aclose":
            asyncio.run(close())
        case _:
            getattr(stream, call)()
    late = stream.predict()
    assert (late.result().outcome, late.result().reason) == (Outcome.DEFAULT, "closed")
    assert waiting.result().outcome in (Outcome.CANCELLED, Outcome.SUPERSEDED, Outcome.DEFAULT)
    asyncio.run(close())
    assert stream.closed


async def test_metrics_that_cannot_be_recorded_harm_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: object) -> None:
        raise RuntimeError("the exporter is gone")

    monkeypatch.setattr("eot_core.telemetry.record", broken)
    rig = Rig()
    seen: list[Prediction] = []
    rig.stream.on("prediction", seen.append)
    assert rig.stream.predict().result().reason == "no_audio"
    assert rig.stream.predict().result().reason == "no_audio"
    assert len(seen) == 2
    assert [record.message for record in caplog.records] == ["metrics could not be recorded (reported once)"]
    await rig.stream.aclose()


async def test_frames_of_the_same_tick_are_in_the_snapshot() -> None:
    model = FakeModel()
    stream = TurnDetector(model=fake_spec(model)).stream()
    stream.push_audio(np.full(100, 7, dtype=np.int16))
    prediction = await stream.predict()
    assert prediction.probability == 0.7
    assert model.calls[-1].tolist() == [7] * 100
    await stream.aclose()


async def test_a_model_that_throws() -> None:
    stream = TurnDetector(model=fake_spec(FakeModel(error=ValueError("secret audio")))).stream()
    stream.push_audio(NOISE)
    prediction = await stream.predict()
    assert (prediction.probability, prediction.reason) == (1.0, "model_error: ValueError")
    await stream.aclose()


async def test_a_model_that_hangs() -> None:
    clock = ManualClock()
    model = FakeModel(hang=True)
    stream = TurnDetector(model=fake_spec(model), clock=clock).stream()
    stream.push_audio(NOISE)
    future = stream.predict()
    clock.advance(1.0)
    assert (await future).reason == "timeout"
    model.gate.set()
    await stream.aclose()


async def test_superseded_predictions_do_not_run() -> None:
    """Eight requests in one tick: stock runs eight native calls."""
    model = FakeModel(hang=True)
    detector = TurnDetector(model=fake_spec(model))
    detector_stream = detector.stream()
    detector_stream.push_audio(NOISE)
    futures = [detector_stream.predict() for _ in range(8)]
    model.gate.set()
    results = await asyncio.gather(*futures)
    assert [r.outcome for r in results[:-1]] == [Outcome.SUPERSEDED] * 7
    assert results[-1].outcome is Outcome.ANSWERED
    asked = [call for call in model.calls if call.any()]  # the warm-up is silence
    assert len(asked) <= 2  # the last, and at most one that had begun
    await detector_stream.aclose()


async def test_a_model_that_cannot_be_loaded_is_tried_again_next_turn() -> None:
    from eot_core.models.base import ModelNotInstalledError

    attempts = 0

    def load() -> FakeModel:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ModelNotInstalledError("pip install something")
        return FakeModel(0.4)

    stream = TurnDetector(model=fake_spec(load=load)).stream()
    stream.push_audio(NOISE)
    reasons = []
    for _ in range(4):
        prediction = await stream.predict()
        reasons.append(prediction.reason)
        stream.flush()
        stream.push_audio(NOISE)
    assert reasons[-1] is None
    assert "pip install something" in str(reasons[0])
    await stream.aclose()


async def test_no_local_model_to_be_had_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    from eot_core.models.base import ModelNotInstalledError

    def load() -> FakeModel:
        raise ModelNotInstalledError("pip install something")

    with caplog.at_level(logging.INFO, "eot_core"):
        stream = TurnDetector(model=fake_spec(load=load)).stream()
        for _ in range(3):
            stream.push_audio(NOISE)
            assert (await stream.predict()).probability == 1.0
            stream.flush()
        await stream.aclose()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "pip install something" in warnings[0]
