"""What somebody needs who runs a gateway: keys that change, an end that loses nothing, connections that cost little."""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest
from gateway_client import KEYS, SECRET, Client, Gate, connected, eventually, scripted
from operating import fetch, refused, root_of

from eot_core.clock import ManualClock
from eot_core.protocol import EotPrediction
from eot_core.server import Gateway, GatewayLimits
from eot_core.server.keys import KeyRing
from eot_core.vad import SileroVAD


async def test_keys_change_while_sessions_go_on() -> None:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        await client.create()
        gateway.replace_keys({"new": "another-secret-that-is-long-enough"})
        assert await refused(gateway) == 401
        assert await refused(gateway, "new", "another-secret-that-is-long-enough") == 101
        with pytest.raises(ValueError, match="keys must have"):
            gateway.replace_keys({})
        with pytest.raises(ValueError, match="api_secret"):
            gateway.replace_keys({"new": ""})
        assert await refused(gateway, "new", "another-secret-that-is-long-enough") == 101, "nothing has changed"
        await client.audio(0.1)
        await client.start("r1")
        await client.next(EotPrediction)


def test_a_key_ring_shows_no_key() -> None:
    ring = KeyRing(KEYS)
    assert (repr(ring), len(ring)) == ("<KeyRing of 1>", 1)


async def test_closing_answers_what_waits_first() -> None:
    gate = Gate()
    spec, _ = scripted(gate)
    gateway = Gateway(spec, keys=KEYS)
    await gateway.start()
    async with connected(gateway) as busy, connected(gateway) as idle:
        await idle.create()
        await busy.create()
        await busy.audio(0.1)
        await busy.start("r1")
        await eventually(gate.entered.is_set)
        closing = asyncio.create_task(gateway.aclose())
        assert await idle.closed() == 1001, "those that wait for nothing at once"
        gate.open.set()
        assert (await busy.next(EotPrediction)).request_id == "r1"
        assert await busy.closed() == 1001
        await closing
    assert +gateway.counts.requests == {("answered", ""): 1}
    assert +gateway.counts.ended == {"going_away": 2}


@pytest.mark.parametrize("ending", ["stopped", "failed", "no_audio"])
async def test_a_request_that_ends_otherwise_is_not_waited_for(ending: str) -> None:
    gate = Gate()
    spec, model = scripted(gate)
    gateway = Gateway(spec, keys=KEYS, limits=GatewayLimits(request_timeout=30.0))
    await gateway.start()
    async with connected(gateway) as client:
        await client.create()
        await client.audio(0.1)
        await client.start("r1")
        await eventually(gate.entered.is_set)
        closing = asyncio.create_task(gateway.aclose())
        if ending == "stopped":
            await client.stop("r1")
        elif ending == "failed":
            model.answer = lambda pcm: float("nan")
            gate.open.set()
            await client.start("r2")
        else:
            await client.start("r2")
            gate.open.set()
        assert await client.closed() == 1001
        gate.open.set()
        await closing


async def test_closing_does_not_wait_for_a_model_that_hangs() -> None:
    gate = Gate()
    spec, _ = scripted(gate)
    gateway = Gateway(spec, keys=KEYS, limits=GatewayLimits(request_timeout=0.2))
    await gateway.start()
    async with connected(gateway) as client:
        await client.create()
        await client.audio(0.1)
        await client.start("r1")
        await eventually(gate.entered.is_set)
        try:
            closing = asyncio.create_task(gateway.aclose())
            assert await client.closed() == 1001
            await asyncio.wait_for(closing, 20)
        finally:
            gate.open.set()
    assert gateway.counts.requests["abandoned", ""] == 1


async def test_draining_takes_no_new_sessions_and_ends_with_the_last() -> None:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway:
        await asyncio.wait_for(gateway.drain(600.0), 20)
        assert await refused(gateway) == 503
    gateway = Gateway(spec, keys=KEYS)
    async with gateway:
        assert (await fetch(gateway, "/healthz"))[0] == 200
        async with connected(gateway) as client:
            await client.create()
            draining = asyncio.create_task(gateway.drain(600.0))
            await eventually(lambda: gateway._places.draining)
            assert await refused(gateway) == 503
            status, _, text = await fetch(gateway, "/healthz")
            assert (status, "draining" in text) == (503, True)
            await client.audio(0.1)
            await client.start("r1")
            await client.next(EotPrediction)
            assert not draining.done()
        await asyncio.wait_for(draining, 20)
    assert +gateway.counts.refused == {"draining": 1}


async def test_draining_ends_with_its_grace() -> None:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        await client.create()
        await asyncio.wait_for(gateway.drain(0.05), 20)
        assert gateway.sessions == 1


async def test_a_vad_that_is_missing_is_one_warning_and_what_there_was_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec, model = scripted(pre_speech=0.25)
    missing = SileroVAD(weights=tmp_path / "silero_vad.onnx")
    async with Gateway(spec, keys=KEYS, vad=missing) as gateway, connected(gateway) as client:
        await talk(client, "r1")
        await talk(client, "r2")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "scripted scores turns" in record.getMessage()
    assert "silero_vad.onnx" in record.getMessage()
    assert [len(pcm) for pcm in model.asked] == [24_000, 24_000 + 4_000]


async def talk(client: Client, request_id: str) -> None:
    if request_id == "r1":
        await client.create()
    await client.audio(1.5)
    await client.start(request_id)
    await client.next(EotPrediction)
    await client.flush()


async def test_a_vad_is_not_even_loaded_for_a_rolling_window(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS, vad=SileroVAD(weights=tmp_path / "silero_vad.onnx")):
        assert caplog.records == []


async def test_a_vad_that_is_broken_is_an_error() -> None:
    class Broken(SileroVAD):
        def _load(self) -> Any:
            raise RuntimeError("no such instruction")

    spec, _ = scripted(pre_speech=0.25)
    with pytest.raises(RuntimeError, match="no such instruction"):
        await Gateway(spec, keys=KEYS, vad=Broken()).start()


async def test_a_connection_that_asks_for_nothing_is_closed() -> None:
    """It needs no key for that, and there are only so many descriptors."""
    spec, _ = scripted()
    clock = ManualClock()
    async with Gateway(spec, keys=KEYS, clock=clock) as gateway, connected(gateway) as call:
        await call.create()
        port = int(root_of(gateway).rsplit(":", 1)[1])
        mute, slow, polite = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        slow[1].write(b"GET /v1/eot HTTP/1.1\r\n")
        polite[1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await polite[0].readline()
        assert gateway._runner is not None
        assert gateway._runner.server is not None
        server = gateway._runner.server
        await eventually(lambda: len(server.connections) == 4)
        clock.advance(10.0)
        assert len(server.connections) == 4, "they have time to begin"
        clock.advance(10.0)
        await eventually(lambda: len(server.connections) == 2)
        for reader, _ in (mute, slow):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        polite[1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in (await polite[0].readuntil(b"200 OK"))
        await call.audio(0.1)
        await call.start("r1")
        await call.next(EotPrediction)
        for _, writer in (mute, slow, polite):
            writer.close()


async def test_whoever_is_refused_keeps_no_connection() -> None:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(root_of(gateway).rsplit(":", 1)[1]))
        writer.write(b"GET /v1/eot HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(20):
            assert b"401" in await reader.read(), "to its end"
        writer.close()


async def test_what_is_no_http_is_one_line_and_shows_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """Scanners send such things all day, and it may be a token that a proxy broke."""
    caplog.set_level(logging.DEBUG)
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway:
        for garbage in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", f"GET /v1/eot HTTP/1.1\r\n{SECRET * 300}: x\r\n".encode()):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(root_of(gateway).rsplit(":", 1)[1]))
            writer.write(garbage)
            async with asyncio.timeout(20):
                assert b" 400 " in await reader.read()
            writer.close()
    assert [r.getMessage() for r in caplog.records if "no HTTP" in r.getMessage()] == ["refused a client: no HTTP"] * 2
    assert not [r for r in caplog.records if r.exc_info or r.levelno > logging.INFO]
    assert SECRET not in caplog.text


async def test_a_bug_of_ours_is_still_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Gateway):
        async def handle_websocket(self, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
            raise ZeroDivisionError

    spec, _ = scripted()
    async with Broken(spec, keys=KEYS) as gateway:
        assert await refused(gateway) == 500
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [ZeroDivisionError]
