"""What LiveKit requires of a streaming turn detector, asked the way LiveKit asks."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math

import numpy as np
import pytest
from livekit.agents import NOT_GIVEN, LanguageCode, inference
from livekit.agents.metrics import EOTInferenceMetrics
from livekit.agents.voice.turn import (
    TurnDetectionEvent,
    _resolve_endpointing,
    _StreamingTurnDetector,
    _StreamingTurnDetectorStream,
)
from livekit_kit import ScriptedModel, frame, noise, scripted

from adapters.livekit import TurnDetector
from eot_core import Prediction

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
    stream = TurnDetector(model=scripted(), prediction_timeout=0.7).stream()
    assert (stream.model, stream.provider) == ("scripted", "tests")
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


async def test_that_warning_names_the_language_that_was_named(caplog: pytest.LogCaptureFixture) -> None:
    """After a handoff LiveKit does not know it any more, and asks for None."""
    stream = TurnDetector().stream()
    for language in ("sv-SE", None, "multi", "sv"):
        assert await stream.supports_language(language if language is None else LanguageCode(language)) is False
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "'sv-SE'" in warning.getMessage()
    await stream.aclose()


async def test_whatever_livekits_own_can_be_asked_ours_can_be_asked_too() -> None:
    theirs, ours = inference.TurnDetector(version="v1-mini"), TurnDetector()
    stream, mine = theirs.stream(), ours.stream()
    for one, other in ((theirs, ours), (stream, mine)):
        assert {name for name in dir(one) if not name.startswith("_")} <= set(dir(other))
    await stream.aclose()
    await mine.aclose()


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

    class Slow(ScriptedModel):
        def predict(self, pcm: np.ndarray) -> float:
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)
            return 0.2

    stream = TurnDetector(model=scripted(Slow()), prediction_timeout=30.0).stream()
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


async def test_channels_are_averaged() -> None:
    heard: list[np.ndarray] = []

    class Listening(ScriptedModel):
        def predict(self, pcm: np.ndarray) -> float:
            heard.append(pcm)
            return 0.5

    stream = TurnDetector(model=scripted(Listening())).stream()
    left, right = noise(0.5, seed=1), noise(0.5, seed=2)
    stream.push_audio(frame(np.stack((left, right), axis=1).reshape(-1), 16_000, channels=2))
    await stream.predict()
    await stream.aclose()
    expected = (left.astype(float) + right) / 2
    assert np.abs(heard[-1] - expected).max() <= 1


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
