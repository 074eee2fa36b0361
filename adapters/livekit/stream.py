"""One conversation, as LiveKit's AudioRecognition uses it: the 13 members of ``_StreamingTurnDetectorStream``."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from livekit import rtc
from livekit.agents import LanguageCode
from livekit.agents.voice.turn import TurnDetectionEvent

from eot_core import DetectorStream, Outcome, Prediction
from eot_core.languages import language_key
from eot_core.models.base import SAMPLE_RATE

from .delays import current_delays, longest_delay
from .frames import mono
from .heard import SILENCE_AT_PREDICTION, listening_task, made_up_so_far, silence_so_far, speech_so_far
from .hold import Hold
from .recognition import MetricsListener, flush_stt, metrics_listener

logger = logging.getLogger("adapters.livekit")

_Method = TypeVar("_Method", bound=Callable[..., None])


def _never_raises(method: _Method) -> _Method:
    """LiveKit calls these from the task that carries the user's audio: one exception would deafen the session."""

    @functools.wraps(method)
    def guarded(self: TurnDetectorStream, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception:
            self._complain(method.__name__)

    return cast(_Method, guarded)


class TurnDetectorStream:
    """Made by :meth:`adapters.livekit.TurnDetector.stream`. No method raises, no future holds an exception."""

    def __init__(self, core: DetectorStream) -> None:
        """
        Args:
            core: the stream that does the work; it is closed with this one.
        """
        if not isinstance(core, DetectorStream):
            raise TypeError(
                f"core must be an eot_core.DetectorStream, got {type(core).__name__}: use detector.stream()"
            )
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._in_flight: tuple[asyncio.Future[Prediction], asyncio.Future[TurnDetectionEvent]] | None = None
        self._speech_ended_at = 0.0
        self._made_up = 0.0
        """Seconds of silence since the newest audio that nobody sent."""
        self._hold: Hold | None = None
        self._held_answer: asyncio.Future[TurnDetectionEvent] | None = None
        self._asked_by: asyncio.Task[Any] | None = None
        """LiveKit's task that hears the VAD, and asked."""
        self._ended = False
        self._complained: set[str] = set()
        self._unsupported: set[str | None] = set()

    # -- what can be asked ----------------------------------------------------------------------------------------

    @property
    def model(self) -> str:
        """Full name of the active model; another one after a fallback."""
        return self._core.model

    @property
    def provider(self) -> str:
        """Who publishes the model that the detector was made with."""
        return self._core.provider

    @property
    def is_fallback(self) -> bool:
        """Whether this stream left the model that the detector was made with. Says nothing of other streams."""
        return self._core.is_fallback

    @property
    def is_degraded(self) -> bool:
        """Whether the cloud is gone and no local model may take its place: turns end after the minimum delay."""
        return self._core._session.route is None

    @property
    def prediction_timeout(self) -> float:
        """Seconds after which LiveKit need not wait any longer; the future of :meth:`predict` is resolved by then."""
        # An answer that is held comes when the turn is to end, also where another model takes over meanwhile.
        return self._core.prediction_timeout + longest_delay(self._core, self._asked_by)

    async def unlikely_threshold(self, language: LanguageCode | None) -> float:
        """Threshold, 0..1, for the model that gave the last answer. None, NOT_GIVEN: the last known language."""
        calibrated = self._core.unlikely_threshold(language)
        reached = None if self._hold is None else self._hold.reached
        return calibrated if reached is None else reached

    async def backchannel_threshold(self, language: LanguageCode | None) -> float | None:
        """The same for backchannels; None where the model does not tell them."""
        return self._core.backchannel_threshold(language)

    async def supports_language(self, language: LanguageCode | None) -> bool:
        """Whether the active model was made for the language, or the user gave a threshold for it.

        LiveKit ends every pause after the minimum delay where it was not, which is worth a warning. It asks this first
        when a transcript comes; where the detector decides the moment, and the turn is to end later for this language
        than LiveKit was told, the answer comes then.
        """
        supported = self._core.supports_language(language)
        if supported and self._hold is not None:
            await self._hold.reconsider()
        known = self._core._session.language  # which it is where LiveKit says "multi", or has forgotten it
        if not supported and known not in self._unsupported:
            self._unsupported.add(known)
            named = str(language) if language_key(language) == known else known
            logger.warning(
                "%s was not made for the language %r: LiveKit ends turns after the minimum delay. Choose a model that "
                "knows it, or give a threshold that you measured: unlikely_threshold={%r: ...}",
                self.model,
                named,
                named,
            )
        return supported

    @property
    def metrics_listener(self) -> MetricsListener | None:
        """How the session that asked last counts metrics; None where it is not known."""
        return metrics_listener(self._asked_by)

    @property
    def closed(self) -> bool:
        """Whether :meth:`aclose` was called."""
        return self._core.closed

    # -- the conversation -----------------------------------------------------------------------------------------

    @_never_raises
    def push_audio(self, frame: rtc.AudioFrame) -> None:
        """A frame of any length, rate (8 to 48 kHz; it may change) and number of channels, which are averaged."""
        if not self._ended:
            self._made_up = 0.0
            self._core.push_audio(mono(frame), frame.sample_rate)

    def predict(self) -> asyncio.Future[TurnDetectionEvent]:
        """Ask whether the turn has ended, given the audio so far. A request in flight is superseded.

        Returns:
            A future that is always resolved with a new event, after :attr:`prediction_timeout` seconds at the latest.
            A request that was superseded or cancelled has probability 0.0; one that no model could answer has 1.0.
            Cancelling the future drops the request.
        """
        answer: asyncio.Future[TurnDetectionEvent] = self._loop.create_future()
        if self._ended:
            answer.set_result(_default_event())
            return answer
        try:
            self._drop_hold()
            self._asked_by, silence = listening_task(), silence_so_far()
            made_up, ago = made_up_so_far()
            if (more := made_up - self._made_up) > 0.0:
                # The VAD tells of silence that no audio holds: the model would take the last words for it.
                self._made_up = made_up
                self._core.push_audio(bytes(2 * round(more * SAMPLE_RATE)), SAMPLE_RATE)
            inner = self._core.predict(silence=silence)  # None: somebody else asks, and all audio counts
            self._settle()  # the one that was superseded
            lasted = SILENCE_AT_PREDICTION if silence is None else max(silence, ago)
            self._speech_ended_at = self._core.clock.now() - lasted
            inner.add_done_callback(lambda done: self._relay(done, answer))
            answer.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)
            self._in_flight = inner, answer
            self._settle()
        except Exception:
            self._complain("predict")
            answer = self._loop.create_future()
            answer.set_result(_default_event())
        return answer

    @_never_raises
    def cancel_inference(self, *, timed_out: bool = False) -> None:
        """The user speaks on; or, with ``timed_out``, LiveKit will not wait longer for the request in flight."""
        self._drop_hold()
        if timed_out:
            self._core.time_out()
        else:
            self._core.cancel(speech=speech_so_far())
        self._settle()

    @_never_raises
    def flush(self, reason: str | None = None) -> None:
        """The turn ended, whoever ended it. Idempotent."""
        self._drop_hold()
        self._core.flush(reason)
        self._settle()

    @_never_raises
    def end_input(self) -> None:
        """There will be no more audio: what is pushed from now on is dropped, what is asked gets 1.0. Idempotent."""
        if not self._ended:
            self._ended = True
            self._drop_hold()
            self._core.flush("input_ended")
            self._settle()

    async def aclose(self) -> None:
        """Close: a request in flight is cancelled, and nothing is left behind. Idempotent.

        An answer that is held is given: LiveKit closes a stream whose detector is replaced, and goes on waiting for it.
        """
        self._ended = True
        try:
            self._give_up_hold()
            await self._core.aclose()
        except Exception:
            self._complain("aclose")
        finally:
            self._settle()

    # -- inside ---------------------------------------------------------------------------------------------------

    @_never_raises
    def _settle(self) -> None:
        """Resolve LiveKit's future in the same step in which the request was, not one turn of the loop later."""
        if self._in_flight is not None and self._in_flight[0].done():
            self._relay(*self._in_flight)
            self._in_flight = None

    def _relay(self, inner: asyncio.Future[Prediction], answer: asyncio.Future[TurnDetectionEvent]) -> None:
        if answer.done() or answer is self._held_answer:
            return
        if inner.cancelled():
            answer.set_result(_default_event(0.0))
            return
        prediction = inner.result()
        asked_by = self._asked_by
        delays = functools.partial(current_delays, self._core, asked_by)
        if delays() is None or prediction.outcome not in (Outcome.ANSWERED, Outcome.DEFAULT):
            answer.set_result(_event(prediction))
            return

        def release() -> None:
            if not answer.done():
                answer.set_result(_event(prediction))

        self._held_answer = answer
        self._hold = Hold(
            self._core,
            delays,
            prediction,
            ended_at=self._speech_ended_at,
            release=release,
            flush_stt=functools.partial(flush_stt, asked_by),
        )
        self._hold.begin()
        if self._asked_by is not None:
            self._asked_by.add_done_callback(self._asker_left)

    def _asker_left(self, task: asyncio.Task[Any]) -> None:
        """LiveKit closes, or hands over to another agent: it hears no user any more, and waits for what is held."""
        if task is self._asked_by:
            self._give_up_hold()

    def _give_up_hold(self) -> None:
        """What is held is given now."""
        if self._hold is not None and self._held_answer is not None and not self._held_answer.done():
            self._held_answer.set_result(_event(self._hold.prediction))
        self._drop_hold()

    def _drop_hold(self) -> None:
        """What is held is not to be waited for any more."""
        hold, answer = self._hold, self._held_answer
        self._hold = self._held_answer = None
        if self._asked_by is not None:
            self._asked_by.remove_done_callback(self._asker_left)
        if hold is not None:
            hold.cancel()
        if answer is not None and not answer.done():
            answer.set_result(_default_event(0.0))

    def _complain(self, where: str) -> None:
        if where not in self._complained:
            self._complained.add(where)
            logger.exception("%s failed; the session goes on without it (reported once)", where)


def _event(prediction: Prediction) -> TurnDetectionEvent:
    answered = prediction.outcome is Outcome.ANSWERED
    return TurnDetectionEvent(
        type="eot_prediction",
        end_of_turn_probability=prediction.probability,
        last_speaking_time=time.time(),
        detection_delay=prediction.detection_delay if answered else None,
        inference_duration=prediction.inference_time if answered else None,
        backchannel_probability=prediction.backchannel_probability,
    )


def _default_event(probability: float = 1.0) -> TurnDetectionEvent:
    return TurnDetectionEvent(
        type="eot_prediction", end_of_turn_probability=probability, last_speaking_time=time.time()
    )
