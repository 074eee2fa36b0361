"""What the tests of the local transport share: a model that waits to be let go, a sink, requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import numpy as np

from eot_core.models.base import Model, ModelSpec, PcmArray
from eot_core.models.handle import ModelHandle
from eot_core.transports.base import Answer, Calibration, InferenceRequest
from eot_core.transports.local import LocalTransport

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


async def opened(transport: LocalTransport) -> Sink:
    sink = Sink()
    transport.open(sink)
    await sink.until(lambda: sink.ready == 1)
    return sink
