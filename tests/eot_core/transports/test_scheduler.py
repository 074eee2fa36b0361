from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eot_core.clock import ManualClock
from eot_core.transports.scheduler import NO_DEADLINE, InferenceScheduler, Job, JobDone, JobFailed, default_scheduler

WAIT = 30.0


class Gate:
    """Work that waits until it is let go."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> str:
        self.started.set()
        assert self.open.wait(WAIT)
        return "passed"


class Bench:
    """A scheduler on a manual clock, and what it has reported, in order."""

    def __init__(self, clock: ManualClock, **options: object) -> None:
        self.clock = clock
        self.reports: list[tuple[str, JobDone | JobFailed]] = []
        self.ran: list[str] = []
        self._reported = threading.Condition()
        self.gates: list[Gate] = []
        self.scheduler = InferenceScheduler(now=clock.now, **options)  # type: ignore[arg-type]

    def submit(self, name: str, deadline: float = 1.0, work: Callable[[], object] | None = None) -> Job:
        def run() -> object:
            self.ran.append(name)
            return work() if work is not None else name

        def report(result: JobDone | JobFailed) -> None:
            with self._reported:
                self.reports.append((name, result))
                self._reported.notify_all()

        return self.scheduler.submit(run, deadline=deadline, on_done=report)

    def block(self, deadline: float = 1.0) -> Gate:
        """Keep one worker busy."""
        gate = Gate()
        self.gates.append(gate)
        self.submit("gate", deadline, gate)
        assert gate.started.wait(WAIT)
        return gate

    def wait_for(self, count: int) -> list[tuple[str, JobDone | JobFailed]]:
        with self._reported:
            assert self._reported.wait_for(lambda: len(self.reports) >= count, WAIT), self.reports
            return list(self.reports)

    def names(self, count: int) -> list[str]:
        return [name for name, _ in self.wait_for(count)]


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**options: object) -> Bench:
        made.append(Bench(ManualClock(), **{"workers": 1, **options}))
        return made[-1]

    yield make
    for one in made:
        for gate in one.gates:
            gate.open.set()
        one.scheduler.close(WAIT)


def reason(report: tuple[str, JobDone | JobFailed]) -> tuple[str, str]:
    name, result = report
    assert isinstance(result, JobFailed)
    return name, result.reason


def test_a_result_with_the_time_it_waited(bench: Callable[..., Bench]) -> None:
    b = bench()
    gate = b.block()
    b.submit("job")
    b.clock.advance(0.25)
    gate.open.set()
    assert b.wait_for(2) == [("gate", JobDone("passed", 0.0)), ("job", JobDone("job", 0.25))]


def test_earliest_deadline_first_and_in_order_where_equal(bench: Callable[..., Bench]) -> None:
    b = bench()
    gate = b.block()
    for name, deadline in [("late", 9.0), ("never", NO_DEADLINE), ("soon", 1.0), ("soon too", 1.0), ("middle", 5.0)]:
        b.submit(name, deadline)
    gate.open.set()
    assert b.names(6) == ["gate", "soon", "soon too", "middle", "late", "never"]


def test_a_cancelled_job_never_runs_and_reports_nothing(bench: Callable[..., Bench]) -> None:
    b = bench()
    gate = b.block()
    cancelled = b.submit("cancelled")
    assert b.scheduler.queued == 1
    cancelled.cancel()
    cancelled.cancel()
    assert b.scheduler.queued == 0
    b.submit("other")
    gate.open.set()
    assert b.names(2) == ["gate", "other"]
    assert b.ran == ["gate", "other"]
    cancelled.cancel()


def test_a_job_cancelled_while_it_runs_reports_nothing(bench: Callable[..., Bench]) -> None:
    b = bench()
    gate = Gate()
    b.gates.append(gate)
    running = b.submit("running", 1.0, gate)
    assert gate.started.wait(WAIT)
    running.cancel()
    gate.open.set()
    b.submit("other")
    assert b.names(1) == ["other"]


def test_an_expired_job_never_runs(bench: Callable[..., Bench]) -> None:
    b = bench()
    gate = b.block()
    b.submit("expired", 1.0)
    b.submit("alive", 1.5)
    b.clock.advance(1.0)
    gate.open.set()
    assert sorted(b.names(3)) == ["alive", "expired", "gate"]
    assert reason(next(report for report in b.reports if report[0] == "expired")) == ("expired", "expired")
    assert b.ran == ["gate", "alive"]


def test_a_last_expired_job_is_reported_too(bench: Callable[..., Bench]) -> None:
    b = bench()
    gate = b.block()
    b.submit("expired", 1.0)
    b.clock.advance(2.0)
    gate.open.set()
    assert reason(b.wait_for(2)[1]) == ("expired", "expired")


def test_when_full_the_latest_deadline_goes(bench: Callable[..., Bench]) -> None:
    b = bench(max_queued=2)
    gate = b.block()
    b.submit("early", 1.0)
    b.submit("late", 3.0)
    b.submit("middle", 2.0)
    assert reason(b.reports[0]) == ("late", "overloaded")
    b.submit("latest", 4.0)
    assert reason(b.reports[1]) == ("latest", "overloaded")
    assert b.scheduler.queued == 2
    gate.open.set()
    assert b.names(5)[2:] == ["gate", "early", "middle"]


def test_when_full_expired_jobs_go_first(bench: Callable[..., Bench]) -> None:
    b = bench(max_queued=2)
    gate = b.block()
    b.submit("expired", 1.0)
    b.submit("late", 9.0)
    b.clock.advance(1.0)
    b.submit("new", 2.0)
    assert reason(b.reports[0]) == ("expired", "expired")
    gate.open.set()
    assert b.names(4)[1:] == ["gate", "new", "late"]


def test_as_many_at_a_time_as_there_are_workers(bench: Callable[..., Bench]) -> None:
    b = bench(workers=2)
    first, second = b.block(), b.block()
    third = Gate()
    b.gates.append(third)
    b.submit("third", 1.0, third)
    assert b.scheduler.threads == 2
    assert not third.started.is_set()
    first.open.set()
    assert third.started.wait(WAIT)
    second.open.set()
    third.open.set()
    assert sorted(b.names(3)) == ["gate", "gate", "third"]


def test_whatever_the_work_raises_the_thread_goes_on(bench: Callable[..., Bench]) -> None:
    b = bench()
    for error in (ValueError("x"), SystemExit(1), KeyboardInterrupt()):

        def work(error: BaseException = error) -> None:
            raise error

        b.submit("bad", 1.0, work)
    b.submit("good")
    reports = b.wait_for(4)
    assert [reason(report)[1] for report in reports[:3]] == [
        "model_error: ValueError",
        "model_error: SystemExit",
        "model_error: KeyboardInterrupt",
    ]
    assert reports[3][0] == "good"


def test_a_receiver_that_fails_is_logged(bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture) -> None:
    b = bench()

    def explode(result: JobDone | JobFailed) -> None:
        raise ValueError("receiver")

    b.scheduler.submit(lambda: 1, deadline=1.0, on_done=explode)
    b.submit("next")
    assert b.names(1) == ["next"]
    assert "the receiver of an inference result failed" in caplog.text


def test_a_hung_worker_is_replaced(bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture) -> None:
    b = bench(hang_limit=5.0)
    gate = b.block()
    b.clock.advance(5.0)
    b.submit("waits", 6.0)
    assert b.reports == []
    b.clock.advance(0.1)
    with caplog.at_level(logging.ERROR):
        b.submit("comes", 7.0)
    assert b.names(3) == ["gate", "waits", "comes"]
    assert reason(b.reports[0]) == ("gate", "model_hung")
    assert "stuck for 5.1 s" in caplog.text
    assert b.scheduler.threads == 2
    gate.open.set()  # it comes back: nothing more is reported, and its thread ends
    while b.scheduler.threads > 1:
        threading.Event().wait(0.001)
    b.submit("after", 7.0)
    assert b.names(4)[3:] == ["after"]


def test_a_hung_job_that_was_cancelled_is_replaced_silently(bench: Callable[..., Bench]) -> None:
    b = bench(hang_limit=5.0)
    gate = Gate()
    b.gates.append(gate)
    job = b.submit("hangs", 1.0, gate)
    assert gate.started.wait(WAIT)
    job.cancel()
    b.clock.advance(6.0)
    b.submit("next", 7.0)
    assert b.names(1) == ["next"]


def test_work_that_may_take_long(bench: Callable[..., Bench]) -> None:
    b = bench(hang_limit=5.0)
    gate = Gate()
    b.gates.append(gate)
    b.scheduler.submit(gate, deadline=NO_DEADLINE, on_done=lambda result: None, hang_limit=60.0)
    assert gate.started.wait(WAIT)
    b.clock.advance(59.0)
    b.submit("waits", 70.0)
    assert b.scheduler.threads == 1
    b.clock.advance(2.0)
    b.submit("next", 70.0)
    assert b.names(2) == ["waits", "next"]


def test_hung_workers_are_replaced_only_so_often(bench: Callable[..., Bench]) -> None:
    b = bench(hang_limit=5.0, max_given_up=1)
    b.block()
    b.clock.advance(6.0)
    b.block(deadline=7.0)
    b.clock.advance(6.0)
    b.submit("waits", 13.0)
    assert b.scheduler.threads == 2
    assert [name for name, _ in b.reports] == ["gate"]
    assert b.scheduler.queued == 1


def test_idle_threads_end(bench: Callable[..., Bench]) -> None:
    b = bench(idle_limit=0.01)
    b.submit("one")
    b.wait_for(1)
    while b.scheduler.threads:
        threading.Event().wait(0.001)
    b.submit("two")
    assert b.names(2) == ["one", "two"]


def test_an_idle_thread_is_used_again(bench: Callable[..., Bench]) -> None:
    b = bench(workers=4)
    used: set[int] = set()
    for count in range(1, 6):
        b.submit("job", 1.0, lambda: used.add(threading.get_ident()))
        b.wait_for(count)
        while not b.scheduler._idle:
            threading.Event().wait(0.001)
    assert len(used) == 1


def test_no_more_threads_to_be_had(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    b = bench(workers=2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        b.submit("lost")
    assert reason(b.reports[0]) == ("lost", "overloaded")
    assert "cannot start a thread" in caplog.text
    gate = b.block()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        b.submit("waits for the one there is")
    gate.open.set()
    assert len(b.names(3)) == 3


def test_closing_drops_what_waits(bench: Callable[..., Bench]) -> None:
    b = bench()
    gate = b.block()
    b.submit("waits")
    b.scheduler.close(0.0)
    assert reason(b.reports[0]) == ("waits", "closed")
    b.submit("too late")
    assert reason(b.reports[1]) == ("too late", "closed")
    gate.open.set()
    b.scheduler.close(WAIT)
    assert b.scheduler.threads == 0
    assert b.names(3) == ["waits", "too late", "gate"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [("workers", 0), ("max_queued", 0), ("hang_limit", 0.0), ("max_given_up", -1), ("idle_limit", float("nan"))],
)
def test_bad_arguments_are_named(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=argument):
        InferenceScheduler(**{argument: value})  # type: ignore[arg-type]


def test_one_for_the_process() -> None:
    assert default_scheduler() is default_scheduler()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_afresh(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.block()
    b.submit("the parent's")
    with b.scheduler._changed:  # as if another thread held the lock at that moment
        child = os.fork()
        if child == 0:
            try:
                done = threading.Event()
                b.scheduler.submit(lambda: 1, deadline=1.0, on_done=lambda result: done.set())
                default_scheduler().submit(lambda: 1, deadline=NO_DEADLINE, on_done=lambda result: None)
                os._exit(0 if done.wait(WAIT) and b.ran == ["gate"] else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert b.scheduler.queued == 1


def test_the_interpreter_ends_cleanly_in_the_middle_of_an_inference() -> None:
    code = (
        "from eot_core.models.smart_turn import SMART_TURN_V3_2\n"
        "from eot_core.transports.scheduler import default_scheduler\n"
        "import numpy as np, sys, threading\n"
        "if not SMART_TURN_V3_2.is_available(): sys.exit(0)\n"
        "model, pcm, begun = SMART_TURN_V3_2.load(), np.zeros(128000, np.int16), threading.Event()\n"
        "def work():\n"
        "    begun.set()\n"
        "    model.predict(pcm)\n"
        "for _ in range(50):\n"
        "    default_scheduler().submit(work, deadline=1e18, on_done=lambda result: None)\n"
        "assert begun.wait(30)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")
