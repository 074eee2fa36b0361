"""The WebSocket transport when the far end misbehaves: one report, with a reason, and nothing left behind."""

from __future__ import annotations

import asyncio
import logging
import math

import aiohttp
import pytest
from far_end import BINARY, TEXT, Connection, FarEnd, closed, created, error, frame, prediction
from websocket_rig import SECRET, Left, Script, close_late, eventually, open_session, opened, request, say_late, tone


def http(status: int) -> Script:
    return lambda connection: connection.reply(status)


def close_early(code: int) -> Script:
    async def script(connection: Connection) -> None:
        await connection.accept()
        await connection.until("session_create")
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
    ("error of a request", say_late(error(503, request_id="a")), {("error_503", True)}),
    ("busy, but no request", say_late(error(503, "overloaded")), {("error_503", True)}),
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


@pytest.mark.parametrize("reason", ["overloaded", "expired"])
async def test_a_gateway_that_is_busy_refuses_one_request_and_goes_on(reason: str) -> None:
    async def script(connection: Connection) -> None:
        await open_session(connection)
        await connection.until("inference_start")
        for request_id in ("a", "a", "nobody's"):
            await connection.send(error(503, reason, request_id))
        await connection.serve()

    async with FarEnd(script) as far, opened(far.url) as (transport, sink):
        transport.push_audio(tone(0.05), 1.0)
        transport.start(request("a"))
        await eventually(lambda: sink.refused)
        transport.push_audio(tone(0.05), 1.05)
        transport.start(request("b"))
        await eventually(lambda: sink.answers)
        assert [name for name, _ in sink.answers] == ["b"]
        assert sink.refused == [("a", "error_503")], "once, and none that was not asked"
        assert sink.failures == []
        assert far.connections[0].kinds().count("inference_stop") == 0


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
