"""The local transport whose model fails, hangs or is not there, and the end of a stream with work under way."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import threading
import weakref

import numpy as np
import pytest
from local_rig import WAIT, FakeModel, Sink, handle_of, opened, request

from eot_core.clock import ManualClock
from eot_core.models.base import Model, ModelNotInstalledError
from eot_core.transports.local import LOAD_LIMIT, InferenceScheduler, LocalTransport


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
