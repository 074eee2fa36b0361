"""Two recordings of a call, side by side: pause by pause."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from eot_core.endpointing import DETECTOR_MAX_DELAY, DETECTOR_MIN_DELAY

from .speech import Pause
from .trace import Judged, Played, Predicted, Trace

TOLERANCE = 0.020
"""Seconds that two commits may be apart."""


@dataclass(frozen=True)
class Side:
    """What one framework did in one pause."""

    predicted: Predicted | None
    """The last answer, or default, in this pause."""
    judged: Judged | None
    """What it was compared with, if it was."""
    commits: tuple[float, ...]
    """Seconds from the true end of speech to each turn that was committed in this pause."""


@dataclass(frozen=True)
class Row:
    """One pause."""

    trace: Trace
    number: int
    pause: Pause
    livekit: Side
    pipecat: Side

    def cost(self, side: Side) -> float | None:
        """Seconds that ``side`` took beyond the moment in which the turn could have ended: the delay was over, the
        answer there, and so was the transcript. None where it ended none."""
        judged = side.judged
        if not side.commits or judged is None or self.trace.decides:
            return None
        low, high = self.trace.delays or (DETECTOR_MIN_DELAY, DETECTOR_MAX_DELAY)
        likely = judged.threshold is None or judged.probability >= judged.threshold
        moments = [low if likely else high]
        if side.predicted is not None:
            moments.append(side.predicted.at - self.pause.ended_at)
        if self.trace.stt:
            moments.append(self._transcript_after())
        return side.commits[0] - max(moments)

    def _transcript_after(self) -> float:
        pauses = self.trace.pauses
        written = [at for at, said in self.trace.words() if said.final and said.text]
        since = pauses[self.number - 1].ended_at if self.number else 0.0
        return min(at for at in written if at >= since) - self.pause.ended_at

    @property
    def difference(self) -> float | None:
        """Seconds by which LiveKit committed later than Pipecat; the largest, where there are several."""
        both = list(zip(self.livekit.commits, self.pipecat.commits, strict=False))
        return max((a - b for a, b in both), key=abs, default=None)

    def disagreements(self) -> list[str]:
        """What differs, in words. Empty: the same decision at the same time."""
        found = []
        if (told := _answer(self.livekit.predicted)) != (other := _answer(self.pipecat.predicted)):
            found.append(f"prediction {told} on LiveKit, {other} on Pipecat")
        # Where the user spoke on before there was a transcript, LiveKit has not looked at the prediction.
        mine, theirs = self.livekit.judged, self.pipecat.judged
        if self.trace.decides and mine is not None and theirs is not None:
            # LiveKit is told the threshold that was reached at the moment in which the turn ends.
            theirs = replace(theirs, threshold=mine.threshold)
        if mine is not None and (theirs is None or _compared(mine) != _compared(theirs)):
            found.append(f"judged {mine} on LiveKit, {theirs} on Pipecat")
        if len(self.livekit.commits) != len(self.pipecat.commits):
            found.append(f"turns {self.livekit.commits} on LiveKit, {self.pipecat.commits} on Pipecat")
        elif self.difference is not None and abs(self.difference) > TOLERANCE:
            found.append(f"commits {self.difference * 1000:.1f} ms apart")
        return found


def _answer(predicted: Predicted | None) -> tuple[object, ...] | None:
    if predicted is None:
        return None
    return round(predicted.probability, 6), predicted.model, predicted.source, predicted.outcome, predicted.reason


def _compared(judged: Judged) -> tuple[object, ...]:
    threshold = None if judged.threshold is None else round(judged.threshold, 6)
    return round(judged.probability, 6), threshold


def rows(trace: Trace, livekit: Played, pipecat: Played) -> list[Row]:
    """The pauses of a call, each up to the moment in which the user speaks on."""
    return [
        Row(trace, number, pause, side(livekit, pause), side(pipecat, pause))
        for number, pause in enumerate(trace.pauses)
    ]


def side(played: Played, pause: Pause) -> Side:
    """What one framework did in one pause of a call."""
    since, until = pause.ended_at, pause.resumed_at or math.inf

    predicted = [item for item in played.predictions if since <= item.at < until]
    judged = [item for item in played.judged if since <= item.at < until]
    commits = tuple(turn.at - since for turn in played.turns if since <= turn.at < until)
    return Side(predicted[-1] if predicted else None, judged[-1] if judged else None, commits)


def disagreements(trace: Trace, livekit: Played, pipecat: Played) -> list[str]:
    """What differs in a whole call, and what is not as the trace wants it."""
    found = [f"pause {row.number}: {what}" for row in rows(trace, livekit, pipecat) for what in row.disagreements()]
    if trace.turns is not None:
        for played in (livekit, pipecat):
            if len(played.turns) != trace.turns:
                found += [f"{len(played.turns)} turns on {played.framework}, where there are {trace.turns}"]
    if livekit.fallbacks != pipecat.fallbacks:
        found.append(f"fallbacks {livekit.fallbacks} on LiveKit, {pipecat.fallbacks} on Pipecat")
    if (livekit.interrupted_at is None) is not (pipecat.interrupted_at is None):
        found.append(f"interrupted at {livekit.interrupted_at} on LiveKit, {pipecat.interrupted_at} on Pipecat")
    heard = [[(turn.text or "").strip() for turn in played.turns] for played in (livekit, pipecat)]
    if trace.stt and heard[0] != heard[1]:
        found.append(f"turns say {heard[0]} on LiveKit, {heard[1]} on Pipecat")
    return found
