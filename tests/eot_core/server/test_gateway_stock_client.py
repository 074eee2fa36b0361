"""LiveKit's own detector, unmodified, against the gateway."""

import asyncio
import logging

import aiohttp
import numpy as np
import pytest
from gateway_client import KEY, KEYS, SECRET, eventually, scripted

from eot_core.models.base import ModelSpec
from eot_core.server import Gateway

inference = pytest.importorskip("livekit.agents.inference")
rtc = pytest.importorskip("livekit.rtc")
language = pytest.importorskip("livekit.agents.language")


def frames(seconds: float, sample_rate: int) -> list[object]:
    """50 ms each, as LiveKit's room input gives them."""
    size = sample_rate // 20
    tone = (8000 * np.sin(np.arange(round(seconds * sample_rate)) * 0.2)).astype(np.int16)
    return [
        rtc.AudioFrame(tone[at : at + size].tobytes(), sample_rate, 1, size)
        for at in range(0, len(tone) - size + 1, size)
    ]


async def talk(model: str | ModelSpec, sample_rate: int = 24000) -> tuple[list[float], float | None, list[object]]:
    """Two turns of stock client and gateway: probabilities, the threshold for German, and the metrics."""
    async with Gateway(model, keys=KEYS) as gateway, aiohttp.ClientSession() as http:
        detector = inference.TurnDetector(
            version="v1", base_url=gateway.url, api_key=KEY, api_secret=SECRET, http_session=http, local_fallback=False
        )
        metrics: list[object] = []
        detector.on("metrics_collected", metrics.append)
        stream = detector.stream()
        try:
            await eventually(lambda: gateway.sessions == 1 and stream._opts.thresholds.default_threshold is not None)
            probabilities = []
            for _ in range(2):
                for frame in frames(1.0, sample_rate):
                    stream.push_audio(frame)
                # The stock client sends a request past audio that is still queued.
                await asyncio.sleep(0.1)
                event = await asyncio.wait_for(stream.predict(), 20)
                probabilities.append(event.end_of_turn_probability)
                assert event.detection_delay is not None
                assert -1 < event.detection_delay < 20
                assert event.inference_duration is not None
                stream.flush("turn committed")
            threshold = await stream.unlikely_threshold(language.LanguageCode("de-DE"))
            assert not stream.is_fallback
            assert not stream.is_degraded
        finally:
            await stream.aclose()
        await eventually(lambda: gateway.sessions == 0)
        return probabilities, threshold, metrics


async def test_it_gets_predictions_and_thresholds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    spec, model = scripted(lambda pcm: 0.25 if len(model.asked) == 1 else 0.75)
    probabilities, threshold, metrics = await talk(spec)
    assert probabilities == [0.25, 0.75]
    assert threshold == 0.6
    assert len(metrics) == 2
    assert [len(pcm) > 12_000 for pcm in model.asked] == [True, True]
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert SECRET not in caplog.text


async def test_it_gets_predictions_of_a_real_model() -> None:
    gateway = Gateway(keys=KEYS)
    if not gateway.model.is_available():
        pytest.skip("smart-turn's weights come with pipecat-ai")
    probabilities, threshold, _ = await talk("smart-turn-v3.2", sample_rate=16000)
    assert threshold == 0.5
    assert all(0 < probability < 1 for probability in probabilities)


async def test_a_wrong_secret_is_what_it_takes_for_a_failed_cloud() -> None:
    spec, model = scripted()
    async with Gateway(spec, keys=KEYS) as gateway, aiohttp.ClientSession() as http:
        detector = inference.TurnDetector(
            version="v1",
            base_url=gateway.url,
            api_key=KEY,
            api_secret="wrong" * 8,
            http_session=http,
            local_fallback=False,
        )
        stream = detector.stream()
        await eventually(lambda: stream.is_degraded)
        await stream.aclose()
        assert gateway.sessions == 0
        assert model.asked == []
