from __future__ import annotations

import asyncio

import numpy as np
import pytest

from eot_core.transports.outbox import MAX_BACKLOG, MAX_CHUNK, Audio, Flush, Outbox, Start, Stop

RATE = 8_000


def audio(seconds: float, value: int = 1) -> np.ndarray:
    return np.full(round(seconds * RATE), value, dtype=np.int16)


def taken(outbox: Outbox) -> list[object]:
    """What waits: of audio its samples and when it was captured."""
    items = [outbox.take() for _ in range(len(outbox))]
    return [(len(item.pcm), item.captured_at) if isinstance(item, Audio) else item for item in items]


async def test_in_order_and_audio_in_pieces() -> None:
    outbox = Outbox(RATE)
    outbox.put_audio(audio(2.5 * MAX_CHUNK), 7.0)
    outbox.put(Start("a"))
    outbox.put_audio(audio(0.1), 8.0)
    outbox.put(Flush())
    chunk = round(MAX_CHUNK * RATE)
    assert taken(outbox) == [(chunk, 7.0), (chunk, 7.0), (chunk // 2, 7.0), Start("a"), (800, 8.0), Flush()]
    with pytest.raises(IndexError):
        outbox.take()


async def test_the_caller_may_use_its_buffer_again() -> None:
    outbox, buffer = Outbox(RATE), audio(0.1)
    outbox.put_audio(buffer, 0.0)
    buffer[:] = 99
    item = outbox.take()
    assert isinstance(item, Audio)
    assert set(item.pcm.tolist()) == {1}


async def test_a_request_is_withdrawn_while_it_waits() -> None:
    outbox = Outbox(RATE)
    outbox.put(Start("a"))
    outbox.put(Start("b"))
    assert outbox.withdraw(Start("a"))
    assert not outbox.withdraw(Start("a"))
    assert taken(outbox) == [Start("b")]
    assert not outbox.withdraw(Start("b"))
    outbox.put(Stop("b"))
    assert taken(outbox) == [Stop("b")]


async def test_only_audio_is_dropped_and_the_oldest_first() -> None:
    outbox = Outbox(RATE)
    outbox.put(Start("a"))
    for second in range(round(MAX_BACKLOG)):
        outbox.put_audio(audio(1.0), float(second))
    assert not outbox.overfull
    outbox.put(Flush())
    outbox.put_audio(audio(1.5), 99.0)
    assert outbox.overfull
    outbox.drop_oldest_audio()
    assert not outbox.overfull
    kept = taken(outbox)
    assert kept[:2] == [Start("a"), (RATE, 2.0)], "two seconds had to go for one and a half"
    assert kept[-3:] == [Flush(), (RATE, 99.0), (RATE // 2, 99.0)]
    outbox.put_audio(audio(MAX_BACKLOG), 0.0)
    assert not outbox.overfull, "what was taken waits no more"


async def test_waiting() -> None:
    outbox = Outbox(RATE)
    waiting = asyncio.create_task(outbox.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.put_audio(audio(0.1), 0.0)
    await waiting
    await outbox.wait()  # something still waits
    outbox.take()
    waiting = asyncio.create_task(outbox.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.put(Flush())
    outbox.close()
    await waiting
    assert len(outbox) == 0
    await outbox.wait()  # closed: nobody waits any more
