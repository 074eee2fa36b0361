"""The WebSocket transport when the far end behaves: what is sent, in which order, and what is answered."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from far_end import Connection, FarEnd, created, prediction
from livekit.protocol.agent_pb import agent_inference as pb
from websocket_rig import audio_of, behave, eventually, make, opened, request, tone

from eot_core.clock import ManualClock
from eot_core.transports.outbox import MAX_BACKLOG


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
