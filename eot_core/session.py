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

from .answers import answered, probability_of, unanswered
from .effects import Effect, FlushTurn, Notify, Resolve, Route, SendAudio, StartInference, StopInference
from .endpointing import ASKED_LATER, DETECTOR_MAX_DELAY, FIRST_HEARS, EndpointingOptions
from .events import BackchannelOpportunity, Outcome, Prediction
from .models.base import PcmArray
from .routes import Routes
from .settings import Answered, SessionOptions, StreamSettings
from .thresholds import Overrides, Thresholds, is_usable
from .transports.base import Answer, Calibration, InferenceRequest
from .turn_audio import TurnAudio


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
        self._routes = Routes(options)
        self._answered: Answered | None = None  # who gave the answer that thresholds are asked for
        self._pending: _Pending | None = None
        self._audio = TurnAudio(options.local.window if options.local else 0.0)
        self._opened = False
        self._closed = False

    # -- what can be asked ----------------------------------------------------------------------------------------

    @property
    def model(self) -> str:
        """Full name of the active model; that of the model chosen at first when none is left."""
        return self._routes.model

    @property
    def route(self) -> Route | None:
        """The active route; None when the cloud is gone and no local model may take over."""
        return self._routes.active

    @property
    def is_fallback(self) -> bool:
        """Whether the session runs on another model than the one chosen at first."""
        return self._routes.is_fallback

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

    def is_made_for(self, language: str | None) -> bool:
        """See :meth:`StreamSettings.is_made_for`."""
        return self._settings.is_made_for(self._judged_route, language)

    def measured_language(self, language: str | None) -> str | None:
        """See :meth:`StreamSettings.measured_language`."""
        return self._settings.measured_language(self._judged_route, language)

    def endpointing(self, language: str | None) -> EndpointingOptions | None:
        """See :meth:`StreamSettings.endpointing`."""
        return self._settings.endpointing(self._judged, language)

    def next_deadline(self) -> float | None:
        """When :meth:`tick` must be called at the latest."""
        times = [] if (retry_at := self._routes.cloud.retry_at) is None else [retry_at]
        if (pending := self._pending) is not None:
            times.append(pending.cloud_deadline if self._may_leave_cloud(pending) else pending.request.deadline)
        return min(times, default=None)

    # -- the user's side ------------------------------------------------------------------------------------------

    def open(self) -> list[Effect]:
        """Begin. The local model is warmed up too where it may have to take over."""
        if self._opened or self._closed:
            return []
        self._opened = True
        return self._routes.open()

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
        else:
            self._audio.speech_ended(None)
        pcm = self._audio.snapshot(self._options.local, hears=hears)
        if len(pcm) == 0:
            return [*effects, self._resolve_default(request_id, "no_audio")]
        if self._routes.active is None:
            return [*effects, self._resolve_default(request_id, "cloud_unavailable")]
        timeout = self._options.prediction_timeout
        deadline = now + timeout
        reserve = min(self._options.fallback.reserve, timeout / 2) if self._routes.has_local else 0.0
        request = InferenceRequest(request_id=request_id, pcm=pcm, created_at=now, deadline=deadline)
        self._pending = _Pending(request, None, now, deadline - reserve)
        route = self._routes.usable
        return effects if route is None else effects + self._start(route, now)

    def cancel(self, *, speech: float | None = None) -> list[Effect]:
        """The user speaks (again): drop the request in flight. The first time in a turn marks the turn's onset.

        ``speech``: see :meth:`eot_core.stream.DetectorStream.cancel`.
        """
        self._answered = None
        options = self.endpointing(None)
        longest = DETECTOR_MAX_DELAY if options is None else max(DETECTOR_MAX_DELAY, options.max_delay)
        spoken = speech if speech is None or math.isfinite(speech) else None
        self._audio.speech_started(spoken, longest_pause=longest)
        return self._settle(Outcome.CANCELLED, "speech_resumed")

    def abandon(self, request_id: str) -> list[Effect]:
        """Whoever asked no longer wants the answer to this request."""
        return self._settle(Outcome.CANCELLED, "abandoned") if self.pending == request_id else []

    def time_out(self, now: float) -> list[Effect]:
        """Whoever waits has lost patience: the same as the deadline, now."""
        if (pending := self._pending) is None:
            return []
        on_cloud = pending.route is not Route.LOCAL and self._routes.active is Route.CLOUD
        effects = self._settle(Outcome.DEFAULT, "timeout")
        if on_cloud and self._routes.has_local:
            effects += self._cloud_failed(now, "timeout", retryable=True)
        elif on_cloud:
            effects += self._routes.cloud_was_late()
        return effects

    def flush(self, now: float, reason: str | None = None) -> list[Effect]:
        """The turn ended, whoever ended it."""
        effects = self._settle(Outcome.CANCELLED, reason or "turn_ended")
        self._answered = None
        if self._closed:
            return effects
        effects += self._send(self._audio.drain())
        if self._audio.turn_ended() and self._routes.cloud.is_open:
            effects.append(FlushTurn())
        return effects + self._routes.turn_ended(now)

    def close(self) -> list[Effect]:
        """The end. Idempotent."""
        if self._closed:
            return []
        effects = self._settle(Outcome.CANCELLED, "closed")
        self._closed = True
        return [*effects, *self._routes.close_cloud(), *self._routes.close_local()]

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
        if self._closed or route is not Route.CLOUD or not self._routes.cloud.is_open:
            return []
        if calibration is not None:
            if not is_usable(calibration):
                return self._cloud_failed(now, "invalid_thresholds", retryable=False)
            self._settings.calibrate(calibration)
        return self._routes.cloud_connected(between_turns=self._audio.awaiting_speech)

    def on_answer(self, now: float, route: Route, request_id: str, answer: Answer) -> list[Effect]:
        """A model answered. Stale, unknown and duplicate answers are ignored."""
        pending = self._pending
        if pending is None or pending.request.request_id != request_id or pending.route is not route:
            return []
        if now >= pending.request.deadline:
            return self.tick(now)
        head = self._settings.head(route)
        probability = probability_of(answer, head)
        if probability is None:
            if route is Route.CLOUD:
                return self._cloud_failed(now, "invalid_probability", retryable=False)
            return self._local_failed("invalid_probability")
        self._answered = Answered(route, head)
        if route is Route.CLOUD:
            self._routes.cloud.proved()
        self._pending = None
        prediction = answered(
            pending.request,
            answer,
            probability,
            route=route,
            model=self._options.model_name(route, head),
            started_at=pending.started_at,
            now=now,
            backchannels=self._settings.thresholds(route).offers_backchannels,
        )
        return [Resolve(request_id, prediction), *self._backchannel(prediction)]

    def on_request_failed(self, now: float, route: Route, request_id: str, reason: str) -> list[Effect]:
        """A transport cannot answer this request; the next one is tried there again."""
        pending = self._pending
        if pending is None or pending.request.request_id != request_id or pending.route is not route:
            return []
        if route is Route.LOCAL:
            return self._local_failed(reason)
        effects = self._routes.cloud_refused(reason)
        if self._routes.has_local and now < pending.request.deadline:
            return effects + self._start(Route.LOCAL, now)
        self._pending = None
        return [self._resolve_default(request_id, reason), *effects]

    def on_failed(self, now: float, route: Route, reason: str, *, retryable: bool) -> list[Effect]:
        """A transport is dead."""
        if route is Route.CLOUD:
            return self._cloud_failed(now, reason, retryable=retryable) if self._routes.cloud.is_open else []
        effects = self._routes.close_local()
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
                effects += self._cloud_failed(now, "timeout", retryable=True)
        if (retry_at := self._routes.cloud.retry_at) is not None and now >= retry_at:
            effects += self._routes.open_cloud()
            effects += self._send(self._audio.turn())  # a new connection knows nothing of the turn
            if self._pending is not None and self._pending.route is None:
                effects += self._start(Route.CLOUD, now)
        return effects

    # -- inside ---------------------------------------------------------------------------------------------------

    @property
    def _judged(self) -> Answered | Route | None:
        """Whose figures thresholds are asked for: who gave the last answer, or will give the next."""
        return self._answered or self._routes.active

    @property
    def _judged_route(self) -> Route | None:
        return self._answered.route if self._answered is not None else self._routes.active

    def _may_leave_cloud(self, pending: _Pending) -> bool:
        return pending.route is not Route.LOCAL and self._routes.active is Route.CLOUD and self._routes.has_local

    def _send(self, pcm: PcmArray) -> list[Effect]:
        return [SendAudio(pcm, self._audio.captured_at)] if len(pcm) and self._routes.cloud.is_open else []

    def _start(self, route: Route, now: float) -> list[Effect]:
        assert self._pending is not None
        self._pending.route = route
        self._pending.started_at = now
        opening = self._routes.open_local() if route is Route.LOCAL else []
        return [*opening, StartInference(route, self._pending.request)]

    def _settle(self, outcome: Outcome, reason: str) -> list[Effect]:
        """Resolve the request in flight, if there is one, without an answer."""
        if (pending := self._pending) is None:
            return []
        self._pending = None
        effects: list[Effect] = []
        if pending.route is Route.LOCAL or (pending.route is Route.CLOUD and self._routes.cloud.is_open):
            effects.append(StopInference(pending.route, pending.request.request_id))
        return [*effects, self._resolution(pending.request.request_id, outcome, reason)]

    def _resolve_default(self, request_id: str, reason: str) -> Resolve:
        return self._resolution(request_id, Outcome.DEFAULT, reason)

    def _resolution(self, request_id: str, outcome: Outcome, reason: str) -> Resolve:
        return Resolve(request_id, unanswered(request_id, outcome, reason, model=self.model))

    def _local_failed(self, reason: str) -> list[Effect]:
        """The local model did not answer this request. The next one tries it again."""
        assert self._pending is not None
        effects: list[Effect] = [self._resolve_default(self._pending.request.request_id, reason)]
        self._pending = None
        return effects + self._routes.local_did_not_answer(reason)

    def _cloud_failed(self, now: float, reason: str, *, retryable: bool) -> list[Effect]:
        """The connection is over, and the local model may have to answer the request in flight."""
        effects = self._routes.cloud_failed(now, reason, retryable=retryable)
        if (pending := self._pending) is None or pending.route is Route.LOCAL:
            return effects
        if self._routes.has_local and now < pending.request.deadline:
            return effects + self._start(Route.LOCAL, now)
        if self._routes.active is None:
            self._pending = None
            return [*effects, self._resolve_default(pending.request.request_id, reason)]
        pending.route = None  # waits for the next try, until its deadline
        return effects

    def _backchannel(self, prediction: Prediction) -> list[Effect]:
        probability, threshold = prediction.backchannel_probability, self.backchannel_threshold(None)
        if probability is None or threshold is None or probability < threshold:
            return []
        opportunity = BackchannelOpportunity(
            probability=probability,
            threshold=threshold,
            end_of_turn_probability=prediction.probability,
            end_of_turn_threshold=self.threshold(None),
            language=self._settings.language,
        )
        return [Notify(opportunity)]
