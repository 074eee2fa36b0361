"""Where local inference runs: a few threads for the whole process, earliest deadline first, with a bounded queue.

The event loop's default executor would be the wrong place: its queue has no bound and no order, work in it cannot be
called off, and a burst of pauses would hold up every name look-up and file access beside it.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..cpu import worker_count

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobDone:
    """A job ran to its end."""

    value: Any
    """What the work returned."""
    queue_time: float
    """Seconds from submission to the start of the work."""


@dataclass(frozen=True, slots=True)
class JobFailed:
    """A job did not run, or not to its end."""

    reason: str
    """"overloaded", "expired", "model_hung", "closed", or "model_error: " and the exception's type."""
    error: BaseException | None = None
    """What the work raised."""


class _State(Enum):
    QUEUED = 1
    RUNNING = 2
    OVER = 3


class Job:
    """Work that was submitted."""

    __slots__ = ("_scheduler", "_state", "deadline", "hang_limit", "on_done", "order", "submitted_at", "work")

    def __init__(
        self,
        scheduler: InferenceScheduler,
        work: Callable[[], Any],
        deadline: float,
        on_done: Callable[[JobDone | JobFailed], None],
        hang_limit: float,
        order: int,
    ) -> None:
        self._scheduler = scheduler
        self._state = _State.QUEUED
        self.work = work
        self.deadline = deadline
        self.on_done = on_done
        self.hang_limit = hang_limit
        self.order = order
        self.submitted_at = scheduler.now()

    def cancel(self) -> None:
        """Call it off: if it has not started it never runs; in any case nothing more is reported. Idempotent."""
        self._scheduler._cancel(self)

    @property
    def _urgency(self) -> tuple[float, int]:
        return self.deadline, self.order


class _Worker:
    """A thread and what it is doing."""

    __slots__ = ("given_up", "job", "started_at", "thread")

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.job: Job | None = None
        self.started_at = 0.0
        self.given_up = False


class InferenceScheduler:
    """Runs jobs on daemon threads of its own, which end when they have been idle for a while.

    Reports are made on a thread of the scheduler or on that of the caller, exactly once for each job that is not
    cancelled. All methods may be called from any thread. A forked child starts with an empty scheduler.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        max_queued: int = 128,
        hang_limit: float = 5.0,
        max_given_up: int = 4,
        idle_limit: float = 30.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            workers: threads at most; None takes :func:`eot_core.cpu.worker_count`.
            max_queued: jobs that may wait. At 30 ms each, four workers finish 128 jobs in the second that a request
                usually has, so a longer queue would only hold jobs that expire in it.
            hang_limit: seconds after which a running job is given up and its thread replaced. Looked at whenever a job
                is submitted.
            max_given_up: threads that may be stuck beside the working ones; beyond that none is replaced.
            idle_limit: seconds (of real time) after which an idle thread ends.
            now: monotonic seconds, the clock of the deadlines.

        Raises:
            ValueError: a figure is out of range.
        """
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        if max_queued < 1:
            raise ValueError(f"max_queued must be at least 1, got {max_queued}")
        if not hang_limit > 0:
            raise ValueError(f"hang_limit must be more than 0 s, got {hang_limit}")
        if max_given_up < 0:
            raise ValueError(f"max_given_up must not be negative, got {max_given_up}")
        if not idle_limit > 0:
            raise ValueError(f"idle_limit must be more than 0 s, got {idle_limit}")
        self.now = now
        self._limit = workers if workers is not None else worker_count()
        self._max_queued = max_queued
        self._hang_limit = hang_limit
        self._max_given_up = max_given_up
        self._idle_limit = idle_limit
        self._reset()
        _schedulers.add(self)

    def _reset(self) -> None:
        """Begin with nothing. In a forked child the threads are gone, and the lock may be held by one of them."""
        self._changed = threading.Condition()
        self._queue: list[Job] = []
        self._workers: set[_Worker] = set()
        self._given_up: set[_Worker] = set()
        self._idle = 0
        self._submitted = 0
        self._closed = False

    @property
    def queued(self) -> int:
        """Jobs that wait."""
        return len(self._queue)

    @property
    def threads(self) -> int:
        """Threads alive, those that were given up included."""
        return len(self._workers) + len(self._given_up)

    def submit(
        self,
        work: Callable[[], Any],
        *,
        deadline: float,
        on_done: Callable[[JobDone | JobFailed], None],
        hang_limit: float | None = None,
    ) -> Job:
        """Queue ``work``. Returns at once and does not raise.

        Args:
            work: called with no arguments, on another thread.
            deadline: seconds of the scheduler's clock; not started by then, it never runs ("expired"). Infinity puts it
                behind everything else. When the queue is full, the job with the latest deadline goes ("overloaded").
            on_done: gets the report; must not block.
            hang_limit: instead of the scheduler's own, for work that is known to take long.
        """
        losers: list[tuple[Job, JobFailed]] = []
        with self._changed:
            self._submitted += 1
            limit = self._hang_limit if hang_limit is None else hang_limit
            job = Job(self, work, deadline, on_done, limit, self._submitted)
            self._queue.append(job)
            if self._closed:
                self._drop(job, "closed", losers)
            else:
                self._give_up_hung(losers)
                self._make_room(losers)
                self._start_worker(losers)
        _report_all(losers)
        return job

    def close(self, timeout: float = 1.0) -> None:
        """Drop what waits and let the threads end.

        Args:
            timeout: seconds of real time to wait for jobs that are running.
        """
        losers: list[tuple[Job, JobFailed]] = []
        with self._changed:
            self._closed = True
            for job in list(self._queue):
                self._drop(job, "closed", losers)
            threads = [worker.thread for worker in self._workers if worker.thread is not None]
            self._changed.notify_all()
        _report_all(losers)
        until = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    # -- under the lock -----------------------------------------------------------------------------------------------

    def _drop(self, job: Job, reason: str, losers: list[tuple[Job, JobFailed]]) -> None:
        self._queue.remove(job)
        job._state = _State.OVER
        losers.append((job, JobFailed(reason)))

    def _drop_expired(self, losers: list[tuple[Job, JobFailed]]) -> None:
        now = self.now()
        for job in [job for job in self._queue if job.deadline <= now]:
            self._drop(job, "expired", losers)

    def _make_room(self, losers: list[tuple[Job, JobFailed]]) -> None:
        if len(self._queue) > self._max_queued:
            self._drop_expired(losers)
        if len(self._queue) > self._max_queued:
            self._drop(max(self._queue, key=lambda job: job._urgency), "overloaded", losers)

    def _give_up_hung(self, losers: list[tuple[Job, JobFailed]]) -> None:
        now = self.now()
        for worker in list(self._workers):
            job = worker.job
            if job is None or now - worker.started_at <= job.hang_limit or len(self._given_up) >= self._max_given_up:
                continue
            worker.given_up = True
            self._workers.remove(worker)
            self._given_up.add(worker)
            if job._state is _State.RUNNING:
                job._state = _State.OVER
                losers.append((job, JobFailed("model_hung")))
            logger.error(
                "inference has been stuck for %.1f s: its thread is given up and replaced (%d of at most %d)",
                now - worker.started_at,
                len(self._given_up),
                self._max_given_up,
            )

    def _start_worker(self, losers: list[tuple[Job, JobFailed]]) -> None:
        """Wake an idle worker, or start one where there is room."""
        if self._idle >= len(self._queue) or len(self._workers) >= self._limit:
            self._changed.notify()
            return
        worker = _Worker()
        worker.thread = threading.Thread(target=self._run, args=(worker,), name="eot-inference", daemon=True)
        self._workers.add(worker)
        try:
            worker.thread.start()
        except RuntimeError as error:  # the process may start no more threads
            self._workers.remove(worker)
            logger.error("cannot start a thread for inference: %s", error)
            if not self._workers:
                for job in list(self._queue):
                    self._drop(job, "overloaded", losers)

    def _take(self, worker: _Worker, losers: list[tuple[Job, JobFailed]]) -> Job | None:
        """The most urgent job, once there is one; None when there are losers to report, or the worker shall end."""
        while True:
            self._drop_expired(losers)
            if self._queue:
                job = min(self._queue, key=lambda job: job._urgency)
                self._queue.remove(job)
                job._state = _State.RUNNING
                worker.job, worker.started_at = job, self.now()
                return job
            if losers:
                return None
            if self._closed:
                self._workers.discard(worker)
                return None
            self._idle += 1
            woken = self._changed.wait(self._idle_limit)
            self._idle -= 1
            if not woken and not self._queue:
                self._workers.discard(worker)
                return None

    # -- on a worker's thread -----------------------------------------------------------------------------------------

    def _run(self, worker: _Worker) -> None:
        while worker in self._workers:
            losers: list[tuple[Job, JobFailed]] = []
            with self._changed:
                job = self._take(worker, losers)
            _report_all(losers)
            if job is None:
                continue
            outcome = self._work(job, worker.started_at)
            with self._changed:
                worker.job = None
                self._given_up.discard(worker)  # it came back after all, and ends
                wanted = job._state is _State.RUNNING
                job._state = _State.OVER
            if wanted:
                _report(job, outcome)
            del job, outcome  # an idle thread keeps no audio alive

    @staticmethod
    def _work(job: Job, started_at: float) -> JobDone | JobFailed:
        try:
            return JobDone(job.work(), started_at - job.submitted_at)
        except BaseException as error:  # SystemExit in a model must not end the thread unreported
            return JobFailed(f"model_error: {type(error).__name__}", error)

    # -- from a job ---------------------------------------------------------------------------------------------------

    def _cancel(self, job: Job) -> None:
        with self._changed:
            if job._state is _State.QUEUED and job in self._queue:
                self._queue.remove(job)
            job._state = _State.OVER


def _report(job: Job, outcome: JobDone | JobFailed) -> None:
    try:
        job.on_done(outcome)
    except Exception:
        logger.exception("the receiver of an inference result failed")


def _report_all(losers: list[tuple[Job, JobFailed]]) -> None:
    for job, failure in losers:
        _report(job, failure)


NO_DEADLINE = math.inf

_schedulers: weakref.WeakSet[InferenceScheduler] = weakref.WeakSet()
_default: InferenceScheduler | None = None
_default_lock = threading.Lock()


def default_scheduler() -> InferenceScheduler:
    """The one scheduler of this process."""
    global _default
    with _default_lock:
        if _default is None:
            _default = InferenceScheduler()
            # A daemon thread that returns from native code while the interpreter is being taken down crashes it.
            atexit.register(_default.close)
        return _default


def _after_fork() -> None:
    global _default_lock
    _default_lock = threading.Lock()
    for scheduler in list(_schedulers):
        scheduler._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
