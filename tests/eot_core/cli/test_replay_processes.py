"""``eot replay`` and ``eot console`` start processes: none stays behind, however it is ended. Real ones, real time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eot_core.data import demo_recording
from eot_core.models.registry import available_models

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found in /proc")
needs_a_model = pytest.mark.skipif(not available_models(), reason="no local model is installed")

LONG = 60.0
"""Seconds; a process that never ends fails the test, one on a busy machine does not."""


REPLAY = [sys.executable, "-m", "eot_core.cli", "replay", "--json", "--framework", "livekit"]


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"  # where nobody waits for orphans, they stay zombies


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command that has begun to start another; they are killed in the end."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        pids: list[int] = []
        try:
            pids = _children_of(process)
            yield process
        finally:
            for pid in (process.pid, *pids):
                if runs(pid):
                    os.kill(pid, signal.SIGKILL)


def _children_of(process: subprocess.Popen[str]) -> list[int]:
    until = time.monotonic() + LONG
    while time.monotonic() < until and process.poll() is None:
        if found := children(process.pid):
            return found
        time.sleep(0.05)
    return []


def ends(pid: int) -> bool:
    until = time.monotonic() + LONG
    while runs(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not runs(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_agent_ends_with_the_command(number: signal.Signals) -> None:
    pytest.importorskip("livekit.agents")
    with started(REPLAY) as process:
        (agent,) = children(process.pid)
        assert process.stdout is not None
        assert '"type": "pause"' in process.stdout.readline()  # the call is on
        process.send_signal(number)
        process.wait(LONG)
        assert ends(agent)


def test_an_agent_that_still_starts_ends_as_well() -> None:
    pytest.importorskip("livekit.agents")
    with started(REPLAY) as process:
        (agent,) = children(process.pid)
        process.kill()
        process.wait(LONG)
        assert ends(agent)


def test_eot_console_stops_its_agent_when_it_is_told_to_end() -> None:
    """The agent is any program: nothing in it looks at who started it."""
    pytest.importorskip("livekit.agents")
    from adapters.livekit import demo_agent

    console = [sys.executable, "-m", "eot_core.cli", "console", str(demo_agent.__file__), "--json"]
    with started([*console, "--audio", str(demo_recording())]) as process:
        (agent,) = children(process.pid)
        assert process.stdout is not None
        assert process.stdout.readline()
        process.terminate()
        process.wait(LONG)
        assert ends(agent)


GATEWAY = """
import asyncio
from eot_core.cli.local_gateway import LocalGateway

async def main():
    async with LocalGateway() as gateway:
        print(gateway.url, flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


@needs_a_model
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_gateway_ends_with_the_command(number: signal.Signals) -> None:
    with started([sys.executable, "-c", GATEWAY]) as process:
        (gateway,) = children(process.pid)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(number)
        process.wait(LONG)
        assert ends(gateway)
