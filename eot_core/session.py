"""One conversation's detector, as a state machine: no I/O, no asyncio, time given by the caller.

Methods take the current time (monotonic seconds) and return the effects that the shell
(:class:`~eot_core.stream.DetectorStream`) carries out, in order. What holds, whatever is called in whatever order:

- every request is resolved exactly once, at its deadline at the latest;
- audio that was pushed before a request is part of it;
- a request that was superseded or cancelled is stopped on the route it was started on;
- nothing is sent to a route that is not open;
- memory is bounded: one request, one window of audio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .effects import (
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
from .endpointing import ASKED_LATER, FIRST_HEARS, EndpointingOptions
from .events import BackchannelOpportunity, FallbackOccurred, Outcome, Prediction
from .models.base import PcmArray
from .settings import Answered, SessionOptions, StreamSettings
from .thresholds import Overrides, Thresholds, is_usable
from .transports.base import Answer, Calibration, InferenceRequest
from .turn_audio import TurnAudio

_PERMANENT = ("http_401", "http_403", "http_404", "invalid_", "protocol_", "tls_")
"""Reasons that another try does not cure."""

_MOST_DOUBLINGS = 64
"""Of the wait between two tries. Doubled without end, it is no float after 1024 of them, which an interval of 0 reaches
within seconds."""


@dataclass(slots=True)
class _Pending:
    """The request in flight."""

    request: InferenceRequest
    route: Route | None
    """Where it was started; None while it waits for a connection."""
    started_at: float
    cloud_deadline: float


class DetectorSession:
    """See the module. ``session_id`` prefixes the ids of requests."""

    def __init__(self, options: SessionOptions, thresholds: Thresholds, *, session_id: str = "eot") -> None:
        if options.cloud_model is None and options.local is None:
            raise ValueError("a session needs a cloud model, a local model, or both")
        self._options = options
        self._settings = StreamSettings(options, thresholds)
        self._session_id = session_id
        self._count = 0
        self._route: Route | None = Route.CLOUD if options.cloud_model is not None else Route.LOCAL
        self._answered: Answered | None = None  # who gave the answer that thresholds are asked for
        self._cloud_open = False  # a cloud transport is there, connecting or connected
        self._cloud_ready = False
        self._local_open = False
        self._retries_left = options.fallback.retries
        self._retry_at: float | None = None
        self._failed_at: float | None = None
        self._pending: _Pending | None = None
        self._audio = TurnAudio(options.local.window if options.local else 0.0)
        self._warned: set[str] = set()
        self._opened = False
        self._closed = False

    # -- what can be asked ----------------------------------------------------------------------------------------

    @property
    def model(self) -> str:
        """Full name of the active model; that of the model chosen at first when none is left."""
        return self._options.model_name(self._route)

    @property
    def route(self) -> Route | None:
        """The active route; None when the cloud is gone and no local model may take over."""
        return self._route

    @property
    def is_fallback(self) -> bool:
        """Whether the session runs on another model than the one chosen at first."""
        return self._options.cloud_model is not None and self._route is not Route.CLOUD

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    @property
    def pending(self) -> str | None:
        """Id of the request in flight."""
        return self._pending.request.request_id if self._pending else None

    @property
    def session_id(self) -> str:
        """What ids of requests begin with."""
        return self._session_id

    @property
    def options(self) -> SessionOptions:
        """What the session was made from."""
        return self._options

    @property
    def language(self) -> str | None:
        """Key of the last language that was named."""
        return self._settings.language

    @property
    def last_request_id(self) -> str:
        """Id of the newest request, resolved or not."""
        return f"{self._session_id}-{self._count}"

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds for the model that gave the last answer (or will give the next)."""
        return self._settings.thresholds(self._judged_route)

    def threshold(self, language: str | None) -> float:
        """See :meth:`StreamSettings.threshold`; for the model that gave the last answer, as the next three."""
        return self._settings.threshold(self._judged, language)

    def backchannel_threshold(self, language: str | None) -> float | None:
        """See :meth:`StreamSettings.backchannel_threshold`."""
        return self._settings.backchannel_threshold(self._judged_route, language)

    def supports_language(self, language: str | None) -> bool:
        """See :meth:`StreamSettings.supports_language`."""
        return self._settings.supports_language(self._judged_route, language)

    def endpointing(self, language: str | None) -> EndpointingOptions | None:
        """See :meth:`StreamSettings.endpointing`."""
        return self._settings.endpointing(self._judged, language)

    def next_deadline(self) -> float | None:
        """When :meth:`tick` must be called at the latest."""
        times = [self._retry_at] if self._retry_at is not None else []
        if (pending := self._pending) is not None:
            times.append(pending.cloud_deadline if self._may_leave_cloud(pending) else pending.request.deadline)
        return min(times, default=None)

    # -- the user's side ------------------------------------------------------------------------------------------

    def open(self) -> list[Effect]:
        """Begin. The local model is warmed up too where it may have to take over."""
        if self._opened or self._closed:
            return []
        self._opened = True
        effects: list[Effect] = []
        if self._route is Route.CLOUD:
            effects += self._open_cloud()
        if self._has_local():
            effects += self._open_local()
        return effects

    def push_audio(self, pcm: PcmArray, sample_rate: int, captured_at: float) -> list[Effect]:
        """Audio as it is captured: int16 mono of any length; ``captured_at`` is wall-clock time."""
        if self._closed:
            return []
        return self._send(self._audio.push(pcm, sample_rate, captured_at))

    def predict(self, now: float, *, silence: float | None = None, again_at: float | None = None) -> list[Effect]:
        """Ask whether the turn has ended. :attr:`last_request_id` is the id of the new request.

        ``silence`` and ``again_at``: see :meth:`eot_core.stream.DetectorStream.predict`.
        """
        effects = self._settle(Outcome.SUPERSEDED, "superseded")
        self._answered = None
        self._count += 1
        request_id = self.last_request_id
        if self._closed:
            return [*effects, self._resolve_default(request_id, "closed")]
        effects += self._send(self._audio.drain())
        hears: float | None = None
        if silence is not None and math.isfinite(silence) and silence >= 0:
            self._audio.speech_ended(silence)
            hears = FIRST_HEARS
        elif again_at is not None and math.isfinite(again_at):
            hears = max(FIRST_HEARS, again_at - ASKED_LATER)
        pcm = self._audio.snapshot(self._options.local, hears=hears)
        if len(pcm) == 0:
            return [*effects, self._resolve_default(request_id, "no_audio")]
        if self._route is None:
            return [*effects, self._resolve_default(request_id, "cloud_unavailable")]
        timeout = self._options.prediction_timeout
        deadline = now + timeout
        reserve = min(self._options.fallback.reserve, timeout / 2) if self._has_local() else 0.0
        request = InferenceRequest(request_id=request_id, pcm=pcm, created_at=now, deadline=deadline)
        self._pending = _Pending(request, None, now, deadline - reserve)
        if self._route is Route.LOCAL:
            effects += self._start(Route.LOCAL, now)
        elif self._cloud_open:
            effects += self._start(Route.CLOUD, now)
        elif self._has_local():  # between two tries
            effects += self._start(Route.LOCAL, now)
        return effects

    def cancel(self, *, speech: float | None = None) -> list[Effect]:
        """The user speaks (again): drop the request in flight. The first time in a turn marks the turn's onset.

        ``speech``: see :meth:`eot_core.stream.DetectorStream.cancel`.
        """
        self._answered = None
        self._audio.speech_started(speech if speech is None or math.isfinite(speech) else None)
        return self._settle(Outcome.CANCELLED, "speech_resumed")

    def abandon(self, request_id: str) -> list[Effect]:
        """Whoever asked no longer wants the answer to this request."""
        return self._settle(Outcome.CANCELLED, "abandoned") if self.pending == request_id else []

    def time_out(self, now: float) -> list[Effect]:
        """Whoever waits has lost patience: the same as the deadline, now."""
        if (pending := self._pending) is None:
            return []
        on_cloud = pending.route is not Route.LOCAL and self._route is Route.CLOUD
        effects = self._settle(Outcome.DEFAULT, "timeout")
        if on_cloud and self._has_local():
            effects += self._cloud_failed(now, "timeout", retryable=False)
        elif on_cloud:  # the connection is kept: the next request may be luckier
            effects += self._warn_once(
                "timeout",
                f"the cloud turn detector {self._options.model_name(Route.CLOUD)} did not answer in time and "
                "local_fallback is off: such turns end on the delays",
            )
        return effects

    def flush(self, now: float, reason: str | None = None) -> list[Effect]:
        """The turn ended, whoever ended it."""
        effects = self._settle(Outcome.CANCELLED, reason or "turn_ended")
        self._answered = None
        if self._closed:
            return effects
        effects += self._send(self._audio.drain())
        if self._audio.turn_ended() and self._cloud_open:
            effects.append(FlushTurn())
        return effects + self._maybe_recover(now)

    def close(self) -> list[Effect]:
        """The end. Idempotent."""
        if self._closed:
            return []
        effects = self._settle(Outcome.CANCELLED, "closed")
        self._closed = True
        self._retry_at = None
        if self._cloud_open:
            effects.append(CloseTransport(Route.CLOUD))
            self._cloud_open = self._cloud_ready = False
        if self._local_open:
            effects.append(CloseTransport(Route.LOCAL))
            self._local_open = False
        return effects

    def update_overrides(self, overrides: Overrides | None) -> None:
        """Other thresholds, on the scale of the model chosen at first; a fallback before or after changes nothing.

        Raises:
            ValueError: see :func:`~eot_core.thresholds.normalize_overrides`.
        """
        self._settings.override(overrides)

    def update_backchannel_overrides(self, overrides: Overrides | None) -> None:
        """The same for backchannels."""
        self._settings.override_backchannels(overrides)

    # -- the transports' side -------------------------------------------------------------------------------------

    def on_ready(self, now: float, route: Route, calibration: Calibration | None) -> list[Effect]:
        """A transport can answer."""
        if self._closed or route is not Route.CLOUD or not self._cloud_open:
            return []
        if calibration is not None:
            if not is_usable(calibration):
                return self._cloud_failed(now, "invalid_thresholds", retryable=False)
            self._settings.calibrate(calibration)
        self._cloud_ready = True
        if self._route is not Route.CLOUD and self._audio.awaiting_speech:
            return self._return_to_cloud()
        return []

    def on_answer(self, now: float, route: Route, request_id: str, answer: Answer) -> list[Effect]:
        """A model answered. Stale, unknown and duplicate answers are ignored."""
        pending = self._pending
        if pending is None or pending.request.request_id != request_id or pending.route is not route:
            return []
        if now >= pending.request.deadline:
            return self.tick(now)
        head = self._settings.head(route)
        probability = answer.probability if head is None else answer.by_head.get(head, math.nan)
        if not _is_probability(probability):
            if route is Route.CLOUD:
                return self._cloud_failed(now, "invalid_probability", retryable=False)
            return self._local_failed("invalid_probability")
        self._answered = Answered(route, head)
        if route is Route.CLOUD:
            self._retries_left = self._options.fallback.retries
        self._pending = None
        backchannel = answer.backchannel_probability if self._settings.thresholds(route).offers_backchannels else None
        if backchannel is not None and not _is_probability(backchannel):
            backchannel = None
        prediction = Prediction(
            probability=float(probability),
            outcome=Outcome.ANSWERED,
            reason=None,
            model=self._options.model_name(route, head),
            source="cloud" if route is Route.CLOUD else "local",
            request_id=request_id,
            backchannel_probability=None if backchannel is None else float(backchannel),
            queue_time=_seconds(answer.queue_time) + pending.started_at - pending.request.created_at,
            network_time=_seconds(answer.network_time),
            inference_time=_seconds(answer.inference_time),
            detection_delay=now - pending.request.created_at,
        )
        return [Resolve(request_id, prediction), *self._backchannel(prediction)]

    def on_request_failed(self, now: float, route: Route, request_id: str, reason: str) -> list[Effect]:
        """A transport cannot answer this request."""
        pending = self._pending
        if pending is None or pending.request.request_id != request_id or pending.route is not route:
            return []
        if route is Route.CLOUD:
            return self._cloud_failed(now, reason, retryable=False)
        return self._local_failed(reason)

    def on_failed(self, now: float, route: Route, reason: str, *, retryable: bool) -> list[Effect]:
        """A transport is dead."""
        if route is Route.CLOUD:
            return self._cloud_failed(now, reason, retryable=retryable) if self._cloud_open else []
        if not self._local_open:
            return []
        self._local_open = False
        effects: list[Effect] = [CloseTransport(Route.LOCAL)]
        if self._pending is not None and self._pending.route is Route.LOCAL:
            effects += self._local_failed(reason)
        return effects

    def tick(self, now: float) -> list[Effect]:
        """Time has passed."""
        effects: list[Effect] = []
        if (pending := self._pending) is not None:
            if now >= pending.request.deadline:
                effects += self.time_out(now)
            elif self._may_leave_cloud(pending) and now >= pending.cloud_deadline:
                effects += self._cloud_failed(now, "timeout", retryable=False)
        if self._retry_at is not None and now >= self._retry_at and not self._closed:
            self._retry_at = None
            effects += self._open_cloud()
            effects += self._replay(now)
        return effects

    # -- inside ---------------------------------------------------------------------------------------------------

    @property
    def _judged(self) -> Answered | Route | None:
        """Whose figures thresholds are asked for: who gave the last answer, or will give the next."""
        return self._answered or self._route

    @property
    def _judged_route(self) -> Route | None:
        return self._answered.route if self._answered is not None else self._route

    def _has_local(self) -> bool:
        return self._options.local is not None and (self._options.cloud_model is None or self._options.fallback.enabled)

    def _may_leave_cloud(self, pending: _Pending) -> bool:
        return pending.route is not Route.LOCAL and self._route is Route.CLOUD and self._has_local()

    def _send(self, pcm: PcmArray) -> list[Effect]:
        return [SendAudio(pcm, self._audio.captured_at)] if len(pcm) and self._cloud_open else []

    def _start(self, route: Route, now: float) -> list[Effect]:
        assert self._pending is not None
        self._pending.route = route
        self._pending.started_at = now
        opening = self._open_local() if route is Route.LOCAL else []
        return [*opening, StartInference(route, self._pending.request)]

    def _open_local(self) -> list[Effect]:
        if self._local_open:
            return []
        self._local_open = True
        return [OpenTransport(Route.LOCAL)]

    def _settle(self, outcome: Outcome, reason: str) -> list[Effect]:
        """Resolve the request in flight, if there is one, without an answer."""
        if (pending := self._pending) is None:
            return []
        self._pending = None
        effects: list[Effect] = []
        if pending.route is Route.LOCAL or (pending.route is Route.CLOUD and self._cloud_open):
            effects.append(StopInference(pending.route, pending.request.request_id))
        return [*effects, self._resolution(pending.request.request_id, outcome, reason)]

    def _resolve_default(self, request_id: str, reason: str) -> Resolve:
        return self._resolution(request_id, Outcome.DEFAULT, reason)

    def _resolution(self, request_id: str, outcome: Outcome, reason: str) -> Resolve:
        probability = 1.0 if outcome is Outcome.DEFAULT else 0.0
        return Resolve(request_id, Prediction(probability, outcome, reason, self.model, "default", request_id))

    def _warn_once(self, key: str, message: str) -> list[Effect]:
        if key in self._warned:
            return []
        self._warned.add(key)
        return [Warn(message)]

    def _local_failed(self, reason: str) -> list[Effect]:
        """The local model did not answer this request. The next one tries it again."""
        assert self._pending is not None
        effects: list[Effect] = [self._resolve_default(self._pending.request.request_id, reason)]
        self._pending = None
        return effects + self._warn_once(
            "local",
            f"the local turn detector {self._options.model_name(Route.LOCAL)} failed ({reason}); this turn ends on the "
            "delays, the next one tries again",
        )

    def _open_cloud(self) -> list[Effect]:
        self._cloud_open, self._cloud_ready = True, False
        return [OpenTransport(Route.CLOUD)]

    def _replay(self, now: float) -> list[Effect]:
        """What a new connection must know of the turn: its audio, and the request that waits."""
        effects = self._send(self._audio.turn())
        if self._pending is not None and self._pending.route is None:
            effects += self._start(Route.CLOUD, now)
        return effects

    def _cloud_failed(self, now: float, reason: str, *, retryable: bool) -> list[Effect]:
        effects: list[Effect] = [CloseTransport(Route.CLOUD)] if self._cloud_open else []
        self._cloud_open = self._cloud_ready = False
        self._retry_at = None
        if self._route is not Route.CLOUD:  # a try to come back failed; the local model goes on
            self._failed_at = now
            return effects
        retryable = retryable and not reason.startswith(_PERMANENT)
        if retryable and self._retries_left > 0:
            used = self._options.fallback.retries - self._retries_left
            self._retries_left -= 1
            self._retry_at = now + self._options.fallback.retry_interval * 2.0 ** min(used, _MOST_DOUBLINGS)
        else:
            effects += self._leave_cloud(now, reason)
        return effects + self._answer_locally(now, reason)

    def _leave_cloud(self, now: float, reason: str) -> list[Effect]:
        cloud = self._options.model_name(Route.CLOUD)
        self._failed_at = now
        if not self._has_local():
            self._route = None
            return [
                Notify(FallbackOccurred(cloud, None, reason)),
                *self._warn_once(
                    "cloud",
                    f"the cloud turn detector {cloud} failed ({reason}) and local_fallback is off: turns end on the "
                    "delays for the rest of this stream",
                ),
            ]
        self._route = Route.LOCAL
        local = self._options.model_name(Route.LOCAL)
        return [
            Notify(FallbackOccurred(cloud, local, reason)),
            *self._warn_once(
                "cloud", f"the cloud turn detector {cloud} failed ({reason}); {local} takes over for this stream"
            ),
        ]

    def _answer_locally(self, now: float, reason: str) -> list[Effect]:
        """The request in flight, after the cloud failed."""
        if (pending := self._pending) is None or pending.route is Route.LOCAL:
            return []
        if self._has_local() and now < pending.request.deadline:
            return self._start(Route.LOCAL, now)
        if self._route is None:
            self._pending = None
            return [self._resolve_default(pending.request.request_id, reason)]
        pending.route = None  # waits for the next try, until its deadline
        return []

    def _maybe_recover(self, now: float) -> list[Effect]:
        """At the end of a turn: back to the cloud, or a try at it."""
        after = self._options.fallback.recover_after
        if not self.is_fallback or after is None:
            return []
        if self._cloud_ready:
            return self._return_to_cloud()
        if not self._cloud_open and self._failed_at is not None and now >= self._failed_at + after:
            return self._open_cloud()
        return []

    def _return_to_cloud(self) -> list[Effect]:
        left = self._options.model_name(self._route) if self._route is not None else self.model
        self._route = Route.CLOUD
        self._retries_left = self._options.fallback.retries
        self._warned.discard("cloud")
        return [Notify(FallbackOccurred(left, self.model, "recovered", recovered=True))]

    def _backchannel(self, prediction: Prediction) -> list[Effect]:
        threshold = self.backchannel_threshold(None)
        if prediction.backchannel_probability is None or threshold is None:
            return []
        if prediction.backchannel_probability < threshold:
            return []
        return [
            Notify(
                BackchannelOpportunity(
                    probability=prediction.backchannel_probability,
                    threshold=threshold,
                    end_of_turn_probability=prediction.probability,
                    end_of_turn_threshold=self.threshold(None),
                    language=self._settings.language,
                )
            )
        ]


def _is_probability(value: float) -> bool:
    return math.isfinite(value) and 0.0 <= value <= 1.0


def _seconds(value: float) -> float:
    """A duration that a far end may have got wrong."""
    return value if math.isfinite(value) and value > 0 else 0.0
