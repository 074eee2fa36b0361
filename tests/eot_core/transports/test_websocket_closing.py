"""The end of a WebSocket transport: in any state, and with nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import aiohttp
import pytest
from far_end import CLOSE, Connection, FarEnd, Gone, closed, created, prediction
from websocket_rig import Left, behave, eventually, make, make_authority, open_session, opened, request, tone

from eot_core.transports import websocket


@pytest.mark.parametrize("tls", [False, True])
async def test_nothing_is_left_of_a_session(tls: bool, tmp_path: Path) -> None:
    authority = make_authority(tmp_path) if tls else None
    async with FarEnd(behave, tls=authority.server() if authority else None) as far:
        before = Left.now()
        for _ in range(3):
            async with opened(far.url, ssl=authority.client() if authority else None) as (transport, sink):
                transport.push_audio(tone(0.5), 1.0)
                transport.start(request("a"))
                await eventually(lambda sink=sink: sink.answers)
            assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("eot")]
        # The far end's own half takes a moment more.
        await eventually(lambda: not before.more())


async def test_close_is_idempotent_in_any_order_and_state() -> None:
    async with FarEnd(behave) as far:
        before = Left.now()
        never_opened, sink = make(far.url)
        never_opened.close()
        never_opened.open(sink)
        never_opened.push_audio(tone(0.1), 1.0)
        never_opened.start(request("a"))
        never_opened.flush()
        never_opened.stop("a")
        await never_opened.aclose()

        at_once, sink = make(far.url)
        at_once.open(sink)
        at_once.open(sink)
        at_once.close()
        at_once.close()
        await asyncio.gather(at_once.aclose(), at_once.aclose())
        await at_once.aclose()
        assert sink == type(sink)()
        await eventually(lambda: not before.more())


async def test_close_while_the_far_end_is_silent_cuts_the_connection() -> None:
    async def silent(connection: Connection) -> None:
        await connection.accept()
        await connection.receive()
        await connection.send(created())
        await asyncio.Event().wait()

    async with FarEnd(silent) as far:
        before = Left.now()
        transport, sink = make(far.url)
        transport.open(sink)
        await eventually(lambda: sink.ready)
        closing = asyncio.create_task(transport.aclose())
        await closing
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("eot")]
        await far.stop()
        await eventually(lambda: not [line for line in before.more() if "far end" not in line])
        assert sink.failures == []


async def test_a_far_end_that_says_goodbye_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def polite(connection: Connection) -> None:
        """Answers ``session_close``, and leaves the closing of the socket to the client."""
        await open_session(connection)
        await connection.until("session_close")
        await connection.send(prediction("late", 0.9))
        await connection.send(closed())
        with contextlib.suppress(Gone):
            await connection.receive()
        assert connection.close_code is not None
        await connection.frame(CLOSE, connection.close_code.to_bytes(2, "big"))

    monkeypatch.setattr(websocket, "GOODBYE", 60.0)
    async with FarEnd(polite) as far:
        before = Left.now()
        transport, sink = make(far.url)
        transport.open(sink)
        await eventually(lambda: sink.ready)
        async with asyncio.timeout(20):
            await transport.aclose()
        assert far.connections[0].close_code == 1000
        assert (sink.answers, sink.failures) == ([], [])
        await eventually(lambda: not [line for line in before.more() if "far end" not in line])


async def test_cancelling_aclose_leaves_nothing_that_a_second_one_does_not_end() -> None:
    async def silent(connection: Connection) -> None:
        await connection.accept()
        await connection.receive()
        await connection.send(created())
        await asyncio.Event().wait()

    async with FarEnd(silent) as far:
        transport, sink = make(far.url)
        transport.open(sink)
        await eventually(lambda: sink.ready)
        closing = asyncio.create_task(transport.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await transport.aclose()
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("eot")]


@pytest.mark.parametrize("given", [False, True])
async def test_what_a_far_end_does_not_read_is_given_up_with_its_socket(given: bool) -> None:
    """A transport that is closed with unsent data would wait for the far end, for good."""

    async def stall(connection: Connection) -> None:
        await connection.accept()
        await connection.receive()
        await connection.send(created())
        await asyncio.Event().wait()

    async with aiohttp.ClientSession() as http, FarEnd(stall, receive_buffer=4096) as far:
        before = Left.now()
        transport, sink = make(far.url, http_session=http if given else None)
        transport.open(sink)
        await eventually(lambda: sink.ready)
        while not sink.failures:
            transport.push_audio(tone(1.0), 1.0)
            await asyncio.sleep(0)
        await transport.aclose()
        await eventually(lambda: not before.more(except_tasks="far end", except_descriptors=far.descriptors))
