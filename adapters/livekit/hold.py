"""Deciding the moment here: the answer to LiveKit is held until the turn is to end.

LiveKit ends a turn after its own minimum or maximum delay, whichever the probability asks for. Where an operating point
(or the detector's ``endpointing``) says another moment, the future of ``predict()`` is resolved at that moment, and the
threshold that LiveKit asks for then is one that the probability reaches. The probability stays the model's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from eot_core import DetectorStream, Endpointer, EndpointingOptions, Prediction
from eot_core.clock import Clock, TimerHandle


class Hold:
    """One answer that is held. Made when the model has answered; ends in ``release`` or :meth:`cancel`."""

    def __init__(
        self,
        core: DetectorStream,
        options: EndpointingOptions,
        prediction: Prediction,
        *,
        ended_at: float,
        clock: Clock,
        release: Callable[[Prediction, float], None],
    ) -> None:
        """
        Args:
            core: for thresholds, and further scores of the same pause.
            options: the delays, and the curve between them.
            prediction: answered or default.
            ended_at: true end of speech, in seconds of the clock.
            clock: time and timers.
            release: called once, with the prediction and a threshold that it reaches, when the turn is to end.
        """
        self._core = core
        self._clock = clock
        self._release = release
        self._prediction = prediction
        self._endpointer = Endpointer(options)
        self._ended_at = ended_at
        self._endpointer.speech_ended(ended_at)
        self._timer: TimerHandle | None = None
        self._over = False
        self._decide(prediction)

    def cancel(self) -> None:
        """The pause is over, or somebody else ended the turn. Idempotent."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reconsider(self) -> None:
        """The language, and with it the threshold, may have changed."""
        if not self._over and self._endpointer.options.rescore_every is None:
            self._decide(self._prediction)

    def _decide(self, prediction: Prediction) -> None:
        now = self._clock.now()
        decision = self._endpointer.predicted(prediction, self._core.unlikely_threshold(), now)
        if decision is None:  # cancelled, while a further score was on its way
            return
        again = self._endpointer.rescore_at
        if again is None or again <= now:  # past: the score that was asked for then did not come
            self._set_timer(decision.commit_at, self._commit)
        else:
            self._set_timer(again, lambda: self._rescore(again - self._ended_at))

    def _set_timer(self, when: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if when <= self._clock.now():
            action()
        else:
            self._timer = self._clock.call_at(when, action)

    def _rescore(self, again_at: float) -> None:
        if self._over:
            return
        self._core.predict(again_at=again_at).add_done_callback(self._rescored)

    def _rescored(self, future: asyncio.Future[Prediction]) -> None:
        if not self._over and not future.cancelled():
            self._decide(future.result())

    def _commit(self) -> None:
        decision = self._endpointer.decision
        if self._over or decision is None:
            return
        self.cancel()
        elapsed = self._clock.now() - decision.speech_ended_at
        reached = self._endpointer.options.threshold_at(elapsed, decision.threshold)
        self._release(self._prediction, min(reached, self._prediction.probability))
