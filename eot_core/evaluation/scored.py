"""Pauses that were scored by several models, and how that was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..endpointing import ASKED_LATER, RESCORE_UNTIL
from ..options import check_seconds
from .items import Item, Span
from .pauses import MAX_HOLD, MIN_HOLD, SCORE_AT, Pauses

_SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How pauses are scored. All of them are part of what makes two results comparable."""

    score_at: float = SCORE_AT
    """Seconds into a pause; the audio that a model is given ends there."""
    min_hold: float = MIN_HOLD
    """Shorter holds are not counted; seconds. One that is over before ``score_at`` counts, without a score."""
    max_hold: float = MAX_HOLD
    """Longer holds are not counted; seconds."""
    rescore_every: float | None = None
    """Seconds between further scores of the same pause, for as long as its recorded silence lasts; None: one score."""
    rescore_until: float = RESCORE_UNTIL
    """Seconds into a pause; no further scores after that."""
    channel: int | None = None
    """Channel of recordings that have several; None mixes them down."""
    check_speech: bool = True
    """Whether Silero VAD looks at the labels."""

    def __post_init__(self) -> None:
        check_seconds(self.score_at, "score_at")
        check_seconds(self.min_hold, "min_hold")
        check_seconds(self.max_hold, "max_hold", positive=True)
        check_seconds(self.rescore_until, "rescore_until")
        if self.rescore_every is not None:
            check_seconds(self.rescore_every, "rescore_every", positive=True)

    @property
    def asked_at(self) -> tuple[float, ...]:
        """Seconds into a pause at which it is scored: ``score_at``, and after that the multiples of ``rescore_every``,
        as the Endpointer asks for them."""
        if self.rescore_every is None:
            return (self.score_at,)
        steps = int((self.rescore_until + _SLACK) / self.rescore_every)
        grid = [self.rescore_every * i for i in range(1, steps + 1)]
        return (self.score_at, *(round(t, 6) for t in grid if t > self.score_at + ASKED_LATER + _SLACK))

    @property
    def moments(self) -> tuple[float, ...]:
        """Seconds into a pause at which the audio of each score ends. In a call what comes in while the model is asked
        is not heard (:data:`~eot_core.endpointing.ASKED_LATER`); the first score is of ``score_at`` seconds."""
        first, *later = self.asked_at
        return (first, *(round(t - ASKED_LATER, 6) for t in later))


@dataclass(frozen=True, slots=True)
class ScoredPause:
    """One pause of one item."""

    item: Item
    index: int
    """Of the span in the item."""

    @property
    def span(self) -> Span:
        """The silence."""
        return self.item.spans[self.index]

    @property
    def is_end(self) -> bool:
        """Whether it is the end of the turn."""
        return self.index == len(self.item.spans) - 1


def unnamed_note(clusters: Mapping[str, str]) -> list[str]:
    """What is to be known of intervals where recordings name no speaker and no call; ``clusters`` by item."""
    unnamed = sum(item == cluster for item, cluster in clusters.items())
    if unnamed == 0 or len(clusters) < 2:
        return []
    return [
        f"{unnamed} of {len(clusters)} recordings without a speaker or call: each counts as one of its own, so that "
        "intervals are too narrow where somebody speaks in several"
    ]


@dataclass(slots=True)
class ScoredSet:
    """All pauses that were scored, by every model."""

    options: ScoringOptions
    pauses: list[ScoredPause] = field(default_factory=list)
    scores: dict[str, list[list[float]]] = field(default_factory=dict)
    """By model, for each pause: a score for each moment, NaN where the silence was over by then."""
    notes: list[str] = field(default_factory=list)
    """What is to be known of the recordings as a whole."""
    failed: dict[str, str] = field(default_factory=dict)
    """Models that could not be loaded, and why."""

    @property
    def asked(self) -> int:
        """Pauses that lasted until a model was asked."""
        return sum(p.span.duration >= self.options.score_at - _SLACK for p in self.pauses)

    def for_model(self, model: str) -> Pauses:
        """What the metrics take."""
        values = np.asarray(self.scores[model], dtype=np.float64).reshape(len(self.pauses), len(self.options.moments))
        asked = np.isfinite(values[:, 0])
        return Pauses(
            score=np.where(asked, values[:, 0], 0.0),
            duration=np.array([p.span.duration for p in self.pauses]),
            is_end=np.array([p.is_end for p in self.pauses], dtype=bool),
            cluster=np.array([p.item.cluster for p in self.pauses], dtype=np.str_),
            answered_at=np.where(asked, self.options.score_at, np.inf),
            language=np.array([p.item.language for p in self.pauses], dtype=np.str_),
            later=values[:, 1:],
            later_at=np.array(self.options.asked_at[1:]),
        )
