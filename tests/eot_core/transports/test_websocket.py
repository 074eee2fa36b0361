"""The WebSocket transport when the far end behaves: what is sent, in which order, and what is left behind."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from far_end import Connection, FarEnd, created, prediction
from livekit.protocol.agent_pb import agent_inference as pb
from websocket_rig import Left, eventually, make, make_authority, opened, request, tone

from eot_core.clock import ManualClock
from eot_core.protocol.auth import verify_token
from eot_core.transports.websocket import MAX_BACKLOG, eot_url


async def behave(connection: Connection) -> None:
    await connection.accept()
    await connection.serve()


def audio_of(connection: Connection) -> np.ndarray:
    pieces = [m.input_audio.audio for m in connection.received if m.WhichOneof("message") == "input_audio"]
    return np.frombuffer(b"".join(pieces), dtype="<i2")


async def test_a_session_from_beginning_to_end() -> None:
    async with FarEnd(behave) as far:
        async with opened(far.url) as (transport, sink):
            await eventually(lambda: sink.ready)
            calibration = sink.ready[0]
            assert calibration is not None
            assert calibration.thresholds == {"en": 0.56, "de": 0.6}
            transport.push_audio(tone(0.1), time.time())
            transport.start(request("a"))
            await eventually(lambda: sink.answers)
            transport.flush()
            transport.push_audio(tone(0.1), time.time())
            transport.start(request("b"))
            await eventually(lambda: len(sink.answers) == 2)
        (connection,) = far.connections
        assert [name for name, _ in sink.answers] == ["a", "b"]
        assert sink.answers[0][1].probability == pytest.approx(0.9, abs=1e-6)
        assert sink.failures == []
        await connection.gone.wait()
        assert connection.kinds() == [
            "session_create",
            "input_audio",
            "inference_start",
            "session_flush",
            "input_audio",
            "inference_start",
            "session_close",
        ]
        assert connection.path == "/v1/eot"
        assert all(message.HasField("created_at") for message in connection.received)
        assert connection.close_code == 1000


async def test_it_proves_who_it_is() -> None:
    async with FarEnd(behave) as far:
        async with opened(far.url, headers=lambda: {"X-LiveKit-Room-ID": "RM_1"}) as (_, sink):
            await eventually(lambda: sink.ready)
        headers = far.connections[0].headers
    token = headers["authorization"].removeprefix("Bearer ")
    assert verify_token(token, {"APIwebsocket": "a-secret-that-is-long-enough-for-hs256"}, now=time.time())
    assert headers["x-livekit-room-id"] == "RM_1"
    assert headers["user-agent"].startswith("eot-adapters/")


async def test_a_caller_may_use_its_buffer_again() -> None:
    """Audio drivers fill the same buffer each time; what waits to be sent must not change with it."""
    let_in = asyncio.Event()

    async def slow(connection: Connection) -> None:
        await let_in.wait()
        await behave(connection)

    async with FarEnd(slow) as far, opened(far.url) as (transport, sink):
        raw = bytearray(320)
        buffer = np.frombuffer(raw, dtype=np.int16)
        for level in (1, 2, 3):
            buffer[:] = level
            transport.push_audio(buffer, time.time())
        buffer[:] = -1
        transport.start(request("a"))
        del buffer
        raw.extend(b"more")  # refused while somebody still looks into it
        let_in.set()
        await eventually(lambda: sink.answers)
        assert audio_of(far.connections[0]).tolist() == [1] * 160 + [2] * 160 + [3] * 160


async def test_audio_and_requests_made_before_the_connection_is_up_are_kept_in_order() -> None:
    let_in = asyncio.Event()

    async def slow(connection: Connection) -> None:
        await let_in.wait()
        await behave(connection)

    async with FarEnd(slow) as far:
        async with opened(far.url) as (transport, sink):
            transport.push_audio(tone(0.5), 111.0)
            transport.start(request("early"))
            transport.push_audio(tone(0.1), 222.0)
            await far.arrived.wait()
            assert sink.answers == []
            let_in.set()
            await eventually(lambda: sink.answers)
        (connection,) = far.connections
        assert connection.kinds()[:4] == ["session_create", "input_audio", "inference_start", "input_audio"]
        audio = [m.input_audio for m in connection.received if m.WhichOneof("message") == "input_audio"]
        assert [len(a.audio) // 2 for a in audio] == [8_000, 1_600]
        assert [a.num_samples for a in audio] == [8_000, 1_600]
        assert [a.created_at.ToSeconds() for a in audio] == [111, 222], "when it was captured, not when it was sent"
        assert all(m.created_at.ToSeconds() > 1_600_000_000 for m in connection.received)


async def test_a_request_need_not_wait_for_session_created() -> None:
    """Many gateways load a model first; audio must not pile up here meanwhile."""
    go_on = asyncio.Event()

    async def late(connection: Connection) -> None:
        await connection.accept()
        await connection.until("inference_start")
        await go_on.wait()
        await connection.send(created())
        await connection.send(prediction("a", 0.25))
        await connection.serve()

    async with FarEnd(late) as far, opened(far.url) as (transport, sink):
        transport.push_audio(tone(0.1), 1.0)
        transport.start(request("a"))
        await eventually(lambda: far.connections and "inference_start" in far.connections[0].kinds())
        go_on.set()
        await eventually(lambda: sink.answers)
        assert sink.answers[0][1].probability == 0.25


async def test_before_the_connection_is_up_the_oldest_audio_is_dropped() -> None:
    let_in = asyncio.Event()

    async def slow(connection: Connection) -> None:
        await let_in.wait()
        await behave(connection)

    async with FarEnd(slow) as far:
        async with opened(far.url, sample_rate=8_000) as (transport, sink):
            transport.push_audio(np.full(16_000, 1000, np.int16), 1.0)
            transport.start(request("old"))
            transport.flush()
            for second in range(60):
                transport.push_audio(np.full(16_000, 2000, np.int16), float(second))
            transport.start(request("new"))
            assert sink.failures == []
            let_in.set()
            await eventually(lambda: len(sink.answers) == 2)
        (connection,) = far.connections
        # Requests and turn ends keep their places; the audio between them is the newest.
        assert connection.kinds()[:5] == [
            "session_create",
            "inference_start",
            "session_flush",
            "input_audio",
            "inference_start",
        ]
        audio = audio_of(connection)
        assert (MAX_BACKLOG - 1.1) * 8_000 <= len(audio) <= MAX_BACKLOG * 8_000
        assert (np.abs(audio[500:-500].astype(int) - 2000) < 40).all()


async def test_a_far_end_that_does_not_read_is_given_up() -> None:
    stop_reading = asyncio.Event()

    async def stall(connection: Connection) -> None:
        await connection.accept()
        await connection.receive()
        await connection.send(created())
        await stop_reading.wait()

    # 48 kHz on the wire, so that the kernel's buffers are full soon.
    async with FarEnd(stall, receive_buffer=4096) as far:
        transport, sink = make(far.url, sample_rate=48_000)
        sink.on_failure = transport.close
        transport.open(sink)
        await eventually(lambda: sink.ready)
        pushed = 0.0
        while not sink.failures:
            transport.push_audio(tone(1.0), pushed)
            pushed += 1.0
            await asyncio.sleep(0)
            assert pushed < 200, "memory would grow for ever"
        assert sink.failures == [("send_stalled", True)]
        transport.push_audio(tone(1.0), pushed)
        transport.start(request("late"))
        transport.flush()
        await transport.aclose()
        stop_reading.set()


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 24_000, 44_100, 48_000])
async def test_the_sample_rate_on_the_wire(sample_rate: int) -> None:
    async with FarEnd(behave) as far:
        async with opened(far.url, sample_rate=sample_rate) as (transport, sink):
            for begin in range(0, 16_000, 800):
                transport.push_audio(tone(1.0)[begin : begin + 800], 1.0)
            transport.start(request("a"))
            await eventually(lambda: sink.answers)
        (connection,) = far.connections
        assert connection.received[0].session_create.settings.sample_rate == sample_rate
        assert connection.received[0].session_create.settings.encoding == pb.AUDIO_ENCODING_PCM_S16LE
        audio = audio_of(connection)
        assert abs(len(audio) - sample_rate) <= 1, "to the last sample: the request closes the resampler's filter"
        hertz = int(np.argmax(np.abs(np.fft.rfft(audio, n=sample_rate))))
        assert hertz == pytest.approx(0.2 / (2 * np.pi) * 16_000, abs=1.5)


@pytest.mark.parametrize("callable_", [False, True])
async def test_a_given_http_session_is_used_and_not_closed(callable_: bool) -> None:
    async with aiohttp.ClientSession(headers={"X-Mine": "yes"}) as http, FarEnd(behave) as far:
        async with opened(far.url, http_session=(lambda: http) if callable_ else http) as (_, sink):
            await eventually(lambda: sink.ready)
        assert far.connections[0].headers["x-mine"] == "yes"
        assert not http.closed


async def test_a_callable_without_a_session_means_one_of_its_own() -> None:
    async with FarEnd(behave) as far, opened(far.url, http_session=lambda: None) as (_, sink):
        await eventually(lambda: sink.ready)


async def test_a_request_that_is_still_queued_is_not_sent_when_it_is_stopped() -> None:
    let_in = asyncio.Event()

    async def slow(connection: Connection) -> None:
        await let_in.wait()
        await behave(connection)

    async with FarEnd(slow) as far:
        async with opened(far.url) as (transport, sink):
            transport.push_audio(tone(0.1), 1.0)
            transport.start(request("dropped"))
            transport.stop("dropped")
            transport.stop("dropped")
            transport.stop("never asked")
            transport.start(request("kept"))
            let_in.set()
            await eventually(lambda: sink.answers)
            transport.start(request("sent"))
            await eventually(lambda: "inference_start" in far.connections[0].kinds())
        (connection,) = far.connections
        kinds = connection.kinds()
        assert "inference_stop" not in kinds
        assert (
            next(m.inference_start.request_id for m in connection.received if m.HasField("inference_start")) == "kept"
        )


async def test_a_request_that_was_sent_is_stopped_on_the_wire_and_its_answer_ignored() -> None:
    async def answer_late(connection: Connection) -> None:
        await connection.accept()
        await connection.receive()
        await connection.send(created())
        await connection.until("inference_stop")
        await connection.send(prediction("a", 0.1))
        await connection.serve(0.75)

    async with FarEnd(answer_late) as far, opened(far.url) as (transport, sink):
        await eventually(lambda: sink.ready)
        transport.push_audio(tone(0.1), 1.0)
        transport.start(request("a"))
        await eventually(lambda: "inference_start" in far.connections[0].kinds())
        transport.stop("a")
        transport.start(request("b"))
        await eventually(lambda: sink.answers)
        assert [name for name, _ in sink.answers] == ["b"]


async def test_answers_that_nobody_asked_for_and_second_answers_are_dropped() -> None:
    async def odd(connection: Connection) -> None:
        await connection.accept()
        await connection.receive()
        await connection.send(created())
        await connection.send(prediction("unknown", 0.1))
        await connection.until("inference_start")
        await connection.send(prediction("a", 0.75))
        await connection.send(prediction("a", 0.1))
        await connection.send(pb.ServerMessage(inference_started=pb.InferenceStarted()))
        await connection.serve()

    async with FarEnd(odd) as far, opened(far.url) as (transport, sink):
        transport.push_audio(tone(0.1), 1.0)
        transport.start(request("a"))
        await eventually(lambda: sink.answers)
        transport.start(request("b"))
        await eventually(lambda: len(sink.answers) == 2)
        assert [(name, answer.probability) for name, answer in sink.answers] == [
            ("a", 0.75),
            ("b", pytest.approx(0.9, abs=1e-6)),
        ]
        assert sink.failures == []


async def test_times_are_told_apart() -> None:
    """Queue, network and the far end's own work; a far end that claims more than there was gets what there was."""
    clock = ManualClock()

    async def slow(connection: Connection) -> None:
        await connection.accept()
        await connection.receive()
        await connection.send(created())
        for claimed_ms in (250, 60_000):
            asked = (await connection.until("inference_start")).inference_start.request_id
            clock.advance(0.5)
            answer = prediction(asked, 0.5)
            answer.eot_prediction.inference_stats.server_e2e_latency.FromMilliseconds(claimed_ms)
            await connection.send(answer)
        await connection.serve()

    async with FarEnd(slow) as far, opened(far.url, clock=clock) as (transport, sink):
        transport.push_audio(tone(0.1), 1.0)
        transport.start(request("a"))
        clock.advance(0.125)  # not connected yet
        await eventually(lambda: sink.answers)
        transport.start(request("b"))
        await eventually(lambda: len(sink.answers) == 2)
        (_, first), (_, second) = sink.answers
        assert (first.queue_time, first.network_time, first.inference_time) == (0.125, 0.25, 0.25)
        assert (second.queue_time, second.network_time, second.inference_time) == (0.0, 0.0, 0.5)


async def test_wss_with_a_private_ca(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    async with FarEnd(behave, tls=authority.server()) as far:
        assert far.url.startswith("wss://")
        async with opened(far.url, ssl=authority.client()) as (transport, sink):
            await eventually(lambda: sink.ready)
            transport.push_audio(tone(0.1), 1.0)
            transport.start(request("a"))
            await eventually(lambda: sink.answers)
        async with opened(far.url) as (_, sink):
            await eventually(lambda: sink.failures)
            assert sink.failures == [("tls_error", False)], "no system trusts this CA"
        async with opened(far.url, ssl=False) as (_, sink):
            await eventually(lambda: sink.ready)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("ws://host/v1", "ws://host/v1/eot"),
        ("wss://host/v1/", "wss://host/v1/eot"),
        ("http://host:80", "ws://host:80/eot"),
        ("https://host/a/b//", "wss://host/a/b/eot"),
    ],
)
def test_where_it_connects(base: str, expected: str) -> None:
    assert eot_url(base) == expected


async def test_http_urls(tmp_path: Path) -> None:
    async with FarEnd(behave) as far, opened(far.url.replace("ws", "http", 1)) as (_, sink):
        await eventually(lambda: sink.ready)
    authority = make_authority(tmp_path)
    async with (
        FarEnd(behave, tls=authority.server()) as far,
        opened(far.url.replace("wss", "https", 1), ssl=authority.client()) as (_, sink),
    ):
        await eventually(lambda: sink.ready)


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
