"""One silence, followed from its first score to the moment in which it ends the turn: what both adapters share.

Knows no framework. Who asked first hands the answer in; further scores of the same silence are asked for here.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from .clock import Clock, TimerHandle
from .endpointing import Endpointer
from .events import Outcome, Prediction, TurnDecision
from .stream import DetectorStream

GRACE = 0.05
"""Seconds after the moment in which the turn is to end that a further score, asked for before, may still take. Who has
none by then does without: what was decided stands."""


class Pause:
    """Made at the end of speech; ends with :meth:`cancel`. Until then the language may still become known."""

    def __init__(
        self,
        stream: DetectorStream,
        endpointer: Endpointer,
        *,
        ended_at: float,
        clock: Clock,
        decide: Callable[[Prediction, float], TurnDecision | None],
        on_due: Callable[[], None],
        on_change: Callable[[TurnDecision], None] | None = None,
    ) -> None:
        """
        Args:
            stream: for further scores.
            endpointer: decides; it follows this silence from now on.
            ended_at: true end of speech, in seconds of the clock.
            clock: time and timers.
            decide: hands a score, and when it came, to the endpointer, with the options and the threshold of the
                language that is known by then.
            on_due: called when the silence has lasted long enough; again, if that was taken back meanwhile.
            on_change: called with a decision that replaces another.
        """
        self._stream = stream
        self._endpointer = endpointer
        self._ended_at = ended_at
        self._clock = clock
        self._decide = decide
        self._on_due = on_due
        self._on_change = on_change
        self._scores: list[tuple[Prediction, float]] = []
        self._further: asyncio.Future[Prediction] | None = None
        """A further score that is on its way."""
        self._asked = ended_at
        """The moment that the newest one was asked for, which the clock need not have reached: a timer of an event loop
        may be early by what the clock tells apart."""
        self._timer: TimerHandle | None = None
        self._due = False
        self._over = False
        endpointer.speech_ended(ended_at)

    @property
    def due(self) -> bool:
        """Whether the silence has lasted long enough to end the turn."""
        return self._due

    def scored(self, prediction: Prediction) -> TurnDecision | None:
        """A score came. Returns what follows from it; None: nothing. :meth:`follow` is to be called after the first."""
        if self._over or prediction.outcome in (Outcome.SUPERSEDED, Outcome.CANCELLED):
            return None
        now = self._clock.now()
        self._scores.append((prediction, now))
        return self._decide(prediction, now)

    def follow(self) -> None:
        """Wait for the moment that was decided on, and score again before it where that could change it."""
        decision, again = self._endpointer.decision, self._endpointer.rescore_at
        if self._over or decision is None:
            return
        if again is not None and again > max(self._clock.now(), self._asked):
            self._set_timer(again, lambda: self._rescore(again))
        else:  # nothing to come, or a score that is on its way, or was and did not come
            self._set_timer(decision.commit_at + (0.0 if self._further is None else GRACE), self._reach)

    def reconsider(self) -> None:
        """The language may have become known, and with it other delays and another threshold."""
        before, options = self._endpointer.decision, self._endpointer.options
        if self._over or before is None:
            return
        # The scores that there are, as if this had been known when they came.
        self._endpointer.speech_ended(self._ended_at)
        for prediction, at in self._scores:
            self._decide(prediction, at)
        decision, now = self._endpointer.decision, self._clock.now()
        if decision is None or (self._endpointer.options, decision.threshold, decision.reason) == (
            options,
            before.threshold,
            before.reason,
        ):
            return
        self._changed(decision, now)
        if self._due and decision.commit_at <= now:
            return
        self._due = False
        self.follow()

    def cancel(self) -> None:
        """The silence is over, or somebody else ended the turn. Idempotent."""
        self._over = True
        self._further = None
        self._stop_timer()

    def _changed(self, decision: TurnDecision, now: float) -> None:
        if self._on_change is not None:  # no turn ends in the past
            self._on_change(dataclasses.replace(decision, commit_at=max(decision.commit_at, now)))

    def _set_timer(self, when: float, action: Callable[[], None]) -> None:
        self._stop_timer()
        if when <= self._clock.now():
            action()
        else:
            self._timer = self._clock.call_at(when, action)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rescore(self, moment: float) -> None:
        if self._over:
            return
        self._asked = moment
        self._further = further = self._stream.predict(again_at=moment - self._ended_at)
        further.add_done_callback(self._rescored)
        self.follow()

    def _rescored(self, future: asyncio.Future[Prediction]) -> None:
        if self._over or future is not self._further:
            return
        self._further = None
        before = self._endpointer.decision
        decision = None if future.cancelled() else self.scored(future.result())
        if decision is not None and (before is None or decision.commit_at != before.commit_at):
            self._changed(decision, self._clock.now())
        self.follow()

    def _reach(self) -> None:
        if self._over:
            return
        further, self._further = self._further, None
        self._stop_timer()
        if further is not None:
            further.cancel()
        self._due = True
        self._on_due()
