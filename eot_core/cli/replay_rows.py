"""From what a console session tells to the rows of a replay. No I/O; true ends of speech are given."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from .broker import EotPredicted, Event, MessageAdded, UsageUpdated, UserStateChanged
from .rows import PauseRow, Row, TurnRow

_MATCH: Final = 0.5
"""Seconds between an end of speech as the agent's VAD tells it and a true one, within which they are the same."""
_SETTLE: Final = 0.3
"""Seconds after speech resumed within which the end of the turn before is announced, as a rule."""
_LONG: Final = 2.0
"""Seconds; a pause of this length may have ended the turn by the maximum delay (2.5 s) alone."""


@dataclass(frozen=True, slots=True)
class Speech:
    """One stretch of speech in the recording, in seconds of it."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class _Answer:
    probability: float
    model: str
    source: str
    threshold: float


@dataclass(slots=True)
class _Pause:
    time: float
    resumed_at: float | None = None
    prediction: EotPredicted | None = None
    held: _Answer | None = None
    """What the detector had when the pause was over, where the session was never told."""
    ended_at: float | None = None

    def settled(self, position: float) -> bool:
        """Whether it is certain by ``position`` that the user spoke on before the turn was ended.

        The message that tells of a turn's end can be seconds late, behind a reply that is still being spoken. So a
        pause that may well have ended the turn is left open until that message, or until the session is over.
        """
        if self.resumed_at is None:
            return False
        likely = self.prediction is not None and self.prediction.probability >= self.prediction.threshold
        return not likely and self.resumed_at - self.time < _LONG and position >= self.resumed_at + _SETTLE


class RowBuilder:
    """Takes the events of a session in order, gives rows as soon as they are certain.

    Args:
        speech: the stretches of speech in the recording, in order: where delays count from.
        model: full name of the model that was asked for; what the session's usage says goes before it.
    """

    def __init__(self, speech: Sequence[Speech], model: str) -> None:
        self._ends = [stretch.end for stretch in speech]
        self._starts = [stretch.start for stretch in speech]
        self._model = model
        self._pauses: list[_Pause] = []
        self._turn: TurnRow | None = None
        self._answers: dict[float, _Answer] = {}
        self._newest: _Answer | None = None

    def answered(self, probability: float, model: str, source: str, threshold: float) -> None:
        """Learn who gave a probability: the events of a session do not tell.

        Nor do they tell of an answer that the detector held, by an operating point, until the user spoke on.
        """
        self._newest = self._answers[_key(probability)] = _Answer(probability, model, source, threshold)

    def observe(self, event: Event) -> list[Row]:
        """Take one event; return the rows that are certain now. The row of a turn waits for the reply to it."""
        rows: list[Row] = []
        at = event.position if event.occurred_at is None else event.occurred_at
        match event:
            case UserStateChanged(old="speaking"):
                self._pauses.append(_Pause(_nearest(self._ends, at)))
            case UserStateChanged(new="speaking"):
                if self._pauses and self._pauses[-1].resumed_at is None:
                    self._pauses[-1].resumed_at = _nearest(self._starts, at)
                    self._pauses[-1].held = self._newest
                self._newest = None
            case EotPredicted():
                if self._pauses:
                    self._pauses[-1].prediction = event
            case UsageUpdated():
                self._model = next((used.model for used in event.models if used.kind == "eot"), self._model)
            case MessageAdded(role="user"):
                rows += self._end_turn(event, at if event.committed_at is None else event.committed_at)
            case MessageAdded(role="assistant"):
                if self._turn is not None:
                    self._turn = replace(self._turn, reply=event.text)
                rows += self._close_turn()
            case _:
                pass
        return self._settled(event.position) + rows

    def finish(self) -> list[Row]:
        """The session is over: the rows that are left."""
        return self._close_turn() + self._settled(None)

    def _end_turn(self, event: MessageAdded, ended_at: float) -> list[Row]:
        rows = self._close_turn()
        # The pause in which the turn was ended: the last one that had begun by then.
        began = [pause for pause in self._pauses if pause.time <= ended_at]
        if began:
            began[-1].ended_at = ended_at
        spoken_until = began[-1].time if began else self._end_before(ended_at)
        # The pauses of this turn come before its row.
        rows += [self._pause_row(pause) for pause in began]
        del self._pauses[: len(began)]
        self._turn = TurnRow(ended_at, ended_at - spoken_until, event.text, None)
        return rows

    def _close_turn(self) -> list[Row]:
        turn, self._turn = self._turn, None
        return [] if turn is None else [turn]

    def _settled(self, position: float | None) -> list[Row]:
        """Rows of the pauses that the user has ended by speaking on; of all pauses when ``position`` is None."""
        rows: list[Row] = []
        while self._pauses:
            if position is not None and not self._pauses[0].settled(position):
                break
            rows.append(self._pause_row(self._pauses.pop(0)))
        return rows

    def _pause_row(self, pause: _Pause) -> PauseRow:
        heard, ended_at = pause.prediction, pause.ended_at
        known = pause.held if heard is None else self._answers.get(_key(heard.probability))
        # A default is not inferred, and says "end the turn": see eot_core.events.Outcome.
        by_default = heard is not None and heard.probability == 1.0 and heard.inference_duration == 0.0
        return PauseRow(
            time=pause.time,
            duration=None if pause.resumed_at is None else pause.resumed_at - pause.time,
            probability=heard.probability if heard is not None else None if known is None else known.probability,
            threshold=heard.threshold if heard is not None else None if known is None else known.threshold,
            decision="listened_through" if ended_at is None else "turn_ended",
            delay=None if ended_at is None else ended_at - pause.time,
            model=self._model if known is None else known.model,
            source=known.source if known is not None else "default" if heard is None or by_default else "local",
        )

    def _end_before(self, time: float) -> float:
        index = bisect_left(self._ends, time)
        return self._ends[index - 1] if index else time


def _key(probability: float) -> float:
    """The console carries 32-bit floats."""
    return round(probability, 6)


def _nearest(times: Sequence[float], time: float) -> float:
    """The true time that the VAD of the agent meant; its own where there is none near."""
    index = bisect_left(times, time)
    near = min(times[max(0, index - 1) : index + 1], key=lambda true: abs(true - time), default=time)
    return near if abs(near - time) <= _MATCH else time
