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
from eot_core.events import Outcome

GRACE = 0.05
"""Seconds after the moment in which the turn is to end that a further score, asked for before, may still take. Who has
none by then does without: what was decided stands."""


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
        self._ended_at = ended_at
        self._scores: list[tuple[Prediction, float]] = []
        self._endpointer = self._follow(options)
        self._further: asyncio.Future[Prediction] | None = None
        """A further score that is on its way."""
        self._timer: TimerHandle | None = None
        self._over = False
        self._scored(prediction)

    @property
    def prediction(self) -> Prediction:
        """What the model said at first, which is what LiveKit is told."""
        return self._prediction

    def cancel(self) -> None:
        """The pause is over, or somebody else ended the turn. Idempotent."""
        self._over = True
        self._further = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reconsider(self) -> None:
        """The language may have become known, and with it other delays and another threshold."""
        before = self._endpointer.decision
        if self._over or before is None:
            return
        options = self._core.endpointing() or self._endpointer.options
        if options == self._endpointer.options and self._core.unlikely_threshold() == before.threshold:
            return
        # The scores that there are, as if this had been known when they came.
        self._endpointer = self._follow(options)
        for prediction, at in self._scores:
            self._endpointer.predicted(prediction, self._core.unlikely_threshold(), at)
        self._wait()

    def _follow(self, options: EndpointingOptions) -> Endpointer:
        endpointer = Endpointer(options)
        endpointer.speech_ended(self._ended_at)
        return endpointer

    def _scored(self, prediction: Prediction) -> None:
        if prediction.outcome in (Outcome.SUPERSEDED, Outcome.CANCELLED):  # while it was on its way
            return
        now = self._clock.now()
        self._scores.append((prediction, now))
        self._endpointer.predicted(prediction, self._core.unlikely_threshold(), now)
        self._wait()

    def _wait(self) -> None:
        decision, again = self._endpointer.decision, self._endpointer.rescore_at
        if decision is None:
            return
        if again is not None and again > self._clock.now():
            self._set_timer(again, lambda: self._rescore(again - self._ended_at))
        else:  # nothing to come, or a score that is on its way, or was and did not come
            self._set_timer(decision.commit_at + (0.0 if self._further is None else GRACE), self._commit)

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
        self._further = further = self._core.predict(again_at=again_at)
        further.add_done_callback(self._rescored)
        self._wait()

    def _rescored(self, future: asyncio.Future[Prediction]) -> None:
        if self._over or future is not self._further:
            return
        self._further = None
        if not future.cancelled():
            self._scored(future.result())

    def _commit(self) -> None:
        decision, further = self._endpointer.decision, self._further
        if self._over or decision is None:
            return
        self.cancel()
        if further is not None:
            further.cancel()
        elapsed = self._clock.now() - decision.speech_ended_at
        reached = self._endpointer.options.threshold_at(elapsed, decision.threshold)
        self._release(self._prediction, min(reached, self._prediction.probability))
