"""Carries out a session's effects in memory, and checks what must hold after every one of them."""

from __future__ import annotations

import math

import numpy as np

from eot_core.effects import (
    CloseTransport,
    Effect,
    FlushTurn,
    Notify,
    OpenTransport,
    Resolve,
    Route,
    SendAudio,
    StartInference,
    StopInference,
    Warn,
)
from eot_core.events import BackchannelOpportunity, FallbackOccurred, Outcome, Prediction
from eot_core.models.base import ModelSpec, PcmArray
from eot_core.operating_points import OperatingPoint
from eot_core.options import FallbackOptions
from eot_core.session import DetectorSession
from eot_core.settings import SessionOptions
from eot_core.thresholds import Thresholds
from eot_core.transports.base import Answer, Calibration

CALIBRATION = Calibration({"en": 0.56, "de": 0.5}, 0.56, {"en": 0.4}, 0.4)


def never() -> None:
    raise AssertionError("a pure session loads nothing")


def local_spec(**changes: object) -> ModelSpec:
    values: dict[str, object] = {
        "name": "local-model",
        "provider": "tests",
        "license": "none",
        "window": 2.0,
        "load": never,
        "default_threshold": 0.36,
        "thresholds": {"en": 0.36, "de": 0.245, "fr": 0.285},
    }
    return ModelSpec(**{**values, **changes})  # type: ignore[arg-type]


class Driver:
    """A session, a clock, and everything that the session asked for."""

    def __init__(
        self,
        *,
        cloud: bool = False,
        local: ModelSpec | None = None,
        no_local: bool = False,
        fallback: FallbackOptions | None = None,
        timeout: float = 1.0,
        overrides: object = None,
        backchannel_overrides: object = None,
        cloud_model: str = "cloud-model",
        operating_point: OperatingPoint | None = None,
    ) -> None:
        spec = None if no_local else (local or local_spec())
        calibration = None if cloud or spec is None else Calibration(spec.thresholds, spec.default_threshold)
        self.now = 100.0
        self.timeout = timeout
        self.session = DetectorSession(
            SessionOptions(
                cloud_model=cloud_model if cloud else None,
                local=spec,
                prediction_timeout=timeout,
                fallback=fallback or FallbackOptions(),
                operating_point=operating_point,
            ),
            Thresholds(
                model=cloud_model if cloud else "local-model",
                calibration=calibration,
                overrides=overrides,  # type: ignore[arg-type]
                backchannel_overrides=backchannel_overrides,  # type: ignore[arg-type]
                backchannels=cloud,
            ),
            session_id="t",
        )
        self.open_routes: set[Route] = set()
        self.asked: dict[str, float] = {}
        self.resolved: dict[str, Prediction] = {}
        self.started: list[tuple[Route, str]] = []
        self.stopped: list[tuple[Route, str]] = []
        self.snapshots: dict[str, PcmArray] = {}
        self.wire: list[object] = []  # what the cloud was sent, in order
        self.opened: list[Route] = []
        self.events: list[FallbackOccurred | BackchannelOpportunity] = []
        self.warnings: list[str] = []
        self.log: list[Effect] = []
        self.run(self.session.open())

    def run(self, effects: list[Effect]) -> None:
        for effect in effects:
            self.log.append(effect)
            match effect:
                case OpenTransport(route):
                    self.open_routes.add(route)
                    self.opened.append(route)
                    if route is Route.CLOUD:
                        self.wire = []
                case CloseTransport(route):
                    assert route in self.open_routes, "closed what is not open"
                    self.open_routes.discard(route)
                case SendAudio(pcm, captured_at):
                    assert Route.CLOUD in self.open_routes
                    assert len(pcm) > 0
                    self.wire.append(("audio", len(pcm), captured_at))
                case StartInference(route, request):
                    assert route in self.open_routes, "started on a route that is not open"
                    assert request.request_id not in self.resolved
                    assert len(request.pcm) > 0
                    assert not request.pcm.flags.writeable
                    self.started.append((route, request.request_id))
                    self.snapshots[request.request_id] = request.pcm
                    if route is Route.CLOUD:
                        self.wire.append(("start", request.request_id))
                case StopInference(route, request_id):
                    assert (route, request_id) in self.started, "stopped what was never started"
                    self.stopped.append((route, request_id))
                    if route is Route.CLOUD:
                        self.wire.append(("stop", request_id))
                case FlushTurn():
                    assert Route.CLOUD in self.open_routes
                    self.wire.append(("flush",))
                case Resolve(request_id, prediction):
                    assert request_id not in self.resolved, "resolved twice"
                    assert math.isfinite(prediction.probability)
                    assert 0.0 <= prediction.probability <= 1.0
                    assert (prediction.reason is None) == (prediction.outcome is Outcome.ANSWERED)
                    assert (prediction.source == "default") == (prediction.outcome is not Outcome.ANSWERED)
                    for seconds in (prediction.queue_time, prediction.network_time, prediction.inference_time):
                        assert math.isfinite(seconds)
                        assert seconds >= 0
                    self.resolved[request_id] = prediction
                case Notify(event):
                    self.events.append(event)
                case Warn(message):
                    self.warnings.append(message)
        deadline = self.session.next_deadline()
        pending = self.session.pending
        assert (pending is None) or deadline is not None, "a request without a timer"
        unresolved = set(self.asked) - set(self.resolved)
        assert unresolved <= {pending}, "a request was lost"

    # -- the user -----------------------------------------------------------------------------------------------

    def audio(self, seconds: float = 0.1, *, rate: int = 16_000, value: int | None = None) -> None:
        n = round(seconds * rate)
        pcm = np.arange(n, dtype=np.int64) % 2000 if value is None else np.full(n, value)
        self.run(self.session.push_audio(pcm.astype(np.int16), rate, 1e9 + self.now))

    def predict(self) -> str:
        effects = self.session.predict(self.now)
        request_id = self.session.last_request_id
        self.asked[request_id] = self.now
        self.run(effects)
        return request_id

    def cancel(self) -> None:
        self.run(self.session.cancel())

    def flush(self, reason: str | None = None) -> None:
        self.run(self.session.flush(self.now, reason))

    def close(self) -> None:
        self.run(self.session.close())

    def time_out(self) -> None:
        self.run(self.session.time_out(self.now))

    # -- the transports -----------------------------------------------------------------------------------------

    def ready(self, calibration: Calibration | None = CALIBRATION) -> None:
        self.run(self.session.on_ready(self.now, Route.CLOUD, calibration))

    def answer(
        self, request_id: str, probability: float = 0.8, *, route: Route = Route.LOCAL, **fields: float | None
    ) -> None:
        self.run(self.session.on_answer(self.now, route, request_id, Answer(probability, **fields)))  # type: ignore[arg-type]

    def request_failed(self, request_id: str, reason: str = "model_error: X", *, route: Route = Route.LOCAL) -> None:
        self.run(self.session.on_request_failed(self.now, route, request_id, reason))

    def failed(self, reason: str = "http_503", *, route: Route = Route.CLOUD, retryable: bool = True) -> None:
        self.run(self.session.on_failed(self.now, route, reason, retryable=retryable))

    def pass_time(self, seconds: float) -> None:
        """As an event loop does: the timers on the way fire, each at its own time."""
        until = self.now + seconds
        while (deadline := self.session.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            before = len(self.log)
            self.run(self.session.tick(self.now))
            after = self.session.next_deadline()
            assert after is None or after > self.now or len(self.log) > before, "a timer that never ends"
        self.now = until
        for request_id, at in self.asked.items():
            assert request_id in self.resolved or self.now < at + self.timeout, "resolved after its deadline"


def connected(**options: object) -> Driver:
    d = Driver(cloud=True, **options)  # type: ignore[arg-type]
    d.ready()
    d.audio(1.0)
    return d
