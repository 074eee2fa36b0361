"""The asyncio shell around a :class:`~eot_core.session.DetectorSession`: it owns transports, futures and the timer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from . import decision_log, telemetry
from .audio import AudioFormatError, check_sample_rate, to_pcm
from .clock import Clock, TimerHandle
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
from .emitter import Emitter, Observable
from .endpointing import EndpointingOptions
from .events import FallbackOccurred, Outcome, Prediction
from .once import warn_once
from .session import DetectorSession
from .thresholds import Overrides, Thresholds, normalize_overrides
from .transports.base import Answer, Calibration, Transport

logger = logging.getLogger("eot_core")

TransportFactory = Callable[[Route], Transport]


class _Sink:
    """Reports of one transport; those of a transport that was replaced are dropped."""

    def __init__(self, stream: DetectorStream, route: Route) -> None:
        self._stream = stream
        self._route = route
        self.live = True

    def on_ready(self, calibration: Calibration | None) -> None:
        if self.live:
            stream = self._stream
            stream._run(stream._session.on_ready(stream._clock.now(), self._route, calibration))

    def on_answer(self, request_id: str, answer: Answer) -> None:
        if self.live:
            stream = self._stream
            stream._run(stream._session.on_answer(stream._clock.now(), self._route, request_id, answer))

    def on_request_failed(self, request_id: str, reason: str) -> None:
        if self.live:
            stream = self._stream
            stream._run(stream._session.on_request_failed(stream._clock.now(), self._route, request_id, reason))

    def on_failed(self, reason: str, *, retryable: bool) -> None:
        if self.live:
            stream = self._stream
            stream._run(stream._session.on_failed(stream._clock.now(), self._route, reason, retryable=retryable))


class DetectorStream(Observable):
    """One conversation. Made by :meth:`TurnDetector.stream`, used on one event loop, closed with :meth:`aclose`.

    No method raises and no future holds an exception: audio that cannot be understood is reported once to the log
    (logger ``eot_core``) and dropped, and whatever fails ends in a :class:`Prediction` that says so.
    """

    def __init__(
        self,
        session: DetectorSession,
        make_transport: TransportFactory,
        *,
        clock: Clock,
        provider: str,
        prediction_timeout: float,
        parent: Emitter | None = None,
    ) -> None:
        self._session = session
        self._make_transport = make_transport
        self._clock = clock
        self._provider = provider
        self._prediction_timeout = prediction_timeout
        self._parent = parent
        self._emitter = Emitter()
        self._loop = asyncio.get_running_loop()
        self._effects: deque[Effect] = deque()
        self._running = False
        self._futures: dict[str, asyncio.Future[Prediction]] = {}
        self._transports: dict[Route, tuple[Transport, _Sink]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: TimerHandle | None = None
        self._timer_at: float | None = None
        self._reported: set[str] = set()
        self._log = decision_log.for_stream(session, clock)
        self._run(session.open())

    # -- what can be asked ----------------------------------------------------------------------------------------

    @property
    def model(self) -> str:
        """Full name of the active model; another one after a fallback."""
        return self._session.model

    @property
    def provider(self) -> str:
        """Who publishes the model that the detector was made with."""
        return self._provider

    @property
    def is_fallback(self) -> bool:
        """Whether this stream left the model that the detector was made with."""
        return self._session.is_fallback

    @property
    def prediction_timeout(self) -> float:
        """Seconds from :meth:`predict` to the moment in which its future is resolved at the latest."""
        return self._prediction_timeout

    @property
    def closed(self) -> bool:
        """Whether :meth:`aclose` was called."""
        return self._session.closed

    @property
    def clock(self) -> Clock:
        """Time and timers of this stream."""
        return self._clock

    @property
    def thresholds(self) -> Thresholds:
        """This stream's thresholds, for the model that gave the last answer. An immutable value."""
        return self._session.thresholds

    def unlikely_threshold(self, language: str | None = None) -> float:
        """Threshold, 0..1, that the last prediction is to be compared with.

        Args:
            language: a BCP-47 tag. "multi", None and the like stand for the last language that was named here, then
                for English.
        """
        return self._session.threshold(language)

    def endpointing(self, language: str | None = None) -> EndpointingOptions | None:
        """Delays for the pause that the last prediction was for, by the detector's ``endpointing`` or operating point.

        Args:
            language: as for :meth:`unlikely_threshold`.

        Returns:
            None where the detector has neither: the framework's own delays hold.
        """
        return self._session.endpointing(language)

    def backchannel_threshold(self, language: str | None = None) -> float | None:
        """The same for backchannels; None where they are off."""
        return self._session.backchannel_threshold(language)

    def supports_language(self, language: str | None = None) -> bool:
        """Whether the active model is to judge the language.

        It is where the model was made for it, or the user gave a threshold for it; and, with a warning, where it is one
        that judges any (:attr:`ModelSpec.judges_any_language`). A warning says too where the operating point is that of
        another language. Warnings are given once in a process.
        """
        supported = self._session.supports_language(language)
        key = self._session.language
        if not supported:
            return False
        if not self._session.is_made_for(language):
            warn_once(
                logger,
                "%s was not made for the language %r: it judges by the voice, with its default threshold. Measure "
                "one on your own calls (eot tune), or give one: unlikely_threshold={%r: ...}",
                self.model,
                key,
                key,
            )
        elif (measured := self._session.measured_language(language)) is not None:
            warn_once(
                logger,
                "no operating point of %s was measured for the language %r: that for %r holds. Measure one on your own "
                "calls (eot tune)",
                self.model,
                key,
                measured,
            )
        return True

    # -- the conversation -----------------------------------------------------------------------------------------

    def push_audio(self, pcm: Any, sample_rate: int = 16_000) -> None:
        """Audio as it is captured, all the time, also while the agent speaks.

        Args:
            pcm: int16 mono, ndarray of shape (n,) or little-endian bytes; any length. Floats within -1..1 are
                understood; NaN is silence; a last odd byte is dropped.
            sample_rate: 8,000 to 48,000 Hz; may differ from the last call's.
        """
        try:
            samples, rate = to_pcm(pcm), check_sample_rate(sample_rate)
        except AudioFormatError as error:
            self._report(str(error))
            return
        self._run(self._session.push_audio(samples, rate, time.time()))

    def predict(self, *, silence: float | None = None, again_at: float | None = None) -> asyncio.Future[Prediction]:
        """Ask whether the turn has ended, given the audio so far. A request in flight is superseded.

        Scores depend on how much silence a model hears at the end, and thresholds were measured with so much and no
        more. Who knows how long the pause is says so; local models are then given exactly that.

        Args:
            silence: seconds of silence at the end of the audio so far, at the first question of a pause.
            again_at: at a further question of the same pause: the seconds into it at which it is asked.

        Returns:
            A future that is always resolved with a :class:`Prediction`, after ``prediction_timeout`` seconds at the
            latest, and never holds an exception. Cancelling the future drops the request.
        """
        future: asyncio.Future[Prediction] = self._loop.create_future()
        effects = self._session.predict(self._clock.now(), silence=silence, again_at=again_at)
        request_id = self._session.last_request_id
        self._futures[request_id] = future
        future.add_done_callback(lambda done: self._on_done(request_id, done))
        self._run(effects)
        return future

    def cancel(self, *, speech: float | None = None) -> None:
        """The user speaks, or speaks on: drop the request in flight. Idempotent.

        Call it at every onset of speech: the first one in a turn tells where the turn begins.

        Args:
            speech: seconds of speech at the end of the audio so far, where that is known; a model that scores turns
                then hears the turn from the same moment on, however long the frames are.
        """
        self._run(self._session.cancel(speech=speech))
        if self._log is not None:
            self._log.speech()

    def time_out(self) -> None:
        """The caller will not wait longer for the request in flight: it gets the default, and the cloud is left."""
        self._run(self._session.time_out(self._clock.now()))

    def flush(self, reason: str | None = None) -> None:
        """The turn ended, whoever ended it: the next one starts afresh. Idempotent.

        Args:
            reason: for the record of a request that was in flight.
        """
        self._run(self._session.flush(self._clock.now(), reason))
        if self._log is not None:
            self._log.turn_ended(reason)

    def update_options(
        self,
        *,
        unlikely_threshold: Overrides | None = None,
        backchannel_threshold: Overrides | None = None,
    ) -> None:
        """Other thresholds for this stream, on the scale of the model that the detector was made with.

        Raises:
            ValueError: a threshold is not between 0 and 1, or a key names no language. Nothing has changed then.
        """
        overrides = normalize_overrides(unlikely_threshold, "unlikely_threshold")
        backchannel_overrides = normalize_overrides(backchannel_threshold, "backchannel_threshold")
        if unlikely_threshold is not None:
            self._session.update_overrides(overrides)
        if backchannel_threshold is not None:
            self._session.update_backchannel_overrides(backchannel_overrides)

    async def aclose(self) -> None:
        """Close: a request in flight is cancelled, and no task, thread of this stream or socket is left. Idempotent."""
        self._run(self._session.close())
        while self._closing and not self._loop.is_closed():
            await asyncio.wait(set(self._closing))

    # -- carrying out ---------------------------------------------------------------------------------------------

    def _run(self, effects: Iterable[Effect]) -> None:
        """Carry out effects in order; those that arise on the way come after."""
        self._effects.extend(effects)
        if self._running:
            return
        if self._loop.is_closed():
            self._end_without_loop()
            return
        self._running = True
        try:
            while self._effects:
                self._carry_out(self._effects.popleft())
        finally:
            self._running = False
        self._set_timer()

    def _end_without_loop(self) -> None:
        """Timers, transports and callbacks went with the event loop; what is left is to resolve every request."""
        self._effects.extend(self._session.close())
        while self._effects:
            effect = self._effects.popleft()
            future = self._futures.pop(effect.request_id, None) if isinstance(effect, Resolve) else None
            if isinstance(effect, Resolve) and future is not None and not future.done():
                with contextlib.suppress(RuntimeError):  # it is resolved; those who wait cannot be called any more
                    future.set_result(effect.prediction)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case SendAudio(pcm, captured_at):
                self._tell(Route.CLOUD, lambda transport: transport.push_audio(pcm, captured_at))
            case StartInference(route, request):
                if self._log is not None:
                    self._log.asked(request)
                self._tell(route, lambda transport: transport.start(request))
            case StopInference(route, request_id):
                self._tell(route, lambda transport: transport.stop(request_id))
            case FlushTurn():
                self._tell(Route.CLOUD, lambda transport: transport.flush())
            case OpenTransport(route):
                self._close_transport(route)
                self._open_transport(route)
            case CloseTransport(route):
                self._close_transport(route)
            case Resolve(request_id, prediction):
                self._resolve(request_id, prediction)
            case Notify(event):
                if self._log is not None:
                    self._log.event(event)
                self._emit("fallback" if isinstance(event, FallbackOccurred) else "backchannel_opportunity", event)
            case Warn(message):
                logger.warning(message)

    def _resolve(self, request_id: str, prediction: Prediction) -> None:
        future = self._futures.pop(request_id, None)
        if future is not None and not future.done():
            future.set_result(prediction)
        if self._log is not None:
            self._log.event(prediction)
        if prediction.outcome in (Outcome.ANSWERED, Outcome.DEFAULT):
            self._emit("prediction", prediction)

    def _emit(self, event: str, payload: object) -> None:
        try:
            telemetry.record(payload)
        except Exception:  # the SDK and its exporters are the user's
            if "metrics" not in self._reported:
                self._reported.add("metrics")
                logger.exception("metrics could not be recorded (reported once)")
        self._emitter.emit(event, payload)
        if self._parent is not None:
            self._parent.emit(event, payload)

    def _on_done(self, request_id: str, future: asyncio.Future[Prediction]) -> None:
        if future.cancelled():
            self._futures.pop(request_id, None)
            self._run(self._session.abandon(request_id))

    def _open_transport(self, route: Route) -> None:
        sink = _Sink(self, route)
        try:
            transport = self._make_transport(route)
            self._transports[route] = (transport, sink)
            transport.open(sink)
        except Exception as error:
            logger.exception("the %s transport could not be opened", route)
            sink.on_failed(f"transport_error: {type(error).__name__}", retryable=False)

    def _close_transport(self, route: Route) -> None:
        transport, sink = self._transports.pop(route, (None, None))
        if transport is None or sink is None:
            return
        sink.live = False
        try:
            transport.close()
        except Exception:
            logger.exception("the %s transport could not be closed", route)
        task = self._loop.create_task(self._finish(transport, route))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _finish(self, transport: Transport, route: Route) -> None:
        try:
            await transport.aclose()
        except Exception:
            logger.exception("the %s transport could not be closed", route)

    def _tell(self, route: Route, call: Callable[[Transport], None]) -> None:
        """Transports and models may be the user's own: one that raises is one that failed."""
        transport, sink = self._transports.get(route, (None, None))
        if transport is None or sink is None:
            return
        try:
            call(transport)
        except Exception as error:
            logger.exception("the %s transport raised", route)
            sink.on_failed(f"transport_error: {type(error).__name__}", retryable=False)

    def _set_timer(self) -> None:
        deadline = self._session.next_deadline()
        if deadline == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = None if deadline is None else self._clock.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = self._timer_at = None
        self._run(self._session.tick(self._clock.now()))

    def _report(self, message: str) -> None:
        if message not in self._reported and len(self._reported) < 16:
            self._reported.add(message)
            logger.error("audio was dropped: %s (reported once)", message)
