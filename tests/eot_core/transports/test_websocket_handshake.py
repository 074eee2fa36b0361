"""The WebSocket transport that cannot connect: what it reports, and that nothing is left of the attempt."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import pytest
from far_end import CLOSE, Connection, FarEnd, frame
from websocket_rig import (
    SECRET,
    Left,
    Sink,
    close_late,
    eventually,
    make,
    make_authority,
    opened,
    request,
    say_late,
    tone,
)

from eot_core.clock import ManualClock


async def test_nobody_listens_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with opened(f"ws://127.0.0.1:{port}") as (_, sink):
            await eventually(lambda: sink.failures)
    assert sink.failures == [("connect_error", True)]


async def test_a_name_that_does_not_exist() -> None:
    async with opened("ws://gateway.invalid/v1") as (_, sink):
        await eventually(lambda: sink.failures)
    assert sink.failures == [("dns_error", True)]


async def test_tls_towards_a_far_end_that_speaks_none() -> None:
    async def plain(connection: Connection) -> None:
        await connection.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await connection.gone.wait()

    async with FarEnd(plain, read_request=False) as far, opened(far.url.replace("ws", "wss", 1)) as (_, sink):
        await eventually(lambda: sink.failures)
    assert sink.failures == [("tls_error", False)]


async def test_a_certificate_of_another_host(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    async with FarEnd(close_late(1000), tls=authority.server()) as far:
        url = far.url.replace("127.0.0.1", "127.0.0.2")
        async with opened(url, ssl=authority.client()) as (_, sink):
            await eventually(lambda: sink.failures)
    # 127.0.0.2 is this host too on Linux; elsewhere nobody listens there.
    assert sink.failures[0] in {("tls_error", False), ("connect_error", True)}


@pytest.mark.parametrize("says_goodbye", [False, True])
async def test_tls_closed_in_the_same_breath_as_the_upgrade(
    says_goodbye: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The transport is closing before the first message can be written to it."""

    async def leave(connection: Connection) -> None:
        await connection.accept()
        if says_goodbye:
            await connection.raw(frame(CLOSE, b"\x03\xe8"))
        connection.writer.close()

    authority = make_authority(tmp_path)
    async with FarEnd(leave, tls=authority.server()) as far, opened(far.url, ssl=authority.client()) as (_, sink):
        await eventually(lambda: sink.failures)
    # aiohttp may have lost the close frame with the connection.
    reason, retryable = sink.failures[0]
    assert reason in {"connection_closed_1000", "connection_closed_1006", "connection_lost"}
    assert retryable
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("upgraded", [False, True])
async def test_a_handshake_that_hangs_ends_with_its_socket(upgraded: bool) -> None:
    clock = ManualClock()

    async def hang(connection: Connection) -> None:
        if upgraded:
            await connection.accept()
            while True:
                await connection.receive()
        await connection.reader.read()

    async with FarEnd(hang) as far:
        async with opened(far.url, clock=clock, connect_timeout=7.0) as (transport, sink):
            await far.arrived.wait()
            clock.advance(6.9)
            await asyncio.sleep(0.05)
            assert sink.failures == []
            assert not far.connections[0].gone.is_set()
            clock.advance(0.2)
            assert sink.failures == [("connect_timeout", True)]
            await asyncio.wait_for(far.connections[0].gone.wait(), 20)
            await eventually(lambda: not [t for t in asyncio.all_tasks() if t.get_name().startswith("eot")])
            clock.advance(60)
            transport.push_audio(tone(0.1), 1.0)
        assert sink.failures == [("connect_timeout", True)]


async def test_the_time_out_is_over_with_session_created() -> None:
    clock = ManualClock()
    async with FarEnd(say_late()) as far, opened(far.url, clock=clock) as (transport, sink):
        await eventually(lambda: sink.ready)
        clock.advance(3600)
        transport.push_audio(tone(0.1), 1.0)
        transport.start(request("a"))
        await eventually(lambda: sink.answers)
        assert sink.failures == []


@pytest.mark.parametrize("upgraded", [False, True])
async def test_close_in_the_handshake_leaves_nothing(upgraded: bool) -> None:
    async def hang(connection: Connection) -> None:
        if upgraded:
            await connection.accept()
            while True:
                await connection.receive()
        await connection.reader.read()

    async with FarEnd(hang) as far:
        before = Left.now()
        transport, sink = make(far.url)
        transport.open(sink)
        await far.arrived.wait()
        if upgraded:
            await eventually(lambda: far.connections[0].received)
        transport.close()
        await transport.aclose()
        await asyncio.wait_for(far.connections[0].gone.wait(), 20)
        assert sink == Sink()
        await eventually(lambda: not before.more())


async def test_headers_or_a_session_that_cannot_be_had_are_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise LookupError("no job")

    async with FarEnd(say_late()) as far:
        async with opened(far.url, http_session=broken) as (_, sink):
            await eventually(lambda: sink.failures)
        assert sink.failures == [("transport_error: LookupError", False)]
        async with opened(far.url, headers={"X-Bad": "a\r\nb"}) as (_, sink):
            await eventually(lambda: sink.failures)
        assert sink.failures == [("transport_error: ValueError", False)]
    assert SECRET not in caplog.text


async def test_a_url_that_no_host_can_have() -> None:
    async with opened("ws://gate..way/v1") as (_, sink):
        await eventually(lambda: sink.failures)
    assert sink.failures == [("invalid_url", False)]


async def test_a_redirect_is_not_followed() -> None:
    """aiohttp would take all headers but Authorization along, to wherever the far end says."""
    asked_elsewhere = []

    async def elsewhere(connection: Connection) -> None:
        asked_elsewhere.append(True)
        await connection.accept()

    async with FarEnd(elsewhere) as other:

        async def redirect(connection: Connection) -> None:
            location = other.url.replace("ws", "http", 1) + "/eot"
            head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            await connection.raw(head.encode())

        async with FarEnd(redirect) as far, opened(far.url) as (_, sink):
            await eventually(lambda: sink.failures)
            assert sink.failures == [("http_302", False)]
    assert not asked_elsewhere
