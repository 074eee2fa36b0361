"""An event loop with real sockets and a clock of its own: time passes only when there is nothing else to do.

A second of waiting takes a few milliseconds, and a busy machine delays nothing: what a test reads off the clock is
exact. While a socket has something to read, or a thread works on something the loop waits for, the clock stands still.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest import mock

# Imported here, although nothing here needs them: a default argument that is ``time.time`` would be this loop's for
# good, in every later test of the process, where a module was first imported while it is in charge.
import eot_core.server.app
import eot_core.transports.websocket  # noqa: F401
from eot_core.transports.scheduler import InferenceScheduler, Job, JobDone, JobFailed

_T = TypeVar("_T")

_SETTLE = 0.002
"""Seconds of real time without a sign of life after which the clock moves on. What is sent over the loopback is there
before ``send`` returns, unless the machine is so busy that the kernel defers it."""
_PATIENCE = 30.0
"""Seconds of real time that a thread may work before the clock moves on without it."""
_EPOCH = 1_800_000_000.0


class _Selector(selectors.DefaultSelector):  # type: ignore[valid-type,misc]
    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0
        self.busy: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if events := super().select(_SETTLE):
            return events
        patience = time.monotonic() + _PATIENCE
        while self.busy() and time.monotonic() < patience:
            if events := super().select(0.01):
                return events
        if events := super().select(0):
            return events
        self.elapsed += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        self._in_threads = 0
        self._jobs: dict[object, Job | None] = {}
        self._lock = threading.Lock()
        super().__init__(self._virtual)
        self._virtual.busy = lambda: self._in_threads > 0 or bool(self._jobs)

    def time(self) -> float:
        return self._virtual.elapsed

    def run_in_executor(self, executor: Any, func: Callable[..., _T], *args: Any) -> asyncio.Future[_T]:  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(lambda _: self._finished())
        return future

    def _finished(self) -> None:
        self._in_threads -= 1

    @contextmanager
    def in_charge(self) -> Iterator[None]:
        """``time.time()`` tells this loop's time, and the core's model threads hold it."""
        submit, cancel = InferenceScheduler.submit, InferenceScheduler._cancel

        def watched_submit(
            scheduler: InferenceScheduler,
            work: Callable[[], Any],
            *,
            on_done: Callable[[JobDone | JobFailed], None],
            **options: Any,
        ) -> Job:
            entry = object()
            with self._lock:
                self._jobs[entry] = None

            def report(result: JobDone | JobFailed) -> None:
                on_done(result)
                with self._lock:
                    self._jobs.pop(entry, None)

            job = submit(scheduler, work, on_done=report, **options)
            with self._lock:
                if entry in self._jobs:
                    self._jobs[entry] = job
            return job

        def watched_cancel(scheduler: InferenceScheduler, job: Job) -> None:
            cancel(scheduler, job)
            with self._lock:
                self._jobs = {entry: other for entry, other in self._jobs.items() if other is not job}

        def seconds() -> float:
            return _EPOCH + self.time()

        def nanoseconds() -> int:
            return round(seconds() * 1e9)

        with (
            mock.patch.object(InferenceScheduler, "submit", watched_submit),
            mock.patch.object(InferenceScheduler, "_cancel", watched_cancel),
            mock.patch("time.time", seconds),
            mock.patch("time.time_ns", nanoseconds),
        ):
            yield


def run(main: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run a coroutine on a new loop of this kind."""
    loop = VirtualTimeLoop()
    with loop.in_charge(), asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())
