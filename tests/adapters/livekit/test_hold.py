"""The answer to LiveKit is held until the turn is to end, where an operating point or own delays say when."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import LanguageCode

from adapters.livekit import TurnDetector, TurnDetectorStream
from adapters.livekit.heard import SILENCE_AT_PREDICTION
from eot_core import DetectorStream, EndpointingOptions, ModelSpec, OperatingPoint, Thresholds
from eot_core.clock import ManualClock
from eot_core.policy_table import MeasuredPolicy, ModelPolicies, PolicyTable
from eot_core.session import DetectorSession
from eot_core.settings import SessionOptions
from eot_core.transports.base import Answer, Calibration, InferenceRequest, Transport, TransportSink

NOISE = (np.random.default_rng(0).standard_normal(1_600) * 300).astype(np.int16)
FRAME = rtc.AudioFrame(NOISE.tobytes(), sample_rate=16_000, num_channels=1, samples_per_channel=1_600)


class Model:
    """Answers at once with the next of its probabilities; with the last one when they are used up."""

    def __init__(self, *probabilities: float) -> None:
        self.probabilities = list(probabilities)
        self.asked = 0
        self.sink: TransportSink | None = None

    def open(self, sink: TransportSink) -> None:
        self.sink = sink

    def start(self, request: InferenceRequest) -> None:
        self.asked += 1
        p = self.probabilities.pop(0) if len(self.probabilities) > 1 else self.probabilities[0]
        assert self.sink is not None
        self.sink.on_answer(request.request_id, Answer(p))

    def push_audio(self, pcm: Any, captured_at: float) -> None: ...
    def stop(self, request_id: str) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    async def aclose(self) -> None: ...


class Rig:
    def __init__(self, *probabilities: float, options: EndpointingOptions | None = None, **session: Any) -> None:
        self.clock = ManualClock(100.0)
        self.model = Model(*probabilities)
        spec = ModelSpec("smart-turn-v3.2", "t", "none", 2.0, lambda: None, 0.5, {"en": 0.5, "de": 0.9})  # type: ignore[arg-type, return-value]
        core = DetectorStream(
            DetectorSession(
                SessionOptions(None, spec, endpointing=options, **session),
                Thresholds(spec.name, Calibration(spec.thresholds, spec.default_threshold)),
            ),
            lambda route: self.transport(),
            clock=self.clock,
            provider="t",
            prediction_timeout=1.0,
        )
        self.stream = TurnDetectorStream(core)
        self.stream.push_audio(FRAME)

    def transport(self) -> Transport:
        return self.model

    def ended_after(self, future: asyncio.Future[Any], limit: float = 10.0) -> float:
        """Seconds from the true end of speech to the answer."""
        begin = self.clock.now() - SILENCE_AT_PREDICTION
        while not future.done() and self.clock.now() < begin + limit:
            self.clock.advance(0.001)
        assert future.done()
        return self.clock.now() - begin


async def test_without_an_operating_point_the_answer_is_not_held() -> None:
    rig = Rig(0.2)
    assert rig.stream.predict().result().end_of_turn_probability == 0.2
    assert await rig.stream.unlikely_threshold(None) == 0.5
    assert rig.stream.prediction_timeout == 1.0
    await rig.stream.aclose()


@pytest.mark.parametrize(("probability", "delay"), [(0.2, 1.7), (0.49, 1.7), (0.5, 0.4), (0.9, 0.4)])
async def test_step(probability: float, delay: float) -> None:
    rig = Rig(probability, options=EndpointingOptions(0.4, 1.7))
    future = rig.stream.predict()
    assert not future.done()
    assert rig.ended_after(future) == pytest.approx(delay, abs=0.002)
    event = future.result()
    assert event.end_of_turn_probability == probability  # the model's own
    reached = await rig.stream.unlikely_threshold(None)
    assert event.end_of_turn_probability >= reached  # what LiveKit compares: it commits now
    assert rig.stream.prediction_timeout == pytest.approx(2.7)
    await rig.stream.aclose()


async def test_a_delay_that_is_over_is_not_waited_for() -> None:
    rig = Rig(0.9, options=EndpointingOptions(0.1, 1.0))
    assert rig.stream.predict().done()
    await rig.stream.aclose()


@pytest.mark.parametrize("call", ["cancel_inference", "flush", "end_input", "predict"])
async def test_what_ends_the_pause_ends_the_hold(call: str) -> None:
    rig = Rig(0.2, options=EndpointingOptions(0.4, 1.7))
    future = rig.stream.predict()
    getattr(rig.stream, call)()
    assert future.result().end_of_turn_probability == 0.0
    assert await rig.stream.unlikely_threshold(None) == 0.5
    rig.clock.advance(5)
    await rig.stream.aclose()


async def test_close_ends_the_hold_with_what_the_model_said() -> None:
    rig = Rig(0.2, options=EndpointingOptions(0.4, 1.7))
    future = rig.stream.predict()
    await rig.stream.aclose()
    assert future.result().end_of_turn_probability == 0.2
    assert await rig.stream.unlikely_threshold(None) == 0.5
    rig.clock.advance(5)


async def test_the_language_becomes_known_while_it_is_held() -> None:
    rig = Rig(0.7, options=EndpointingOptions(1.0, 2.0))
    future = rig.stream.predict()
    assert await rig.stream.supports_language("de")  # type: ignore[arg-type]
    assert rig.ended_after(future) == pytest.approx(2.0, abs=0.002)  # 0.7 reaches the English threshold, not this one
    await rig.stream.aclose()


async def test_continuous_curve() -> None:
    options = EndpointingOptions(0.3, 2.3, exponent=2.0)
    for probability in (0.1, 0.5, 0.8):
        rig = Rig(probability, options=options)
        future = rig.stream.predict()
        assert rig.ended_after(future) == pytest.approx(0.3 + 2.0 * (1 - probability) ** 2, abs=0.002)
        assert future.result().end_of_turn_probability >= await rig.stream.unlikely_threshold(None)
        await rig.stream.aclose()


async def test_rescoring() -> None:
    """Doubtful at first, then sure: the turn ends sooner than the first score alone would have it."""
    options = EndpointingOptions(0.3, 2.3, exponent=1.0, rescore_every=0.4)
    alone = Rig(0.3, options=EndpointingOptions(0.3, 2.3, exponent=1.0))
    first = alone.ended_after(alone.stream.predict())
    rig = Rig(0.3, 0.99, options=options)
    future = rig.stream.predict()
    took = 0.0
    begin = rig.clock.now()
    while not future.done():
        rig.clock.advance(0.001)
        await asyncio.sleep(0)
        took = rig.clock.now() - begin + SILENCE_AT_PREDICTION
    assert took < first - 0.2
    assert rig.model.asked >= 2
    assert future.result().end_of_turn_probability == 0.3  # what LiveKit is told is the first score
    await alone.stream.aclose()
    await rig.stream.aclose()


async def test_a_language_with_another_curve_becomes_known_while_a_pause_is_scored_again() -> None:
    """The scores that there are count as they would have, had the language been known."""
    options = EndpointingOptions(0.3, 2.3, exponent=1.0, rescore_every=0.4)
    rig = Rig(0.3, options=options)
    future = rig.stream.predict()
    rig.clock.advance(0.2)
    await asyncio.sleep(0)
    rig.stream._core.endpointing = lambda language=None: EndpointingOptions(0.3, 1.3, exponent=1.0)  # type: ignore[method-assign]
    assert await rig.stream.supports_language("de")  # type: ignore[arg-type]
    while not future.done():
        rig.clock.advance(0.001)
    assert rig.clock.now() - 100.0 + SILENCE_AT_PREDICTION == pytest.approx(0.3 + 0.7, abs=0.002)
    await rig.stream.aclose()


async def test_operating_point_per_language() -> None:
    point = OperatingPoint(max_cutoff_rate=0.05)
    for language in ("en", "de"):
        wanted = point.resolve("smart-turn-v3.2", language)
        for p, delay in ((wanted.threshold, wanted.options.min_delay), (0.0, wanted.options.max_delay)):
            rig = Rig(p, operating_point=point)
            assert await rig.stream.supports_language(language)  # type: ignore[arg-type]
            future = rig.stream.predict()
            assert rig.ended_after(future) == pytest.approx(delay, abs=0.002)
            await rig.stream.aclose()


async def test_options_of_the_detector() -> None:
    detector = TurnDetector(operating_point="patient")
    assert detector.describe_options()["operating_point"] == "patient"
    stream = detector.stream()
    wanted = OperatingPoint("patient").resolve("turn-detector-v1-mini", "en")
    assert stream.prediction_timeout == pytest.approx(1.0 + wanted.options.max_delay)
    await stream.aclose()
    with pytest.raises(ValueError, match="operating_point must be one of"):
        TurnDetector(operating_point="fast")
    with pytest.raises(TypeError, match="endpointing must be EndpointingOptions"):
        TurnDetector(endpointing={"min_delay": 0.3})  # type: ignore[arg-type]


def late_german() -> OperatingPoint:
    """0.3 s in English, a second in German."""
    languages = {
        key: (MeasuredPolicy(0.5, EndpointingOptions(delay, 2.0), cutoff_rate=0.1, latency=0.5),)
        for key, delay in (("en", 0.3), ("de", 1.0))
    }
    table = PolicyTable({"smart-turn-v3.2": ModelPolicies(languages=languages, provenance="made up")})
    return OperatingPoint("balanced", calibration=table)


async def test_a_language_that_is_named_when_the_answer_was_given_has_livekit_wait() -> None:
    rig = Rig(0.9, operating_point=late_german())
    assert rig.ended_after(rig.stream.predict()) == pytest.approx(0.3, abs=0.002)
    assert await rig.stream.supports_language(LanguageCode("en")) is True
    called_off, asked = (asyncio.create_task(rig.stream.supports_language(LanguageCode("de"))) for _ in range(2))
    await asyncio.sleep(0)
    called_off.cancel()  # another transcript: LiveKit asks anew
    rig.clock.advance(0.65)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not asked.done()
    rig.clock.advance(0.1)
    assert await asked is True
    assert await rig.stream.unlikely_threshold(LanguageCode("de")) <= 0.9
    assert await rig.stream.supports_language(LanguageCode("de")) is True
    await rig.stream.aclose()


@pytest.mark.parametrize("call", ["cancel_inference", "flush", "predict", "end_input", "aclose"])
async def test_what_ends_the_pause_ends_that_wait_too(call: str) -> None:
    rig = Rig(0.9, operating_point=late_german())
    rig.ended_after(rig.stream.predict())
    asked = asyncio.create_task(rig.stream.supports_language(LanguageCode("de")))
    await asyncio.sleep(0)
    assert not asked.done()
    ended = getattr(rig.stream, call)()
    if call == "aclose":
        await ended
    assert await asked is True
    await rig.stream.aclose()
