"""An agent in a child process of its own group: started, listened to, and stopped for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

INTERRUPT_GRACE: Final = 8.0
"""Seconds an agent gets to hang up after SIGINT; LiveKit drains its jobs in that time."""
TERMINATE_GRACE: Final = 2.0
"""Seconds it gets after SIGTERM, before SIGKILL."""
_KEPT_LINES: Final = 20
_LINE_LIMIT: Final = 1 << 20


class AgentProcess:
    """One run of an agent. Its output is read all the time, so that a full pipe never stops it."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, on_output: Callable[[str], None] | None
    ) -> None:
        self._command = tuple(command)
        self._env = {**os.environ, **(env or {})}
        self._on_output = on_output
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._tail: deque[str] = deque(maxlen=_KEPT_LINES)

    async def start(self) -> None:
        """Start it. Raises OSError when the command cannot be run."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._env,
            # Its own group: Ctrl-C in this terminal reaches only this end, which then stops the agent in order, and
            # whatever the agent started can be stopped along with it. LiveKit kills its whole group on a second signal.
            start_new_session=True,
            limit=_LINE_LIMIT,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    @property
    def returncode(self) -> int | None:
        """Exit code; None while it runs or before it was started. Negative: the signal that ended it."""
        return None if self._process is None else self._process.returncode

    @property
    def output_tail(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._tail)

    async def wait(self) -> int:
        """Wait for it to end by itself, and for the last of its output; return the exit code."""
        if self._process is None:
            raise RuntimeError("the agent was not started: call start() first")
        code = await self._process.wait()
        if self._reader is not None:
            # A grandchild may hold the pipe open for longer than the agent lives.
            await asyncio.wait({self._reader}, timeout=1.0)
        return code

    async def stop(self) -> None:
        """Stop it and all it started: SIGINT, then SIGTERM, then SIGKILL. Idempotent; does nothing before start()."""
        process = self._process
        if process is None:
            return
        try:
            for number, grace in ((signal.SIGINT, INTERRUPT_GRACE), (signal.SIGTERM, TERMINATE_GRACE)):
                if process.returncode is not None:
                    break
                # Only the agent itself is asked; it looks after its own children while it can.
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(process.wait(), grace)
        finally:
            # Also when this is cancelled, and for children that outlived the agent: nothing of the group stays behind.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            if self._reader is not None:
                self._reader.cancel()
                await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        stdout = process.stdout
        if stdout is None:
            return
        while True:
            try:
                raw = await stdout.readline()
            except ValueError:
                # A line over the limit: asyncio has dropped it; what follows is still of interest.
                continue
            if not raw:
                return
            line = raw.decode("utf-8", errors="replace").rstrip("\r\n")
            self._tail.append(line)
            if self._on_output is not None:
                self._on_output(line)
