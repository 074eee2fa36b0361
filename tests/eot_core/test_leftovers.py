"""What counts as left behind: :mod:`leftovers`."""

from __future__ import annotations

import asyncio
import socket
import threading

from leftovers import Left


async def test_threads_of_the_loop_are_nobody_s() -> None:
    before = Left.now()
    together = threading.Barrier(3)
    await asyncio.gather(*(asyncio.to_thread(together.wait) for _ in range(3)))
    assert before.more() == []


async def test_what_is_left_is_told() -> None:
    before = Left.now()
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="forgotten")
    thread.start()
    task = asyncio.create_task(asyncio.sleep(60), name="far end 1")
    with socket.socket() as forgotten:
        left = before.more()
        assert [line.split()[0] for line in left] == ["task", "thread", "descriptor"]
        assert "forgotten" in left[1]
        assert len(before.more(except_tasks="far end", except_descriptors=[forgotten.fileno()])) == 1
    task.cancel()
    done.set()
    thread.join()
    await asyncio.wait([task])
    assert before.more() == []
