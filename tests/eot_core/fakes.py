"""Models and transports that do as they are told."""

from __future__ import annotations

import threading
from typing import Any

from eot_core import ModelSpec
from eot_core.models.base import PcmArray
from eot_core.transports.base import InferenceRequest, TransportSink


class FakeModel:
    """Answers ``probability``; waits for ``gate`` first where there is one."""

    def __init__(self, probability: float = 0.7, *, error: Exception | None = None, hang: bool = False) -> None:
        self.probability = probability
        self.error = error
        self.calls: list[PcmArray] = []
        self.gate = threading.Event()
        if not hang:
            self.gate.set()

    def predict(self, pcm: PcmArray) -> float:
        self.calls.append(pcm)
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return self.probability


def fake_spec(model: Any = None, **changes: Any) -> ModelSpec:
    loaded = FakeModel() if model is None else model
    values: dict[str, Any] = {
        "name": "fake-model",
        "provider": "tests",
        "license": "none",
        "window": 2.0,
        "load": lambda: loaded,
        "default_threshold": 0.5,
    }
    return ModelSpec(**{**values, **changes})


class RecordingTransport:
    """Writes down what it is told; the test answers through ``sink``."""

    def __init__(self) -> None:
        self.sink: TransportSink | None = None
        self.calls: list[str] = []
        self.requests: list[InferenceRequest] = []
        self.samples = 0
        self.closed = False

    def open(self, sink: TransportSink) -> None:
        self.sink = sink
        self.calls.append("open")

    def push_audio(self, pcm: PcmArray, captured_at: float) -> None:
        self.samples += len(pcm)
        self.calls.append("audio")

    def start(self, request: InferenceRequest) -> None:
        self.requests.append(request)
        self.calls.append("start")

    def stop(self, request_id: str) -> None:
        self.calls.append("stop")

    def flush(self) -> None:
        self.calls.append("flush")

    def close(self) -> None:
        self.closed = True
        self.calls.append("close")

    async def aclose(self) -> None:
        self.closed = True
