"""The way to a model in this process. The core owns the audio: a request carries its own snapshot."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import Callable, Mapping
from typing import cast

from ..clock import Clock
from ..models.base import Model, ModelError, ModelSpec, ModelWithHeads, PcmArray
from ..models.handle import ModelHandle, model_handle
from .base import Answer, InferenceRequest, TransportSink
from .scheduler import NO_DEADLINE, InferenceScheduler, Job, JobDone, JobFailed, default_scheduler

__all__ = ["InferenceScheduler", "LocalTransport", "default_scheduler"]

logger = logging.getLogger(__name__)

LOAD_LIMIT = 60.0
"""Seconds that the first load may take, for a cold disk and a model of 100 MB, before its thread is given up."""

_REASON_LENGTH = 160


class _Unavailable(Exception):
    """The model could not be loaded; ``args[0]`` says why, in a line."""


class LocalTransport:
    """One stream's way to a model that is shared by the whole process."""

    def __init__(
        self,
        model: ModelSpec | ModelHandle,
        *,
        scheduler: InferenceScheduler | None = None,
        clock: Clock | None = None,
        margin: float = 0.0,
    ) -> None:
        """
        Args:
            model: what to run; loaded when the first stream opens or asks, once for the process.
            scheduler: where to run it; None takes the one of this process.
            clock: the clock of the requests' deadlines; None takes the scheduler's own (``time.monotonic``).
            margin: seconds before a request's deadline after which the work on it does not begin any more.
        """
        self._handle = model if isinstance(model, ModelHandle) else model_handle(model)
        self._scheduler = default_scheduler() if scheduler is None else scheduler
        self._now: Callable[[], float] = self._scheduler.now if clock is None else clock.now
        self._margin = margin
        self._sink: TransportSink | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: dict[str, Job] = {}
        self._warm_up: Job | None = None
        self._complained: set[str] = set()
        self._closed = False

    def open(self, sink: TransportSink) -> None:
        """Load the model and warm it up in the background. Must be called on the event loop's thread, once.

        Without the model nothing is lost yet: each request tries again to load it, and fails by itself.
        """
        if self._closed or self._sink is not None:
            return
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        if self._handle.loaded:
            self._loop.call_soon(self._ready, None)
        else:
            handle = self._handle
            self._warm_up = self._scheduler.submit(
                lambda: _warm_up(handle),
                deadline=NO_DEADLINE,
                on_done=self._deliver_to(LocalTransport._ready),
                hang_limit=LOAD_LIMIT,
            )

    def push_audio(self, pcm: PcmArray, captured_at: float) -> None:
        """Nothing to do: a request brings its audio."""

    def flush(self) -> None:
        """Nothing to do: there is no state beyond a request."""

    def start(self, request: InferenceRequest) -> None:
        """Queue the request; ignored after ``close`` and before ``open``, when there is nobody to report to."""
        if self._closed or self._sink is None:
            return
        self.stop(request.request_id)
        handle, pcm, now = self._handle, request.pcm, self._scheduler.now
        request_id = request.request_id
        deadline = now() + (request.deadline - self._now())  # the two clocks need not count from the same moment
        begin = deadline - self._margin
        self._jobs[request_id] = self._scheduler.submit(
            lambda: _infer(handle, pcm, deadline, now),
            deadline=begin,
            on_done=self._deliver_to(lambda transport, result: transport._finish(request_id, result)),
            hang_limit=None if handle.loaded else LOAD_LIMIT,
        )

    def stop(self, request_id: str) -> None:
        """Nothing is reported for this request any more; if it has not started, it never runs."""
        job = self._jobs.pop(request_id, None)
        if job is not None:
            job.cancel()

    def close(self) -> None:
        """Call everything off and stop reporting. Idempotent."""
        self._closed = True
        self._sink = None
        if self._warm_up is not None:
            self._warm_up.cancel()
            self._warm_up = None
        for request_id in list(self._jobs):
            self.stop(request_id)

    async def aclose(self) -> None:
        """As :meth:`close`. The threads belong to the process; a prediction that is running ends there unseen."""
        self.close()

    # -- results ------------------------------------------------------------------------------------------------------

    def _deliver_to(
        self, receive: Callable[[LocalTransport, JobDone | JobFailed], None]
    ) -> Callable[[JobDone | JobFailed], None]:
        """A report for any thread, that calls ``receive`` on the loop's. It keeps no closed stream alive."""
        loop, transport = self._loop, weakref.ref(self)
        assert loop is not None

        def receive_if_alive(result: JobDone | JobFailed) -> None:
            this = transport()
            if this is not None:
                receive(this, result)

        def deliver(result: JobDone | JobFailed) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(receive_if_alive, result)

        return deliver

    def _ready(self, result: JobDone | JobFailed | None) -> None:
        self._warm_up = None
        if self._sink is None:
            return
        if isinstance(result, JobFailed):
            self._complain(result)
        else:
            self._sink.on_ready(None)

    def _finish(self, request_id: str, result: JobDone | JobFailed) -> None:
        if self._jobs.pop(request_id, None) is None or self._sink is None:
            return
        if isinstance(result, JobFailed):
            self._sink.on_request_failed(request_id, self._complain(result))
            return
        probability, by_head, load_time, inference_time = result.value
        answer = Answer(
            probability, queue_time=result.queue_time + load_time, inference_time=inference_time, by_head=by_head
        )
        self._sink.on_answer(request_id, answer)

    def _complain(self, failure: JobFailed) -> str:
        """The reason to report; what lies behind it goes to the log, once for each kind."""
        unavailable = isinstance(failure.error, _Unavailable)
        reason = f"model_unavailable: {failure.error}" if unavailable else failure.reason
        if failure.error is not None and reason not in self._complained:
            self._complained.add(reason)
            cause = failure.error.__cause__ if unavailable else failure.error
            # The session warns, once for each stream; here is what lies behind it.
            logger.info("%s: %s", self._handle.spec.name, reason, exc_info=cause)
        return reason


# Module functions, so that a prediction that is still running keeps no stream alive.


def _load(handle: ModelHandle, timeout: float) -> Model:
    try:
        return handle.get(timeout=timeout)
    except ModelError as error:
        raise _Unavailable(" ".join(str(error).split())[:_REASON_LENGTH]) from error
    except Exception as error:
        raise _Unavailable(type(error).__name__) from error


def _warm_up(handle: ModelHandle) -> None:
    if not handle.loaded:  # many streams may have asked at once; one is enough
        _load(handle, LOAD_LIMIT)
        handle.warm_up()


def _infer(
    handle: ModelHandle, pcm: PcmArray, deadline: float, now: Callable[[], float]
) -> tuple[float, Mapping[str, float], float, float]:
    """Probabilities (not yet looked at), of the model and by head; seconds of loading, seconds of the model's work."""
    began = now()
    model = _load(handle, min(deadline - began, LOAD_LIMIT))
    loaded = now()
    if handle.spec.heads:
        each = cast(ModelWithHeads, model).predict_each(pcm)
        by_head = {language: float(value) for language, value in each.items() if language is not None}
        return float(each[None]), by_head, loaded - began, now() - loaded
    return float(model.predict(pcm)), {}, loaded - began, now() - loaded
