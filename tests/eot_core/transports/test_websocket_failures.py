"""The WebSocket transport when the far end misbehaves: one report, with a reason, and nothing left behind."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from far_end import BINARY, CLOSE, TEXT, Connection, FarEnd, closed, created, error, frame, prediction
from websocket_rig import SECRET, Left, Sink, eventually, make, make_authority, opened, request, tone

from eot_core.clock import ManualClock

Script = Callable[[Connection], Awaitable[None]]


async def open_session(connection: Connection) -> None:
    """Up to and with ``session_created``."""
    await connection.accept()
    await connection.until("session_create")
    await connection.send(created())


def http(status: int) -> Script:
    return lambda connection: connection.reply(status)


def close_early(code: int) -> Script:
    async def script(connection: Connection) -> None:
        await connection.accept()
        await connection.until("session_create")
        await connection.close(code)

    return script


def close_late(code: int) -> Script:
    async def script(connection: Connection) -> None:
        await open_session(connection)
        await connection.until("input_audio")
        await connection.close(code)

    return script


def say_early(*messages: object) -> Script:
    """Instead of ``session_created``."""

    async def script(connection: Connection) -> None:
        await connection.accept()
        await connection.until("session_create")
        for message in messages:
            await connection.send(message)  # type: ignore[arg-type]
        await connection.serve()

    return script


def say_late(*messages: object) -> Script:
    async def script(connection: Connection) -> None:
        await open_session(connection)
        for message in messages:
            await connection.send(message)  # type: ignore[arg-type]
        await connection.serve()

    return script


def write_late(data: bytes) -> Script:
    async def script(connection: Connection) -> None:
        await open_session(connection)
        await connection.raw(data)
        await asyncio.Event().wait()

    return script


async def garbage_for_http(connection: Connection) -> None:
    await connection.raw(b"\x16\x03\x01\x00\xa5 no HTTP at all \r\n\r\n")


async def reset_in_mid_frame(connection: Connection) -> None:
    await open_session(connection)
    await connection.raw(frame(BINARY, bytes(1000))[:500])
    connection.abort()


async def reset_after_the_upgrade(connection: Connection) -> None:
    await connection.accept()
    connection.abort()


async def reset_before_the_upgrade(connection: Connection) -> None:
    connection.abort()


async def hang_up_without_a_close_frame(connection: Connection) -> None:
    await open_session(connection)
    await connection.until("input_audio")
    connection.writer.close()


FAILURES = [
    ("http 401", http(401), {("http_401", False)}),
    ("http 403", http(403), {("http_403", False)}),
    ("http 404", http(404), {("http_404", False)}),
    ("http 408", http(408), {("http_408", True)}),
    ("http 429", http(429), {("http_429", True)}),
    ("http 500", http(500), {("http_500", True)}),
    ("http 503", http(503), {("http_503", True)}),
    ("http 200", http(200), {("http_200", False)}),
    ("no http", garbage_for_http, {("http_400", False)}),
    ("1000 in the handshake", close_early(1000), {("connection_closed_1000", True)}),
    ("1001 in the handshake", close_early(1001), {("connection_closed_1001", True)}),
    ("1011 in the handshake", close_early(1011), {("connection_closed_1011", True)}),
    ("4000 in the handshake", close_early(4000), {("connection_closed_4000", True)}),
    ("1000 in mid-stream", close_late(1000), {("connection_closed_1000", True)}),
    ("1001 in mid-stream", close_late(1001), {("connection_closed_1001", True)}),
    ("1008 in mid-stream", close_late(1008), {("connection_closed_1008", False)}),
    ("1011 in mid-stream", close_late(1011), {("connection_closed_1011", True)}),
    ("4000 in mid-stream", close_late(4000), {("connection_closed_4000", True)}),
    ("hangs up", hang_up_without_a_close_frame, {("connection_closed_1006", True), ("connection_lost", True)}),
    ("reset in mid-frame", reset_in_mid_frame, {("connection_closed_1006", True), ("connection_lost", True)}),
    ("reset after the upgrade", reset_after_the_upgrade, {("connection_closed_1006", True), ("connection_lost", True)}),
    ("reset before the upgrade", reset_before_the_upgrade, {("connection_lost", True)}),
    ("no message", write_late(frame(BINARY, b"\xff\xff\xff")), {("protocol_malformed", False)}),
    ("text", write_late(frame(TEXT, b"hello")), {("protocol_text_frame", False)}),
    ("too large", write_late(frame(BINARY, bytes((1 << 20) + 1))), {("protocol_message_too_large", False)}),
    ("far too large", write_late(frame(BINARY, bytes(5 << 20))), {("connection_lost", True)}),
    ("no frame", write_late(b"\xff" * 64), {("connection_lost", True)}),
    ("a prediction first", say_early(prediction("x", 0.5)), {("protocol_out_of_order", False)}),
    ("two sessions", say_late(created()), {("protocol_out_of_order", False)}),
    ("nan", say_late(prediction("x", math.nan)), {("protocol_bad_probability", False)}),
    ("out of range", say_late(prediction("x", 1.5)), {("protocol_bad_probability", False)}),
    ("no thresholds", say_early(created({}, 0.5)), {("invalid_thresholds", False)}),
    ("zero threshold", say_early(created({"en": 0.5}, 0.0)), {("invalid_thresholds", False)}),
    ("nan threshold", say_early(created({"en": math.nan}, 0.5)), {("invalid_thresholds", False)}),
    ("error 500", say_late(error(500)), {("error_500", True)}),
    ("error 429", say_late(error(429)), {("error_429", True)}),
    ("error 400", say_late(error(400)), {("error_400", False)}),
    ("error of a request", say_late(error(504, request_id="a")), {("error_504", True)}),
    ("error without a request", say_late(error(503)), {("error_503", True)}),
    ("error first", say_early(error(503)), {("error_503", True)}),
    ("session closed", say_late(closed()), {("session_closed", True)}),
]


@pytest.mark.parametrize(("script", "expected"), [case[1:] for case in FAILURES], ids=[case[0] for case in FAILURES])
async def test_a_failure_is_reported_once_with_its_reason(
    script: Script, expected: set[tuple[str, bool]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with FarEnd(script) as far:
        before = Left.now()
        async with opened(far.url) as (transport, sink):
            for _ in range(20):
                transport.push_audio(tone(0.05), 1.0)
                await asyncio.sleep(0)
            transport.start(request("a"))
            await eventually(lambda: sink.failures)
            # What comes after a failure goes nowhere and harms nobody.
            transport.push_audio(tone(0.05), 1.0)
            transport.start(request("b"))
            transport.stop("a")
            transport.flush()
        assert len(sink.failures) == 1
        assert sink.failures[0] in expected
        assert sink.refused == []
        await far.stop()
        await eventually(lambda: not [line for line in before.more() if " socket:" in line or "eot" in line])
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == [], "expected of a network"
    assert SECRET not in caplog.text


@pytest.mark.parametrize("code", [429, 503])
async def test_a_far_end_that_is_busy_refuses_one_request_and_goes_on(code: int) -> None:
    async def script(connection: Connection) -> None:
        await open_session(connection)
        await connection.until("inference_start")
        for request_id in ("a", "a", "nobody's"):
            await connection.send(error(code, request_id=request_id))
        await connection.serve()

    async with FarEnd(script) as far, opened(far.url) as (transport, sink):
        transport.push_audio(tone(0.05), 1.0)
        transport.start(request("a"))
        await eventually(lambda: sink.refused)
        transport.push_audio(tone(0.05), 1.05)
        transport.start(request("b"))
        await eventually(lambda: sink.answers)
        assert [name for name, _ in sink.answers] == ["b"]
        assert sink.refused == [("a", f"error_{code}")], "once, and none that was not asked"
        assert sink.failures == []
        assert far.connections[0].kinds().count("inference_stop") == 0


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


async def test_a_dead_connection_is_found_by_its_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eot_core.transports.websocket.HEARTBEAT", 0.05)

    async def deaf(connection: Connection) -> None:
        await open_session(connection)
        await asyncio.Event().wait()  # reads nothing, so answers no ping

    async with FarEnd(deaf) as far, opened(far.url) as (_, sink):
        await eventually(lambda: sink.failures)
    assert sink.ready
    assert sink.failures[0] in {("connection_lost", True), ("connection_closed_1006", True)}


async def test_a_living_connection_passes_its_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eot_core.transports.websocket.HEARTBEAT", 0.2)
    async with FarEnd(say_late()) as far, opened(far.url) as (transport, sink):
        await eventually(lambda: sink.ready)
        await asyncio.sleep(0.7)
        transport.start(request("a"))
        await eventually(lambda: sink.answers)
        assert sink.failures == []


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


async def test_a_connection_that_breaks_while_something_is_sent() -> None:
    """The receiver waits for a message, the sender is the first to feel it."""
    broken = asyncio.Event()

    async def serve(connection: Connection) -> None:
        await open_session(connection)
        await broken.wait()

    async with aiohttp.ClientSession() as http, FarEnd(serve) as far:
        async with opened(far.url, http_session=http) as (transport, sink):
            await eventually(lambda: sink.ready)
            transport.push_audio(tone(0.05), 1.0)
            assert http.connector is not None
            await http.connector.close()  # as an application does that ends too early
            for _ in range(3):
                transport.push_audio(tone(0.05), 1.0)
                await asyncio.sleep(0)
            await eventually(lambda: sink.failures)
        broken.set()
    assert sink.failures[0][0] in {"connection_lost", "connection_closed_1006"}
    assert sink.failures[0][1]


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
