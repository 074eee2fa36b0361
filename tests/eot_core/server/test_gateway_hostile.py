"""Clients that break the protocol, do not read, say nothing or vanish: each costs its own session, and no other."""

import time
from typing import Any

import pytest
from gateway_client import KEYS, connected, eventually, scripted
from livekit.protocol.agent_pb import agent_inference as pb

from eot_core.clock import ManualClock
from eot_core.protocol import (
    EotPrediction,
    ProtocolLimits,
    ServerError,
)
from eot_core.server import Gateway, GatewayLimits, GatewaySession


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
