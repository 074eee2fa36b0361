"""What LiveKit requires of a streaming turn detector, asked the way LiveKit asks."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import threading

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import NOT_GIVEN, LanguageCode, inference
from livekit.agents.metrics import EOTInferenceMetrics
from livekit.agents.telemetry import traces
from livekit.agents.voice.agent_session import AgentSession
from livekit.agents.voice.turn import (
    TurnDetectionEvent,
    _resolve_endpointing,
    _StreamingTurnDetector,
    _StreamingTurnDetectorStream,
)
from livekit_kit import frame, noise

from adapters.livekit import TurnDetector, TurnDetectorStream
from eot_core import ModelSpec, Prediction

MEMBERS = (
    "model",
    "provider",
    "is_fallback",
    "prediction_timeout",
    "unlikely_threshold",
    "backchannel_threshold",
    "supports_language",
    "predict",
    "cancel_inference",
    "flush",
    "push_audio",
    "end_input",
    "aclose",
)


class Scripted:
    """A model that says what it is told to say."""

    def __init__(self, probability: float = 0.7) -> None:
        self.probability = probability

    def predict(self, pcm: np.ndarray) -> float:
        return self.probability


def spec(model: object | None = None) -> ModelSpec:
    loaded = model or Scripted()
    return ModelSpec(
        name="scripted", provider="tests", license="none", window=2.0, load=lambda: loaded, default_threshold=0.5
    )  # type: ignore[arg-type, return-value]


async def test_the_thirteen_members_are_real_and_every_signature_is_livekits() -> None:
    stream = TurnDetector().stream()
    for name in MEMBERS:
        ours = inspect.getattr_static(stream, name)  # what Python 3.12's isinstance looks at
        wanted = inspect.getattr_static(_StreamingTurnDetectorStream, name)
        assert isinstance(ours, property) == isinstance(wanted, property), name
        if not isinstance(wanted, property):
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(wanted).parameters), name
            assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(wanted), name
    protocol_members = {name for name in vars(_StreamingTurnDetectorStream) if not name.startswith("_")}
    assert protocol_members == set(MEMBERS)
    assert isinstance(stream, _StreamingTurnDetectorStream)
    await stream.aclose()


async def test_livekit_takes_it_for_a_streaming_detector_and_for_its_own() -> None:
    detector = TurnDetector()
    assert isinstance(detector, _StreamingTurnDetector)
    assert isinstance(detector, inference.TurnDetector)  # or AgentActivity collects no metrics
    defaults = _resolve_endpointing(turn_detection=detector)
    assert (defaults["min_delay"], defaults["max_delay"]) == (0.3, 2.5)


async def test_properties() -> None:
    stream = TurnDetector(model="smart-turn-v3.2", prediction_timeout=0.7).stream()
    assert (stream.model, stream.provider) == ("smart-turn-v3.2", "pipecat")
    assert stream.is_fallback is False
    assert stream.prediction_timeout == 0.7
    await stream.aclose()


async def test_a_prediction_is_a_new_event_with_finite_numbers() -> None:
    stream = TurnDetector().stream()
    stream.push_audio(frame(noise(1.5)))
    events = [await stream.predict() for _ in range(3)]
    assert len({id(event) for event in events}) == 3
    for event in events:
        assert isinstance(event, TurnDetectionEvent)
        assert event.type == "eot_prediction"
        assert 0.0 < event.end_of_turn_probability < 1.0
        assert event.detection_delay is not None
        assert math.isfinite(event.detection_delay)
        assert event.inference_duration is not None
        assert 0 < event.inference_duration <= event.detection_delay
        assert event.backchannel_probability is None
    assert events[0].end_of_turn_probability == events[1].end_of_turn_probability
    await stream.aclose()


@pytest.mark.parametrize("language", [None, NOT_GIVEN, LanguageCode("en-US"), "en"])
async def test_look_ups_understand_whatever_livekit_knows_of_the_language(language: LanguageCode | None) -> None:
    stream = TurnDetector().stream()
    assert await stream.unlikely_threshold(language) == 0.36
    assert await stream.backchannel_threshold(language) is None
    assert await stream.supports_language(language) is True
    await stream.aclose()


async def test_a_language_is_remembered_for_when_the_speech_to_text_says_multi() -> None:
    stream = TurnDetector().stream()
    assert await stream.unlikely_threshold(LanguageCode("de-AT")) == 0.245
    assert await stream.unlikely_threshold(LanguageCode("multi")) == 0.245
    assert await stream.unlikely_threshold(None) == 0.245
    await stream.aclose()


async def test_a_language_that_the_model_does_not_know_is_said_to_be_so_once(caplog: pytest.LogCaptureFixture) -> None:
    stream = TurnDetector(unlikely_threshold={"el": 0.4}).stream()
    caplog.clear()
    assert await stream.supports_language(LanguageCode("el")) is True
    for _ in range(2):
        assert await stream.supports_language(LanguageCode("sv-SE")) is False
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "'sv-SE'" in warnings[0].getMessage()
    await stream.aclose()


async def test_superseding_cancelling_flushing_and_closing_resolve_at_once_without_an_exception() -> None:
    stream = TurnDetector().stream()
    stream.push_audio(frame(noise(1.0)))
    first, second = stream.predict(), stream.predict()
    assert first.done()
    assert first.result().end_of_turn_probability == 0.0
    stream.cancel_inference()
    assert second.done()
    assert second.result().end_of_turn_probability == 0.0
    third = stream.predict()
    stream.flush("turn committed")
    assert third.done()
    assert third.result().end_of_turn_probability == 0.0
    fourth = stream.predict()
    await stream.aclose()
    assert fourth.done()
    assert fourth.result().end_of_turn_probability == 0.0
    late = stream.predict()
    assert late.done()
    assert late.result().end_of_turn_probability == 1.0


async def test_when_livekit_has_waited_long_enough_the_default_goes_out() -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(Scripted):
        def predict(self, pcm: np.ndarray) -> float:
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)
            return 0.2

    stream = TurnDetector(model=spec(Slow()), prediction_timeout=30.0).stream()
    stream.push_audio(frame(noise(1.0)))
    future = stream.predict()
    stream.cancel_inference(timed_out=True)
    assert future.done()
    assert future.result().end_of_turn_probability == 1.0
    release.set()
    await stream.aclose()


async def test_every_method_may_be_called_in_any_state_any_number_of_times() -> None:
    stream = TurnDetector().stream()
    for _ in range(2):
        stream.flush()
        stream.cancel_inference()
        stream.cancel_inference(timed_out=True)
        stream.end_input()
        stream.push_audio(frame(noise(0.1)))
        assert (await stream.predict()).end_of_turn_probability == 1.0
        await stream.aclose()
    assert await stream.unlikely_threshold(None) == 0.36
    assert stream.model == "turn-detector-v1-mini"


async def test_cancelling_livekits_future_drops_the_request() -> None:
    stream = TurnDetector().stream()
    stream.push_audio(frame(noise(1.0)))
    future = stream.predict()
    future.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert stream._core._session.pending is None
    assert (await stream.predict()).end_of_turn_probability > 0.0
    await stream.aclose()


async def test_no_audio_is_no_reason_to_wait() -> None:
    stream = TurnDetector().stream()
    assert (await stream.predict()).end_of_turn_probability == 1.0
    await stream.aclose()


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "audio",
        rtc.AudioFrame(b"", 16_000, 1, 0),
        frame(noise(0.1), 96_000),
        frame(noise(0.1), 4_000),
    ],
)
async def test_frames_that_make_no_sense_are_dropped_and_reported_once(
    bad: object, caplog: pytest.LogCaptureFixture
) -> None:
    stream = TurnDetector(model=spec()).stream()
    stream.push_audio(frame(noise(0.5)))
    for _ in range(3):
        stream.push_audio(bad)  # type: ignore[arg-type]
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) <= 1
    assert (await stream.predict()).end_of_turn_probability == 0.7
    await stream.aclose()


async def test_channels_are_averaged() -> None:
    heard: list[np.ndarray] = []

    class Listening(Scripted):
        def predict(self, pcm: np.ndarray) -> float:
            heard.append(pcm)
            return 0.5

    stream = TurnDetector(model=spec(Listening())).stream()
    left, right = noise(0.5, seed=1), noise(0.5, seed=2)
    stream.push_audio(frame(np.stack((left, right), axis=1).reshape(-1), 16_000, channels=2))
    await stream.predict()
    await stream.aclose()
    expected = (left.astype(float) + right) / 2
    assert np.abs(heard[-1] - expected).max() <= 1


async def test_a_broken_core_deafens_nobody(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """LiveKit would stop feeding audio for good after one exception."""
    stream = TurnDetector(model=spec()).stream()

    def broken(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    for method in ("push_audio", "predict", "cancel", "flush"):
        monkeypatch.setattr(stream._core, method, broken)
    for _ in range(2):
        stream.push_audio(frame(noise(0.1)))
        stream.cancel_inference()
        stream.flush()
        assert (await stream.predict()).end_of_turn_probability == 1.0
    assert len([record for record in caplog.records if record.exc_info]) == 4  # each reported once, with its traceback
    monkeypatch.undo()
    await stream.aclose()


async def test_metrics_for_answered_predictions_only() -> None:
    detector = TurnDetector()
    metrics: list[EOTInferenceMetrics] = []
    predictions: list[Prediction] = []
    detector.on("metrics_collected", metrics.append)
    detector.on("prediction", predictions.append)
    stream = detector.stream()
    await stream.predict()  # no audio: the default
    stream.push_audio(frame(noise(1.0)))
    stream.predict()  # superseded
    stream.predict()
    stream.cancel_inference()
    await stream.predict()
    await asyncio.sleep(0.1)
    await stream.aclose()
    assert [prediction.outcome for prediction in predictions] == ["default", "answered"]
    (only,) = metrics
    assert only.metadata is not None
    assert (only.metadata.model_name, only.metadata.model_provider) == ("turn-detector-v1-mini", "livekit")
    assert only.num_requests == 1
    assert 0 < only.prediction_duration <= only.total_duration
    assert only.detection_delay >= only.prediction_duration


async def test_events_know_their_names_and_a_listener_that_raises_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    detector = TurnDetector(model=spec())
    with pytest.raises(ValueError, match="event must be one of metrics_collected, prediction"):
        detector.on("eot_prediction", print)
    with pytest.raises(TypeError, match="callback must be callable"):
        detector.on("prediction", "print")  # type: ignore[arg-type]

    @detector.on("prediction")
    def wrong_type(_: Prediction) -> None:
        raise TypeError("which LiveKit's emitter lets through")

    stream = detector.stream()
    stream.push_audio(frame(noise(0.5)))
    assert (await stream.predict()).end_of_turn_probability == 0.7
    await stream.aclose()
    assert any(record.exc_info for record in caplog.records)


async def test_options_are_described_in_livekits_session_report() -> None:
    detector = TurnDetector(unlikely_threshold={"en": 0.4}, api_key="the-key", api_secret="the-secret")
    if not hasattr(traces, "DescribesOptions"):
        pytest.skip("this livekit-agents has no such report")
    options = traces._serialize_session_options(AgentSession(turn_handling={"turn_detection": detector})._opts)
    described = options["turn_handling"]["turn_detection"]
    assert described.startswith("adapters.livekit.detector.TurnDetector(")
    assert "model=turn-detector-v1-mini" in described
    assert '"en": 0.4' in described
    assert "the-key" not in described
    assert "the-secret" not in described
    assert "the-key" not in repr(detector)
    assert "the-secret" not in repr(detector)


async def test_neither_keys_nor_endpoints_are_shown() -> None:
    detector = TurnDetector(version="v1", base_url="https://gate.example/v1", api_key="the-key", api_secret="hush")
    for shown in (repr(detector), str(detector.describe_options())):
        for secret in ("gate.example", "the-key", "hush"):
            assert secret not in shown


async def test_one_warning_for_an_override_and_none_without(caplog: pytest.LogCaptureFixture) -> None:
    TurnDetector()
    assert not caplog.records
    TurnDetector(unlikely_threshold=0.4)
    assert len(caplog.records) == 1
    assert "unlikely_threshold" in caplog.records[0].getMessage()


async def test_one_warning_where_the_cloud_lacks_credentials(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEKIT_DEV_MODE", "1")
    assert TurnDetector().model == "turn-detector-v1-mini"
    (warning,) = caplog.records
    assert warning.name == "eot_core"
    assert "LIVEKIT_API_KEY and LIVEKIT_API_SECRET missing" in warning.getMessage()


async def test_the_detectors_own_look_ups_tell_what_streams_start_with() -> None:
    detector = TurnDetector(unlikely_threshold={"en": 0.5})
    assert await detector.unlikely_threshold(LanguageCode("en-GB")) == 0.5
    assert await detector.unlikely_threshold(LanguageCode("fr")) == 0.285
    assert await detector.backchannel_threshold(LanguageCode("en")) is None
    assert await detector.supports_language(LanguageCode("sv")) is False
    stream = detector.stream()
    assert isinstance(stream, TurnDetectorStream)
    await stream.aclose()


async def test_update_options_reaches_open_streams_and_an_empty_table_brings_the_calibration_back() -> None:
    detector = TurnDetector()
    stream = detector.stream()
    detector.update_options(unlikely_threshold={LanguageCode("pt-BR"): 0.6})
    assert await stream.unlikely_threshold(LanguageCode("pt-PT")) == 0.6
    detector.update_options(unlikely_threshold=NOT_GIVEN, backchannel_threshold=NOT_GIVEN)
    assert await stream.unlikely_threshold(LanguageCode("pt")) == 0.6
    detector.update_options(unlikely_threshold={})
    assert await stream.unlikely_threshold(LanguageCode("pt")) == 0.32
    await stream.aclose()


async def test_warm_up_loads_before_the_first_call() -> None:
    loads: list[int] = []

    def load() -> Scripted:
        loads.append(1)
        return Scripted()

    lazy = ModelSpec(name="lazy", provider="tests", license="none", window=1.0, load=load, default_threshold=0.5)
    detector = TurnDetector(model=lazy)
    assert not loads
    detector.warm_up()
    stream = detector.stream()
    stream.push_audio(frame(noise(0.5)))
    await stream.predict()
    await stream.aclose()
    assert loads == [1]


def test_a_stream_outlives_its_event_loop_without_raising(caplog: pytest.LogCaptureFixture) -> None:
    async def leave_open() -> TurnDetectorStream:
        stream = TurnDetector(model=spec()).stream()
        stream.push_audio(frame(noise(0.5)))
        await stream.predict()
        return stream

    stream = asyncio.run(leave_open())
    stream.push_audio(frame(noise(0.5)))
    stream.cancel_inference()
    future = stream.predict()
    assert future.done()
    assert future.result().end_of_turn_probability == 1.0
    stream.flush()
    stream.end_input()


async def test_a_core_that_cannot_close_is_reported_and_answers_all_the_same(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = TurnDetector(model=spec()).stream()

    async def broken() -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(stream._core, "aclose", broken)
    await stream.aclose()
    assert "aclose failed" in caplog.text
    assert (await stream.predict()).end_of_turn_probability == 1.0
    monkeypatch.undo()
    await stream.aclose()


async def test_a_request_that_is_dropped_from_within_counts_as_cancelled() -> None:
    stream = TurnDetector(model=spec()).stream()
    stream.push_audio(frame(noise(0.5)))
    future = stream.predict()
    (inner,) = stream._core._futures.values()
    inner.cancel()
    assert (await future).end_of_turn_probability == 0.0
    await stream.aclose()


async def test_a_listener_that_raises_keeps_no_other_event_back() -> None:
    detector = TurnDetector(model=spec())
    predictions: list[Prediction] = []

    def wrong_type(_: EOTInferenceMetrics) -> None:
        raise TypeError("which LiveKit's emitter lets through")

    detector.on("metrics_collected", wrong_type)
    detector.on("prediction", predictions.append)
    stream = detector.stream()
    stream.push_audio(frame(noise(0.5)))
    await stream.predict()
    assert len(predictions) == 1
    await stream.aclose()


@pytest.mark.parametrize("call", ["predict", "cancel_inference", "flush", "end_input", "aclose"])
def test_nothing_raises_when_the_loop_is_closed(call: str) -> None:
    closed = threading.Event()

    class Slow:
        def predict(self, pcm: np.ndarray) -> float:
            assert closed.wait(30)
            return 0.7

    async def talk() -> tuple[TurnDetectorStream, asyncio.Future[TurnDetectionEvent]]:
        stream = TurnDetector(model=spec(Slow())).stream()
        stream.push_audio(frame(noise(0.5), 16_000))
        return stream, stream.predict()

    async def close() -> None:
        await stream.aclose()

    stream, waiting = asyncio.run(talk())
    closed.set()
    if call == "aclose":
        asyncio.run(close())
    else:
        getattr(stream, call)()
    assert stream.predict().result().end_of_turn_probability == 1.0
    assert waiting.result().end_of_turn_probability in (0.0, 1.0)
