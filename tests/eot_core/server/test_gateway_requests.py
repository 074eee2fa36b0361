"""Requests of a session with the gateway that get no prediction, and what the model's transport says of them."""

import pytest
from gateway_client import KEYS, Gate, connected, eventually, scripted

from eot_core.models.base import PcmArray
from eot_core.protocol import (
    EotPrediction,
    InferenceStarted,
    InferenceStopped,
    ServerError,
    State,
)
from eot_core.server import Gateway
from eot_core.transports.base import Answer, InferenceRequest, TransportSink


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
        for reason, code in (("overloaded", 503), ("expired", 503), ("model_unavailable: pip install", 500)):
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
