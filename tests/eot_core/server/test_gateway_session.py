"""One session with the gateway over a real socket: what it answers, what it refuses, and what it leaves behind."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

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
    InferenceStopped,
    ProtocolLimits,
    ServerError,
    SessionClosed,
    State,
)
from eot_core.server import Gateway, GatewayLimits, GatewaySession
from eot_core.transports.base import Answer, InferenceRequest, TransportSink


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway:
        yield gateway


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


# ---- requests that get no prediction


class Gate:
    """An answer that waits until the test lets it go."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, pcm: PcmArray) -> float:
        self.entered.set()
        assert self.open.wait(20)
        return 0.5


async def test_a_newer_request_supersedes_and_a_stopped_one_is_not_answered() -> None:
    gate = Gate()
    spec, model = scripted(gate)
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        await client.create()
        await client.audio(0.1)
        try:
            await client.start("r1")
            await eventually(gate.entered.is_set)
            await client.start("r2")
            assert (await client.next(InferenceStopped)).request_id == "r1"
            await client.stop("r2")
            assert (await client.next(InferenceStopped)).request_id == "r2"
            await client.stop("r2")
            await client.start("r3")
        finally:
            gate.open.set()
        assert (await client.next(EotPrediction)).request_id == "r3"
        assert not any(isinstance(event, EotPrediction) for event in client.events[:-1])
        assert len(model.asked) <= 3


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), -0.5, 1.5])
async def test_a_models_nonsense_is_not_passed_on(answer: float) -> None:
    spec, _ = scripted(answer)
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        await client.create()
        await client.audio(0.1)
        await client.start("r1")
        error = await client.next(ServerError)
        assert (error.message, error.code, error.request_id) == ("bad_probability", 500, "r1")
        assert client.protocol.state is State.OPEN


async def test_a_model_that_raises_costs_one_request_and_tells_nothing() -> None:
    def broken(pcm: PcmArray) -> float:
        raise ValueError("/secret/path/of/the/operator")

    spec, model = scripted(broken)
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        await client.create()
        await client.audio(0.1)
        await client.start("r1")
        error = await client.next(ServerError)
        assert (error.message, error.code, error.request_id) == ("model_error", 500, "r1")
        model.answer = lambda pcm: 0.5
        await client.start("r2")
        assert (await client.next(EotPrediction)).request_id == "r2"


class ReportingTransport:
    """Does nothing but hand over its sink."""

    sink: TransportSink
    closed = 0
    gone = False
    samples = 0

    def open(self, sink: TransportSink) -> None:
        self.sink = sink
        sink.on_ready(None)

    def push_audio(self, pcm: PcmArray, captured_at: float) -> None:
        self.samples += len(pcm)

    def start(self, request: InferenceRequest) -> None: ...
    def stop(self, request_id: str) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.gone = True


async def test_reasons_of_a_transport_become_codes_and_late_reports_are_nothing() -> None:
    spec, _ = scripted()
    transport = ReportingTransport()
    async with Gateway(spec, keys=KEYS, make_transport=lambda: transport) as gateway, connected(gateway) as client:
        await client.create()
        await client.audio(0.1)
        for reason, code in (("overloaded", 503), ("expired", 504), ("model_unavailable: pip install", 500)):
            await client.start(reason[:4])
            await client.next(InferenceStarted)
            transport.sink.on_request_failed(reason[:4], reason)
            transport.sink.on_request_failed(reason[:4], reason)
            error = await client.next(ServerError)
            assert (error.message, error.code) == (reason.split(":")[0], code)
        transport.sink.on_answer("never asked", Answer(0.5))
        await client.start("last")
        await client.next(InferenceStarted)
        transport.sink.on_answer("last", Answer(0.5, backchannel_probability=float("nan")))
        assert (await client.next(EotPrediction)).backchannel_probability == 0.0
        assert sum(isinstance(event, ServerError) for event in client.events) == 3


@pytest.mark.parametrize(("retryable", "code"), [(True, 503), (False, 500)])
async def test_a_transport_that_dies_ends_the_session(retryable: bool, code: int) -> None:
    spec, _ = scripted()
    transport = ReportingTransport()
    async with Gateway(spec, keys=KEYS, make_transport=lambda: transport) as gateway, connected(gateway) as client:
        await client.create()
        transport.sink.on_failed("gone", retryable=retryable)
        transport.sink.on_failed("gone", retryable=retryable)
        assert await client.closed() == 1011
        assert client.events[-1].code == code
        assert client.events[-1].request_id is None
    await eventually(lambda: gateway.sessions == 0)
    assert transport.closed >= 1
    assert transport.gone


async def test_the_transport_has_all_the_audio_at_a_request_and_at_the_end_of_a_turn() -> None:
    spec, _ = scripted()
    transport = ReportingTransport()
    async with Gateway(spec, keys=KEYS, make_transport=lambda: transport) as gateway, connected(gateway) as client:
        await client.create(48000)
        await client.audio(0.5, sample_rate=48000)
        await client.flush()
        await client.start("r1")
        await client.next(InferenceStarted)
        assert transport.samples == pytest.approx(8000, abs=1)
        await client.audio(0.5, sample_rate=48000)
        await client.start("r2")
        await client.next(InferenceStarted)
        assert transport.samples == pytest.approx(16000, abs=2)


# ---- hostile clients


def raw(**body: Any) -> bytes:
    return pb.ClientMessage(**body).SerializeToString()


@pytest.mark.parametrize(
    ("data", "close_code"),
    [
        (b"\xff\xff\xff", 1002),
        ("text", 1003),
        (raw(session_create=pb.SessionCreate(settings=pb.SessionSettings(sample_rate=16000))), 1002),
        (raw(input_audio=pb.InputAudio(audio=b"odd")), 1002),
        (raw(inference_start=pb.InferenceStart()), 1002),
    ],
)
async def test_a_violation_is_named_and_closes(gateway: Gateway, data: bytes | str, close_code: int) -> None:
    async with connected(gateway) as client:
        await client.create()
        await (client.socket.send_str(data) if isinstance(data, str) else client.socket.send_bytes(data))
        assert await client.closed() == close_code
        (error,) = [event for event in client.events if isinstance(event, ServerError)]
        assert (error.code, error.request_id) == (400, None)
        assert error.message
    await eventually(lambda: gateway.sessions == 0)


async def test_settings_that_cannot_be_served_are_named(gateway: Gateway) -> None:
    async with connected(gateway) as client:
        client.protocol.session_create(sample_rate=16000, created_at=time.time())
        await client.socket.send_bytes(raw(session_create=pb.SessionCreate()))
        assert await client.closed() == 1008
        assert "sample_rate must be from 8000" in client.events[-1].message


async def test_a_message_that_is_too_long_closes() -> None:
    spec, _ = scripted()
    limits = GatewayLimits(protocol=ProtocolLimits(max_message_bytes=1000))
    async with Gateway(spec, keys=KEYS, limits=limits) as gateway, connected(gateway) as client:
        await client.create()
        await client.socket.send_bytes(b"\0" * 2000)
        assert await client.closed() == 1009
        await eventually(lambda: gateway.sessions == 0)


async def test_too_many_requests_at_once_close() -> None:
    class Hoarder(GatewaySession):
        """Does not act on requests, so that they pile up."""

        def on_event(self, event: Any) -> None:
            if type(event).__name__ != "InferenceStartRequested":
                super().on_event(event)

    class HoardingGateway(Gateway):
        def make_session(self, request: Any, websocket: Any) -> GatewaySession:
            session = super().make_session(request, websocket)
            session.__class__ = Hoarder
            return session

    spec, _ = scripted()
    limits = GatewayLimits(protocol=ProtocolLimits(max_pending_requests=2))
    async with HoardingGateway(spec, keys=KEYS, limits=limits) as gateway, connected(gateway) as client:
        await client.create()
        for number in range(3):
            await client.start(f"r{number}")
        assert await client.closed() == 1008


async def test_messages_of_other_products_are_ignored(gateway: Gateway) -> None:
    async with connected(gateway) as client:
        await client.create()
        await client.socket.send_bytes(raw(buffer_start=pb.BufferStart()))
        await client.start("r1")
        await client.next(EotPrediction)


async def test_silence_ends_a_session_and_so_does_a_missing_beginning() -> None:
    spec, _ = scripted()
    clock = ManualClock()
    async with Gateway(spec, keys=KEYS, clock=clock) as gateway, connected(gateway) as mute, connected(gateway) as idle:
        await idle.create()
        assert gateway.sessions == 2
        clock.advance(10.5)
        mute.protocol.session_create(sample_rate=16000, created_at=time.time())
        assert await mute.closed() == 1008
        assert mute.events[-1].code == 408
        clock.advance(500.0)
        await idle.start("r1")
        await idle.next(EotPrediction)
        clock.advance(500.0)
        assert gateway.sessions == 1, "it was heard in between"
        clock.advance(101.0)
        assert await idle.closed() == 1001
    await eventually(lambda: gateway.sessions == 0)


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    class Talker(GatewaySession):
        def on_event(self, event: Any) -> None:
            super().on_event(event)
            for _ in range(10):
                self.send(b"\0" * 1_000_000)

    class TalkingGateway(Gateway):
        talker: GatewaySession

        def make_session(self, request: Any, websocket: Any) -> GatewaySession:
            self.talker = super().make_session(request, websocket)
            self.talker.__class__ = Talker
            return self.talker

    spec, _ = scripted()
    for limits in (GatewayLimits(max_outgoing=15), GatewayLimits(send_timeout=0.2, close_timeout=0.1)):
        async with TalkingGateway(spec, keys=KEYS, limits=limits) as gateway, connected(gateway) as client:
            await client.socket.send_bytes(client.protocol.session_create(sample_rate=16000, created_at=time.time()))
            for _ in range(3):
                await client.flush()
            await eventually(lambda gateway=gateway: gateway.sessions == 0)


async def test_a_bug_in_a_session_closes_that_session_only(gateway: Gateway) -> None:
    class Buggy(GatewaySession):
        def on_event(self, event: Any) -> None:
            raise KeyError("bug")

    original = gateway.make_session

    def make_session(request: Any, websocket: Any) -> GatewaySession:
        session = original(request, websocket)
        session.__class__ = Buggy
        return session

    async with connected(gateway) as healthy:
        await healthy.create()
        gateway.make_session = make_session  # type: ignore[method-assign]
        async with connected(gateway) as client:
            await client.socket.send_bytes(client.protocol.session_create(sample_rate=16000, created_at=time.time()))
            assert await client.closed() == 1011
            assert client.events[-1].message == "internal error"
        await healthy.start("r1")
        await healthy.next(EotPrediction)


async def test_a_dropped_connection_is_cleaned_up(gateway: Gateway) -> None:
    async with connected(gateway) as client:
        await client.create()
        await client.audio(0.1)
        await client.start("r1")
        assert client.socket._response.connection is not None
        client.socket._response.connection.transport.abort()
        await eventually(lambda: gateway.sessions == 0)
    assert +gateway.counts.ended == {"lost": 1}, "not its own wish: what a proxy that cuts calls looks like"


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


async def test_a_client_that_answers_no_ping_is_dropped() -> None:
    spec, _ = scripted()
    limits = GatewayLimits(heartbeat=0.05)
    async with Gateway(spec, keys=KEYS, limits=limits) as gateway, connected(gateway, autoping=False) as client:
        await client.socket.send_bytes(client.protocol.session_create(sample_rate=16000, created_at=time.time()))
        await eventually(lambda: gateway.sessions == 0)
        assert +gateway.counts.ended == {"lost": 1}


async def test_closing_a_client_whose_queue_is_full_cuts_it_off() -> None:
    sessions: list[GatewaySession] = []

    class Talker(GatewaySession):
        def on_event(self, event: Any) -> None:
            super().on_event(event)
            for _ in range(2):
                self.send(b"\0" * 30_000_000)
            self.close(1000, "enough")
            self.close(1000, "said twice")

    class TalkingGateway(Gateway):
        def make_session(self, request: Any, websocket: Any) -> GatewaySession:
            session = super().make_session(request, websocket)
            session.__class__ = Talker
            sessions.append(session)
            return session

    spec, _ = scripted()
    limits = GatewayLimits(max_outgoing=3)
    async with TalkingGateway(spec, keys=KEYS, limits=limits) as gateway, connected(gateway) as client:
        await client.socket.send_bytes(client.protocol.session_create(sample_rate=16000, created_at=time.time()))
        await eventually(lambda: gateway.sessions == 0)
    assert len(sessions) == 1
