from __future__ import annotations

import asyncio
import gc
import logging
import math
import threading
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from eot_core.clock import LoopClock, ManualClock
from eot_core.models.base import Model, ModelNotInstalledError, ModelSpec, PcmArray
from eot_core.models.handle import ModelHandle
from eot_core.models.smart_turn import SMART_TURN_V3_2
from eot_core.transports.base import Answer, Calibration, InferenceRequest, Transport
from eot_core.transports.local import LOAD_LIMIT, InferenceScheduler, LocalTransport, default_scheduler

WAIT = 30.0


class FakeModel:
    """Answers with what it is told; audio whose first sample is 1 waits for the gate."""

    def __init__(self, answer: object = 0.7) -> None:
        self.answer = answer
        self.seen: list[int] = []
        self.started = threading.Event()
        self.gate = threading.Event()

    def predict(self, pcm: PcmArray) -> float:
        self.seen.append(int(pcm[0]))
        if pcm[0] == 1:
            self.started.set()
            assert self.gate.wait(WAIT)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[return-value]


class Sink:
    """Collects reports; all of them on the loop's thread."""

    def __init__(self) -> None:
        self.ready = 0
        self.answers: dict[str, Answer] = {}
        self.failures: dict[str, str] = {}
        self.news = asyncio.Event()
        self._thread = threading.get_ident()

    def _note(self) -> None:
        assert threading.get_ident() == self._thread
        self.news.set()

    def on_ready(self, calibration: Calibration | None) -> None:
        assert calibration is None
        self.ready += 1
        self._note()

    def on_answer(self, request_id: str, answer: Answer) -> None:
        assert request_id not in self.answers
        self.answers[request_id] = answer
        self._note()

    def on_request_failed(self, request_id: str, reason: str) -> None:
        self.failures[request_id] = reason
        self._note()

    def on_failed(self, reason: str, *, retryable: bool) -> None:
        raise AssertionError("a local transport never dies")

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT):
            while not done():
                self.news.clear()
                await self.news.wait()


def handle_of(model: Model | Callable[[], Model]) -> ModelHandle:
    load = (lambda: model) if hasattr(model, "predict") else model
    return ModelHandle(ModelSpec("fake", "tests", "Apache-2.0", 8.0, load, default_threshold=0.5))  # type: ignore[arg-type]


def request(request_id: str, deadline: float = 1.0, first_sample: int = 0) -> InferenceRequest:
    pcm = np.zeros(100, dtype=np.int16)
    pcm[0] = first_sample
    return InferenceRequest(request_id, pcm, created_at=0.0, deadline=deadline)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def scheduler(clock: ManualClock) -> Iterator[InferenceScheduler]:
    one = InferenceScheduler(workers=1, now=clock.now, max_queued=3)
    yield one
    one.close(WAIT)


async def opened(transport: LocalTransport) -> Sink:
    sink = Sink()
    transport.open(sink)
    await sink.until(lambda: sink.ready == 1)
    return sink


async def test_warms_up_in_the_background_then_answers(scheduler: InferenceScheduler, clock: ManualClock) -> None:
    model = FakeModel()
    transport: Transport = LocalTransport(handle_of(model), scheduler=scheduler, clock=clock)
    sink = Sink()
    transport.open(sink)
    transport.open(sink)
    assert sink.ready == 0
    await sink.until(lambda: sink.ready == 1)
    assert len(model.seen) == 1
    transport.push_audio(np.zeros(10, np.int16), 0.0)
    transport.start(request("a", first_sample=5))
    await sink.until(lambda: "a" in sink.answers)
    transport.flush()
    assert sink.answers["a"] == Answer(0.7)
    assert model.seen == [0, 5]
    await transport.aclose()
    assert sink.ready == 1


async def test_a_loaded_model_is_ready_at_the_next_turn_of_the_loop(scheduler: InferenceScheduler) -> None:
    model = FakeModel()
    handle = handle_of(model)
    handle.get()
    sink = await opened(LocalTransport(handle, scheduler=scheduler))
    assert (sink.ready, model.seen, scheduler.threads) == (1, [], 0)


async def test_a_second_stream_does_not_warm_up_again(scheduler: InferenceScheduler) -> None:
    model, block, blocked = FakeModel(), threading.Event(), threading.Event()

    def hold() -> None:
        blocked.set()
        assert block.wait(WAIT)

    handle = handle_of(model)
    scheduler.submit(hold, deadline=math.inf, on_done=lambda result: None)
    assert blocked.wait(WAIT)
    sinks = [Sink(), Sink()]
    transports = [LocalTransport(handle, scheduler=scheduler) for _ in sinks]
    for transport, sink in zip(transports, sinks, strict=True):
        transport.open(sink)
    block.set()
    for sink in sinks:
        await sink.until(lambda sink=sink: sink.ready == 1)  # type: ignore[misc]
    assert len(model.seen) == 1


async def test_queue_and_inference_time_are_apart(scheduler: InferenceScheduler, clock: ManualClock) -> None:
    model = FakeModel()
    transport = LocalTransport(handle_of(model), scheduler=scheduler, clock=clock)
    sink = await opened(transport)
    transport.start(request("first", first_sample=1))
    assert model.started.wait(WAIT)
    transport.start(request("second"))
    clock.advance(0.125)
    model.gate.set()
    await sink.until(lambda: len(sink.answers) == 2)
    assert sink.answers["first"] == Answer(0.7, queue_time=0.0, inference_time=0.125)
    assert sink.answers["second"] == Answer(0.7, queue_time=0.125, inference_time=0.0)


async def test_loading_counts_as_waiting(scheduler: InferenceScheduler, clock: ManualClock) -> None:
    model, loads = FakeModel(), []

    def load() -> Model:
        loads.append(1)
        if len(loads) == 1:
            raise ModelNotInstalledError("not yet")
        clock.advance(0.5)
        return model

    transport = LocalTransport(handle_of(load), scheduler=scheduler, clock=clock)
    sink = Sink()
    transport.open(sink)
    while not scheduler._idle:  # the warm-up has failed
        threading.Event().wait(0.001)
    transport.start(request("a"))
    await sink.until(lambda: "a" in sink.answers)
    assert sink.answers["a"] == Answer(0.7, queue_time=0.5, inference_time=0.0)


async def test_superseded_before_its_start_it_never_runs(scheduler: InferenceScheduler, clock: ManualClock) -> None:
    model = FakeModel()
    transport = LocalTransport(handle_of(model), scheduler=scheduler, clock=clock)
    sink = await opened(transport)
    transport.start(request("running", first_sample=1))
    assert model.started.wait(WAIT)
    for sample in range(10, 20):
        transport.start(request(f"r{sample}", first_sample=sample))
        transport.stop(f"r{sample}")
        transport.stop(f"r{sample}")
    transport.start(request("last", first_sample=99))
    transport.stop("running")
    model.gate.set()
    await sink.until(lambda: "last" in sink.answers)
    assert model.seen == [0, 1, 99]
    assert set(sink.answers) == {"last"}
    assert sink.failures == {}


async def test_the_same_id_again_replaces_the_request(scheduler: InferenceScheduler, clock: ManualClock) -> None:
    model = FakeModel()
    transport = LocalTransport(handle_of(model), scheduler=scheduler, clock=clock)
    sink = await opened(transport)
    transport.start(request("running", first_sample=1))
    assert model.started.wait(WAIT)
    transport.start(request("twice", first_sample=2))
    transport.start(request("twice", first_sample=3))
    model.gate.set()
    await sink.until(lambda: len(sink.answers) == 2)
    assert model.seen == [0, 1, 3]


async def test_the_most_urgent_first_across_streams(scheduler: InferenceScheduler, clock: ManualClock) -> None:
    model = FakeModel()
    handle = handle_of(model)
    one, other = (LocalTransport(handle, scheduler=scheduler, clock=clock) for _ in range(2))
    sink, sink_of_other = await opened(one), await opened(other)
    one.start(request("running", first_sample=1))
    assert model.started.wait(WAIT)
    one.start(request("late", deadline=5.0, first_sample=50))
    other.start(request("soon", deadline=2.0, first_sample=20))
    model.gate.set()
    await sink.until(lambda: "late" in sink.answers)
    assert model.seen[-2:] == [20, 50]
    await sink_of_other.until(lambda: "soon" in sink_of_other.answers)


async def test_full_queue_and_deadline(scheduler: InferenceScheduler, clock: ManualClock) -> None:
    model = FakeModel()
    transport = LocalTransport(handle_of(model), scheduler=scheduler, clock=clock)
    sink = await opened(transport)
    transport.start(request("running", deadline=9.0, first_sample=1))
    assert model.started.wait(WAIT)
    for number in range(4):
        transport.start(request(f"r{number}", deadline=1.0 + number))
    await sink.until(lambda: bool(sink.failures))
    assert sink.failures == {"r3": "overloaded"}
    clock.advance(1.5)
    model.gate.set()
    await sink.until(lambda: len(sink.answers) == 3)
    assert set(sink.answers) == {"running", "r1", "r2"}
    assert sink.failures == {"r3": "overloaded", "r0": "expired"}


async def test_deadlines_are_on_the_streams_own_clock(scheduler: InferenceScheduler, clock: ManualClock) -> None:
    model, session_clock = FakeModel(), ManualClock(1_000.0)
    transport = LocalTransport(handle_of(model), scheduler=scheduler, clock=session_clock)
    sink = await opened(transport)
    transport.start(request("running", deadline=1_009.0, first_sample=1))
    assert model.started.wait(WAIT)
    transport.start(request("short", deadline=1_001.0))
    transport.start(request("long", deadline=1_003.0))
    clock.advance(2.0)
    model.gate.set()
    await sink.until(lambda: len(sink.answers) == 2)
    assert set(sink.answers) == {"running", "long"}


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), -3.0])
async def test_nonsense_is_passed_on_for_the_session_to_judge(scheduler: InferenceScheduler, answer: float) -> None:
    transport = LocalTransport(handle_of(FakeModel(answer)), scheduler=scheduler)
    sink = await opened(transport)
    transport.start(request("a", deadline=math.inf))
    await sink.until(lambda: "a" in sink.answers)
    np.testing.assert_equal(sink.answers["a"].probability, answer)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ValueError("secret"), "model_error: ValueError"),
        (SystemExit("secret"), "model_error: SystemExit"),
        (None, "model_error: TypeError"),
    ],
)
async def test_a_model_that_throws(
    scheduler: InferenceScheduler, answer: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "eot_core.transports.local")
    model = FakeModel()
    transport = LocalTransport(handle_of(model), scheduler=scheduler)
    sink = await opened(transport)
    model.answer = answer
    for name in ("a", "b"):
        transport.start(request(name, deadline=math.inf))
        await sink.until(lambda name=name: name in sink.failures)  # type: ignore[misc]
    assert sink.failures == {"a": reason, "b": reason}
    assert [record.getMessage() for record in caplog.records] == [f"fake: {reason}"]  # once
    model.answer = 0.1
    transport.start(request("c", deadline=math.inf))
    await sink.until(lambda: "c" in sink.answers)


async def test_a_model_that_cannot_be_loaded_and_then_can(
    scheduler: InferenceScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [ModelNotInstalledError("pip install\n it " + "x" * 500), ModelNotInstalledError("again")]
    errors.append(OSError("/home/somebody"))

    def load() -> Model:
        if errors:
            raise errors.pop(0)
        return FakeModel()

    transport = LocalTransport(handle_of(load), scheduler=scheduler)
    sink = Sink()
    with caplog.at_level(logging.INFO, "eot_core.transports.local"):
        transport.open(sink)
        while not scheduler._idle:  # the warm-up has failed
            threading.Event().wait(0.001)
        for name in "abc":
            transport.start(request(name, deadline=1e9))
            await sink.until(lambda name=name: name in sink.answers or name in sink.failures)  # type: ignore[misc]
    assert sink.ready == 0
    assert sink.failures == {"a": "model_unavailable: again", "b": "model_unavailable: OSError"}
    assert set(sink.answers) == {"c"}
    first = caplog.records[0].getMessage()
    assert first.startswith("fake: model_unavailable: pip install it xxx")
    assert len(first) < 200


async def test_a_model_that_hangs_does_not_starve_the_others(scheduler: InferenceScheduler, clock: ManualClock) -> None:
    hanging, healthy = FakeModel(), FakeModel()
    handle = handle_of(hanging)
    one, other = (
        LocalTransport(handle, scheduler=scheduler, clock=clock),
        LocalTransport(handle_of(healthy), scheduler=scheduler, clock=clock),
    )
    sink, sink_of_other = await opened(one), await opened(other)
    one.start(request("hangs", first_sample=1))
    assert hanging.started.wait(WAIT)
    clock.advance(5.5)
    other.start(request("fine", deadline=6.5))
    await sink_of_other.until(lambda: "fine" in sink_of_other.answers)
    await sink.until(lambda: "hangs" in sink.failures)
    assert sink.failures == {"hangs": "model_hung"}
    hanging.gate.set()


async def test_a_slow_load_is_not_taken_for_a_hang(scheduler: InferenceScheduler, clock: ManualClock) -> None:
    started, go = threading.Event(), threading.Event()

    def load() -> Model:
        started.set()
        assert go.wait(WAIT)
        return FakeModel()

    transport = LocalTransport(handle_of(load), scheduler=scheduler, clock=clock)
    sink = Sink()
    transport.open(sink)
    assert started.wait(WAIT)
    clock.advance(LOAD_LIMIT - 1.0)
    transport.start(request("a", deadline=100.0))
    assert scheduler.threads == 1
    go.set()
    await sink.until(lambda: sink.ready == 1 and "a" in sink.answers)


async def test_nothing_is_reported_after_close(scheduler: InferenceScheduler) -> None:
    model = FakeModel()
    handle = handle_of(model)
    transport, other = LocalTransport(handle, scheduler=scheduler), LocalTransport(handle, scheduler=scheduler)
    sink, sink_of_other = await opened(transport), await opened(other)
    transport.start(request("running", deadline=1e9, first_sample=1))
    assert model.started.wait(WAIT)
    transport.start(request("waiting", deadline=1e9, first_sample=2))
    transport.close()
    await transport.aclose()
    transport.start(request("late", deadline=1e9))
    transport.stop("waiting")
    transport.open(sink)
    model.gate.set()
    other.start(request("other", deadline=1e9, first_sample=3))
    await sink_of_other.until(lambda: "other" in sink_of_other.answers)
    assert model.seen == [0, 1, 3]
    assert (sink.answers, sink.failures, sink.ready) == ({}, {}, 1)


async def test_closed_while_it_warms_up_or_is_about_to_report(scheduler: InferenceScheduler) -> None:
    loaded = handle_of(FakeModel())
    loaded.get()
    for handle in (handle_of(FakeModel()), loaded):
        transport, sink = LocalTransport(handle, scheduler=scheduler), Sink()
        transport.open(sink)
        transport.close()
        await asyncio.sleep(0)
        assert sink.ready == 0
    transport = LocalTransport(handle_of(FakeModel()), scheduler=scheduler)
    sink = await opened(transport)
    transport.start(request("a", deadline=1e9))
    while scheduler.queued or not scheduler._idle:  # done, and its report is under way to the loop
        threading.Event().wait(0.001)
    transport.close()
    await asyncio.sleep(0)
    assert sink.answers == {}


async def test_before_open_there_is_nobody_to_tell(scheduler: InferenceScheduler) -> None:
    model = FakeModel()
    transport = LocalTransport(handle_of(model), scheduler=scheduler)
    transport.start(request("a"))
    transport.stop("a")
    transport.close()
    assert (model.seen, scheduler.threads) == ([], 0)


async def test_a_dropped_stream_is_freed_while_its_request_runs(scheduler: InferenceScheduler) -> None:
    model = FakeModel()
    handle = handle_of(model)
    handle.get()
    transport = LocalTransport(handle, scheduler=scheduler)
    await opened(transport)
    transport.start(request("running", deadline=1e9, first_sample=1))
    assert model.started.wait(WAIT)
    gone = weakref.ref(transport)
    del transport
    gc.collect()
    assert gone() is None
    model.gate.set()
    while not scheduler._idle:
        threading.Event().wait(0.001)
    await asyncio.sleep(0)


def test_a_closed_loop_is_no_trouble(scheduler: InferenceScheduler, caplog: pytest.LogCaptureFixture) -> None:
    model = FakeModel()
    transport = LocalTransport(handle_of(model), scheduler=scheduler)

    async def call() -> None:
        await opened(transport)
        transport.start(request("running", deadline=1e9, first_sample=1))

    asyncio.run(call())
    assert model.started.wait(WAIT)
    model.gate.set()
    while not scheduler._idle:
        threading.Event().wait(0.001)
    assert caplog.text == ""


async def test_the_real_model_on_the_processes_scheduler() -> None:
    if not SMART_TURN_V3_2.is_available():
        pytest.skip("pipecat-ai is not installed")
    clock = LoopClock(asyncio.get_running_loop())
    transport = LocalTransport(SMART_TURN_V3_2, clock=clock)
    assert transport._scheduler is default_scheduler()
    sink = await opened(transport)
    noise = np.random.default_rng(0).integers(-3_000, 3_000, 48_000, dtype=np.int16)
    transport.start(InferenceRequest("real", noise, clock.now(), clock.now() + 30.0))
    await sink.until(lambda: "real" in sink.answers)
    assert sink.answers["real"].probability == SMART_TURN_V3_2.load().predict(noise)
    assert sink.answers["real"].inference_time > 0
    await transport.aclose()
