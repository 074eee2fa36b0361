"""An event loop on which waiting costs nothing: when nothing is ready, its clock jumps to the next timer.

Both frameworks read the time through the ``time`` module, and some of their classes take a reference to ``time.time``
when they are imported. :func:`install` must therefore come before the first import of either; until a virtual clock
runs, and after it, the functions that it puts there are the real ones.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

WALL = 1_800_000_000.0
"""Seconds since 1970 at which every virtual clock begins."""
_STUCK = 10.0
"""Real seconds to wait for a thread or a socket when no timer is left, before that is taken for a deadlock."""
_ROUNDS = 1_000_000
"""Rounds of the loop, a minute or so, in which no time passes, before that is taken for a livelock."""


class VirtualClock:
    """Seconds, moved by the loop alone."""

    def __init__(self) -> None:
        self.now = 1000.0

    @property
    def wall(self) -> float:
        return WALL + self.now


_running: VirtualClock | None = None


def _dispatching(real: Callable[[], Any], virtual: Callable[[VirtualClock], Any]) -> Callable[[], Any]:
    def read() -> Any:
        return real() if _running is None else virtual(_running)

    read.eot_dispatches = True  # type: ignore[attr-defined]
    return read


def install() -> None:
    """Have the functions of ``time`` read the virtual clock, whenever one runs. Idempotent."""
    if hasattr(time.time, "eot_dispatches"):
        return
    for name, virtual in (
        ("time", lambda clock: clock.wall),
        ("monotonic", lambda clock: clock.now),
        ("perf_counter", lambda clock: clock.now),
        ("time_ns", lambda clock: round(clock.wall * 1e9)),
        ("monotonic_ns", lambda clock: round(clock.now * 1e9)),
        ("perf_counter_ns", lambda clock: round(clock.now * 1e9)),
    ):
        setattr(time, name, _dispatching(getattr(time, name), virtual))


class _Selector(selectors.DefaultSelector):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._rounds = 0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            self._stood_still()
            return ready
        if timeout is None:
            ready = super().select(_STUCK)
            if not ready:
                raise RuntimeError("nothing is scheduled, and nothing has happened for ten seconds of real time")
            return ready
        before, self._clock.now = self._clock.now, self._clock.now + timeout
        if self._clock.now == before:  # less than the clock can tell apart
            self._stood_still()
        else:
            self._rounds = 0
        return ready

    def _stood_still(self) -> None:
        self._rounds += 1
        if self._rounds > _ROUNDS:
            raise RuntimeError(f"the loop turns without end at {self._clock.now:.6f} s: something calls itself")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Work for an executor is done at once, on the loop's own thread: it takes no time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._virtual = clock
        super().__init__(_Selector(clock))

    def time(self) -> float:
        return self._virtual.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future: asyncio.Future[Any] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        return future


def run(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run a coroutine on a loop and a clock of its own.

    Raises:
        RuntimeError: :func:`install` was not called in time, or nothing is left that could happen.
    """
    global _running
    if not hasattr(time.time, "eot_dispatches"):
        raise RuntimeError("call virtual_time.install() before anything is imported that reads the time")
    _running = clock = VirtualClock()
    try:
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
            return runner.run(work())
    finally:
        _running = None
