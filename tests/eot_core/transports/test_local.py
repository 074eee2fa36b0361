"""The local transport: warm-up, answers and their times, and whose request comes first."""

from __future__ import annotations

import asyncio
import math
import threading

import numpy as np
import pytest
from local_rig import WAIT, FakeModel, Sink, handle_of, opened, request

from eot_core.clock import LoopClock, ManualClock
from eot_core.models.base import Model, ModelNotInstalledError
from eot_core.models.smart_turn import SMART_TURN_V3_2
from eot_core.transports.base import Answer, InferenceRequest, Transport
from eot_core.transports.local import InferenceScheduler, LocalTransport, default_scheduler


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


async def test_work_that_would_begin_too_late_to_be_of_use_does_not(
    scheduler: InferenceScheduler, clock: ManualClock
) -> None:
    model = FakeModel()
    transport = LocalTransport(handle_of(model), scheduler=scheduler, clock=clock, margin=0.5)
    sink = await opened(transport)
    transport.start(request("running", deadline=9.0, first_sample=1))
    assert model.started.wait(WAIT)
    transport.start(request("late", deadline=1.0))
    transport.start(request("in time", deadline=1.2))
    clock.advance(0.6)
    model.gate.set()
    await sink.until(lambda: len(sink.answers) == 2)
    assert sink.failures == {"late": "expired"}


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
