"""Models, a scheduler and a cloud that do what a trace says, when the trace says it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from eot_core import FallbackOptions, ModelSpec
from eot_core.models.base import PcmArray
from eot_core.models.smart_turn import SMART_TURN_V3_2
from eot_core.transports.base import Answer, Calibration, InferenceRequest, TransportSink
from eot_core.transports.scheduler import JobDone, JobFailed

from .speech import Pause
from .trace import HANG, Cloud, Trace

_T = TypeVar("_T")


class Timeline:
    """Where in the trace the call is. Both frameworks' calls count from the first sample."""

    def __init__(self, pauses: tuple[Pause, ...], now: Callable[[], float]) -> None:
        self._pauses = pauses
        self._now = now
        self.origin = float("inf")

    @property
    def now(self) -> float:
        return self._now() - self.origin

    @property
    def pause(self) -> int:
        """Number of the pause that began last, from 0; before the first one 0 as well."""
        return max(0, sum(pause.ended_at <= self.now for pause in self._pauses) - 1)


def _at(values: tuple[_T, ...], number: int) -> _T:
    return values[min(number, len(values) - 1)]


class _LocalModel:
    """Says what the trace wants it to say in the pause in which it is asked."""

    def __init__(self, trace: Trace, timeline: Timeline) -> None:
        self._trace = trace
        self._timeline = timeline

    def predict(self, pcm: PcmArray) -> float:
        if not pcm.any():  # the warm-up
            return 0.0
        number = self._timeline.pause
        if self._trace.real_time:
            threading.Event().wait(min(_at(self._trace.latencies, number), 3.0))
        if number in self._trace.raises:
            raise RuntimeError("the model broke")
        assert self._trace.probabilities is not None
        return _at(self._trace.probabilities, number)


def local_model(trace: Trace, timeline: Timeline) -> ModelSpec:
    """The local model of a trace."""
    if trace.probabilities is None:
        return trace.spec or SMART_TURN_V3_2
    model = _LocalModel(trace, timeline)
    if trace.spec is not None:
        return replace(trace.spec, load=lambda: model)
    return ModelSpec(
        name=trace.local,
        provider="tests",
        license="Apache-2.0",
        window=8.0,
        load=lambda: model,
        default_threshold=0.5,
        thresholds=dict(trace.thresholds),
    )


class _Job:
    def __init__(self) -> None:
        self.over = False
        self.timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        self.over = True
        if self.timer is not None:
            self.timer.cancel()


class VirtualScheduler:
    """In place of the threads of :class:`eot_core.transports.scheduler.InferenceScheduler`: the work is done at once,
    and reported when the trace's latency has passed on the loop's clock."""

    def __init__(self, trace: Trace, timeline: Timeline) -> None:
        self._trace = trace
        self._timeline = timeline
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time

    def submit(
        self,
        work: Callable[[], Any],
        *,
        deadline: float,
        on_done: Callable[[JobDone | JobFailed], None],
        hang_limit: float | None = None,
    ) -> _Job:
        job = _Job()
        latency = 0.0 if deadline == HANG else _at(self._trace.latencies, self._timeline.pause)
        if latency == HANG:
            return job
        outcome: JobDone | JobFailed
        try:
            outcome = JobDone(work(), 0.0)
        except Exception as error:
            outcome = JobFailed(f"model_error: {type(error).__name__}", error)

        def report() -> None:
            if not job.over:
                on_done(outcome)

        job.timer = self._loop.call_later(latency, report)
        return job


class CloudTransport:
    """One stream's way to a cloud that is not there."""

    def __init__(self, cloud: Cloud, timeline: Timeline) -> None:
        self._cloud = cloud
        self._timeline = timeline
        self._loop = asyncio.get_running_loop()
        self._sink: TransportSink | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._requests = itertools.count()

    def open(self, sink: TransportSink) -> None:
        self._sink = sink
        if self._cloud.refuses is not None:
            self._timers["open"] = self._loop.call_later(0.05, self.fail, self._cloud.refuses, False)
            return
        calibration = Calibration(dict(self._cloud.thresholds), 0.6)
        self._timers["open"] = self._loop.call_later(0.05, sink.on_ready, calibration)

    def push_audio(self, pcm: PcmArray, captured_at: float) -> None:
        pass

    def start(self, request: InferenceRequest) -> None:
        assert self._sink is not None
        number = next(self._requests)
        if number == self._cloud.fails_in_request:
            self._timers[request.request_id] = self._loop.call_later(0.04, self.fail, "connection_closed_1011", True)
        elif self._cloud.latency != HANG:
            answer = Answer(_at(self._cloud.probabilities, self._timeline.pause), network_time=self._cloud.latency)
            self._timers[request.request_id] = self._loop.call_later(
                self._cloud.latency, self._sink.on_answer, request.request_id, answer
            )

    def stop(self, request_id: str) -> None:
        if (timer := self._timers.pop(request_id, None)) is not None:
            timer.cancel()

    def flush(self) -> None:
        pass

    def fail(self, reason: str, retryable: bool) -> None:
        """The connection breaks."""
        if self._sink is not None:
            sink = self._sink
            self.close()
            sink.on_failed(reason, retryable=retryable)

    def close(self) -> None:
        self._sink = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def aclose(self) -> None:
        self.close()


def detector_options(trace: Trace, timeline: Timeline) -> dict[str, Any]:
    """What both frameworks' detectors are made with."""
    spec = local_model(trace, timeline)
    options: dict[str, Any] = dict(trace.decides)
    if trace.override is not None:
        options["unlikely_threshold"] = trace.override
    if trace.cloud is None:
        return {**options, "model": spec}
    return {
        **options,
        "version": "v1",
        "base_url": "http://127.0.0.1:9/v1",
        "api_key": "key",
        "api_secret": "secret",
        "fallback_model": spec,
        "local_fallback": trace.cloud.local_fallback,
        "fallback": FallbackOptions(enabled=trace.cloud.local_fallback, recover_after=trace.cloud.recover_after),
    }
