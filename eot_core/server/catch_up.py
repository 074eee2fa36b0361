"""Sessions that nobody asks about just now hear on together, behind all predictions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..models.base import PcmArray
from ..transports.scheduler import NO_DEADLINE, InferenceScheduler, Job, JobDone, JobFailed
from .onset import OnsetFinder, hear_together

TOGETHER = 8
"""Sessions in one job. With half a second of each it takes 5 ms, for which a prediction may have to wait; more would
gain little (a window: 73 us alone, 37 us among 8, 31 us among 32)."""
GATHER = 0.1
"""Seconds to wait for more of them."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    finder: OnsetFinder
    unheard: Callable[[], tuple[PcmArray, int]]
    done: Callable[[JobDone | JobFailed], None]


class CatchUp:
    """One for all sessions. Its methods are called on the event loop's thread."""

    def __init__(self, scheduler: InferenceScheduler) -> None:
        """
        Args:
            scheduler: where to work; under load it drops this first.
        """
        self._scheduler = scheduler
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(
        self,
        finder: OnsetFinder,
        unheard: Callable[[], tuple[PcmArray, int]],
        done: Callable[[JobDone | JobFailed], None],
    ) -> None:
        """Let a session hear on, soon.

        Args:
            finder: the session's; not one that is waiting already.
            unheard: gives the audio and its position, when it is time.
            done: gets the report, on the event loop.
        """
        self._waiting.append(_Waiting(finder, unheard, done))
        if len(self._waiting) >= TOGETHER:
            self._go()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER, self._go)

    def _go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        pieces = [(each.finder, *each.unheard()) for each in waiting]

        def done(result: JobDone | JobFailed) -> None:
            for each in waiting:
                each.done(result)

        submit(self._scheduler, partial(hear_together, pieces), NO_DEADLINE, done)


def submit(
    scheduler: InferenceScheduler,
    work: Callable[[], object],
    deadline: float,
    done: Callable[[JobDone | JobFailed], None],
) -> Job:
    """Queue ``work``, and have the report on the event loop that runs now."""
    loop = asyncio.get_running_loop()

    def deliver(result: JobDone | JobFailed) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(done, result)

    return scheduler.submit(work, deadline=deadline, on_done=deliver)
