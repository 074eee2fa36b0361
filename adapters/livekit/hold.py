"""Deciding the moment here: the answer to LiveKit is held until the turn is to end.

LiveKit ends a turn after its own minimum or maximum delay, whichever the probability asks for. Where an operating point
(or the detector's ``endpointing``) says another moment, the future of ``predict()`` is resolved at that moment, and the
threshold that LiveKit asks for then is one that the probability reaches. The probability stays the model's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from eot_core import DetectorStream, Endpointer, EndpointingOptions, Prediction, TurnDecision
from eot_core.clock import TimerHandle
from eot_core.events import DecisionReason
from eot_core.pause import Pause


class Hold:
    """One answer that is held. Made when the model has answered; ends with :meth:`cancel`."""

    def __init__(
        self,
        core: DetectorStream,
        delays: Callable[[], EndpointingOptions | None],
        prediction: Prediction,
        *,
        ended_at: float,
        release: Callable[[], None],
        flush_stt: Callable[[], None],
    ) -> None:
        """
        Args:
            core: for thresholds, and further scores of the same pause.
            delays: the delays, and the curve between them, of the language that is known by then.
            prediction: answered or default.
            ended_at: true end of speech, in seconds of the stream's clock.
            release: called once, when the turn is to end.
            flush_stt: called in time for what the STT writes then to come before the end, and whenever LiveKit looks
                at the pause thereafter: before the VAD has reported its beginning, it does nothing.
        """
        self._core = core
        self._delays = delays
        self._prediction = prediction
        self._release = release
        self._flush_stt = flush_stt
        self._flush_timer: TimerHandle | None = None
        self._flushing = False
        self._endpointer = Endpointer(delays())
        self._pause = Pause(
            core, self._endpointer, ended_at=ended_at, clock=core.clock, decide=self._decide, on_due=self._on_due
        )
        self._reached: float | None = None
        self._released = False
        self._waiting: asyncio.Future[None] | None = None
        """LiveKit has its answer, and what it asks next is answered when the turn is to end."""
        self._pause.scored(prediction)

    @property
    def prediction(self) -> Prediction:
        """What the model said at first, which is what LiveKit is told."""
        return self._prediction

    @property
    def reached(self) -> float | None:
        """A threshold that the probability reaches, once the turn is to end."""
        return self._reached if self._pause.due else None

    def begin(self) -> None:
        """Hold the answer; the end may be now."""
        decision = self._endpointer.decision
        assert decision is not None
        self._pause.follow()
        if self._released:
            return
        if decision.reason is DecisionReason.UNLIKELY:
            # As LiveKit does it: short pauses tear nothing apart, and half of the delay is left for the transcript.
            half = (decision.speech_ended_at + decision.commit_at) / 2
            self._flush_timer = self._core.clock.call_at(half, self._flush)
        else:
            self._flush()

    async def reconsider(self) -> None:
        """LiveKit looks at the pause. Its language may be known now, and with it other delays and another threshold.

        Returns at once while the answer is held. Where it was given already, and the turn is to end later than that
        for the language which is now known, it returns then: LiveKit asks about the language before anything else, and
        ends the turn after it.
        """
        if self._flushing:
            self._flush_stt()
        self._pause.reconsider()
        if self._released and not self._pause.due:
            if self._waiting is None:
                self._waiting = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiting)

    def cancel(self) -> None:
        """The pause is over, or somebody else ended the turn. Idempotent."""
        self._pause.cancel()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        self._stop_waiting()

    def _decide(self, prediction: Prediction, at: float) -> TurnDecision | None:
        self._endpointer.options = self._delays() or self._endpointer.options
        return self._endpointer.predicted(prediction, self._core.unlikely_threshold(), at)

    def _on_due(self) -> None:
        decision = self._endpointer.decision
        assert decision is not None
        elapsed = self._core.clock.now() - decision.speech_ended_at
        reached = self._endpointer.options.threshold_at(elapsed, decision.threshold)
        self._reached = min(reached, self._prediction.probability)
        self._stop_waiting()
        if not self._released:
            self._released = True
            self._release()

    def _flush(self) -> None:
        self._flushing = True
        self._flush_stt()

    def _stop_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
