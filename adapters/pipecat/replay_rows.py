"""From what happens in a pipeline to the rows of a replay. No I/O; times are in seconds of the recording."""

from __future__ import annotations

from dataclasses import dataclass, replace

from eot_core import Outcome, Prediction, TurnDecision
from eot_core.cli.rows import PauseRow, Row, TurnRow


@dataclass(slots=True)
class _Pause:
    time: float
    prediction: Prediction | None = None
    decision: TurnDecision | None = None
    resumed_at: float | None = None
    ended_at: float | None = None


class RowBuilder:
    """Takes what happens in order, gives rows as soon as they are certain. The row of a turn waits for the reply."""

    def __init__(self, model: str) -> None:
        """
        Args:
            model: full name of the model that was asked for, for pauses without a prediction.
        """
        self._model = model
        self._pause: _Pause | None = None
        self._turn: TurnRow | None = None

    def speech_started(self, at: float) -> list[Row]:
        """The user speaks (on)."""
        pause, self._pause = self._pause, None
        if pause is None or pause.ended_at is not None:
            return []
        pause.resumed_at = at
        return [self._row(pause)]

    def speech_ended(self, at: float) -> None:
        """A pause begins; ``at`` is the true end of speech."""
        self._pause = _Pause(at)

    def predicted(self, prediction: Prediction) -> None:
        """The detector gave its answer on the pause."""
        if self._pause is not None:
            self._pause.prediction = prediction

    def decided(self, decision: TurnDecision) -> None:
        """What followed from it."""
        if self._pause is not None and decision.ends_turn:
            self._pause.decision = decision

    def turn_ended(self, at: float, transcript: str | None) -> list[Row]:
        """The turn was ended."""
        rows = self._close_turn()
        pause = self._pause
        spoken_until = at if pause is None else pause.time
        if pause is not None and pause.ended_at is None:
            pause.ended_at = at
            rows.append(self._row(pause))
        self._turn = TurnRow(at, at - spoken_until, transcript, None)
        return rows

    def replied(self, text: str) -> list[Row]:
        """The bot answered."""
        if self._turn is not None:
            self._turn = replace(self._turn, reply=text)
        return self._close_turn()

    def finish(self) -> list[Row]:
        """The call is over: the rows that are left."""
        pause, self._pause = self._pause, None
        rows = self._close_turn()
        return rows if pause is None or pause.ended_at is not None else [*rows, self._row(pause)]

    def _close_turn(self) -> list[Row]:
        turn, self._turn = self._turn, None
        return [] if turn is None else [turn]

    def _row(self, pause: _Pause) -> PauseRow:
        prediction, decision = pause.prediction, pause.decision
        answered = prediction is not None and prediction.outcome is Outcome.ANSWERED
        return PauseRow(
            time=pause.time,
            duration=None if pause.resumed_at is None else pause.resumed_at - pause.time,
            probability=None if prediction is None else prediction.probability,
            threshold=None if decision is None else decision.threshold,
            decision="listened_through" if pause.ended_at is None else "turn_ended",
            delay=None if pause.ended_at is None else pause.ended_at - pause.time,
            model=self._model if prediction is None else prediction.model,
            source=prediction.source if prediction is not None and answered else "default",
        )
