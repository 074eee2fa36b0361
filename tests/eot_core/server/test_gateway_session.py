"""One session with the gateway over a real socket: what it answers."""

import asyncio
import time

import numpy as np
import pytest
from gateway_client import KEYS, connected, eventually, scripted
from livekit.protocol.agent_pb import agent_inference as pb

from eot_core.clock import ManualClock
from eot_core.models.base import PcmArray
from eot_core.protocol import (
    Backend,
    EotPrediction,
    InferenceStarted,
    SessionClosed,
)
from eot_core.server import Gateway
from eot_core.transports.base import Answer, InferenceRequest, TransportSink


async def test_a_session_from_beginning_to_end(gateway: Gateway) -> None:
    async with connected(gateway) as client:
        created = await client.create()
        assert created.calibration.thresholds == {"en": 0.4, "de": 0.6}
        assert created.calibration.default_threshold == 0.5
        assert created.calibration.default_backchannel_threshold is None
        await client.audio(0.5)
        await client.start("r1")
        prediction = await client.next(EotPrediction)
        assert (prediction.request_id, prediction.probability) == ("r1", 0.75)
        assert prediction.backend is Backend.MULTIMODAL
        assert client.events[-2] == InferenceStarted("r1", client.events[-2].created_at)
        await client.flush()
        await client.close()
        await client.next(SessionClosed)
        assert await client.closed() == 1000
    await eventually(lambda: gateway.sessions == 0)


async def test_the_model_sees_what_was_sent_before_the_request_and_no_more() -> None:
    spec, model = scripted()
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        await client.create()
        await client.audio(0.5)
        await client.start("r1")
        await client.audio(0.5)
        await client.next(EotPrediction)
        assert [len(pcm) for pcm in model.asked] == [8000]
        await client.audio(2.0)
        await client.start("r2")
        await client.next(EotPrediction)
        assert len(model.asked[1]) == 32000, "cut to the model's window"


@pytest.mark.parametrize("sample_rate", [8000, 24000, 44100, 48000])
async def test_audio_is_resampled_to_the_last_sample(sample_rate: int) -> None:
    spec, model = scripted()
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        await client.create(sample_rate)
        await client.audio(1.0, sample_rate=sample_rate)
        await client.start("r1")
        await client.next(EotPrediction)
        (pcm,) = model.asked
        assert abs(len(pcm) - 16000) <= 1
        tone = round(0.2 / (2 * np.pi) * sample_rate)
        assert abs(int(np.argmax(np.abs(np.fft.rfft(pcm)))) - tone) <= 1


async def test_a_flush_begins_a_turn() -> None:
    spec, model = scripted(pre_speech=0.25)
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        await client.create()
        await client.audio(1.0)
        await client.flush()
        await client.audio(0.5)
        await client.start("r1")
        await client.next(EotPrediction)
        assert [len(pcm) for pcm in model.asked] == [12000], "the new turn, and what is kept from before it"


async def test_stats_are_true() -> None:
    clock, wall = ManualClock(100.0), [1_000_010.0]

    class SlowTransport:
        """Answers when told to, after a quarter of a second on the clock."""

        def open(self, sink: TransportSink) -> None:
            self.sink = sink

        def start(self, request: InferenceRequest) -> None:
            clock.advance(0.25)
            wall[0] += 0.25
            self.sink.on_answer(request.request_id, Answer(0.5, inference_time=0.125, backchannel_probability=0.5))

        def push_audio(self, pcm: PcmArray, captured_at: float) -> None: ...
        def stop(self, request_id: str) -> None: ...
        def flush(self) -> None: ...
        def close(self) -> None: ...
        async def aclose(self) -> None: ...

    spec, _ = scripted()
    gateway = Gateway(spec, keys=KEYS, make_transport=SlowTransport, clock=clock, wall_clock=lambda: wall[0])
    gateway.authenticate = lambda request: "any"  # type: ignore[method-assign]  # the token's clock is the real one
    async with gateway, connected(gateway) as client:
        await client.create()
        await client.audio(3.0, at=1_000_000.0)
        await client.start("r1")
        prediction = await client.next(EotPrediction)
    stats = prediction.stats
    assert stats.earliest_client_created_at == pytest.approx(1_000_001.0, abs=0.02), "the window is the last 2 s"
    assert stats.latest_client_created_at == pytest.approx(1_000_002.95, abs=1e-6)
    assert stats.client_e2e_latency == pytest.approx(7.3, abs=1e-6)
    assert (stats.server_e2e_latency, stats.inference_duration) == (0.25, 0.125)
    assert stats.preprocessing_duration == 0.0, "the clock stood still meanwhile"
    assert prediction.backchannel_probability == 0.5
    assert prediction.created_at == 1_000_010.25


@pytest.mark.parametrize("offset", [-3600.0, 3600.0])
async def test_a_wrong_clock_at_the_client_gives_no_latency_rather_than_a_wrong_one(
    gateway: Gateway, offset: float
) -> None:
    async with connected(gateway) as client:
        await client.create()
        await client.audio(0.1, at=time.time() + offset)
        await client.start("r1")
        prediction = await client.next(EotPrediction)
        assert prediction.stats.client_e2e_latency is None


async def test_audio_without_times_is_dated_on_arrival(gateway: Gateway) -> None:
    async with connected(gateway) as client:
        await client.create()
        before = time.time()
        bare = pb.ClientMessage(input_audio=pb.InputAudio(audio=b"\1\0" * 1600))
        await client.socket.send_bytes(bare.SerializeToString())
        await client.start("r1")
        prediction = await client.next(EotPrediction)
        assert before - 0.001 <= prediction.stats.latest_client_created_at <= time.time()


async def test_no_audio_gives_the_default_and_no_models_word() -> None:
    spec, model = scripted()
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        await client.create()
        await client.start("r1")
        prediction = await client.next(EotPrediction)
        assert (prediction.probability, prediction.backend) == (1.0, Backend.UNKNOWN)
        assert model.asked == []


async def test_a_model_for_any_language_names_english() -> None:
    spec, _ = scripted(thresholds={}, default_threshold=0.3)
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        created = await client.create()
        assert created.calibration.thresholds == {"en": 0.3}


async def test_a_stock_close_without_session_close_is_fine(gateway: Gateway) -> None:
    async with connected(gateway) as client:
        await client.create()
        await client.socket.close()
        assert client.socket.close_code == 1000
    await eventually(lambda: gateway.sessions == 0)
    assert +gateway.counts.ended == {"client": 1}


async def test_many_sessions_at_once(gateway: Gateway) -> None:
    async def talk(number: int) -> float:
        async with connected(gateway) as client:
            await client.create()
            await client.audio(0.2)
            await client.start(f"r{number}")
            return float((await client.next(EotPrediction)).probability)

    assert await asyncio.gather(*(talk(n) for n in range(20))) == [0.75] * 20
    await eventually(lambda: gateway.sessions == 0)
