"""Scored pauses, as arrays: what every metric and every sweep here takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

MIN_HOLD = 0.2
MAX_HOLD = 5.0
"""Seconds. Holds outside are not counted, as in eot-bench (``min_hold_span_duration``, ``max_hold_span_duration``)."""
SCORE_AT = 0.2
"""Seconds into a pause at which a model is asked: eot-bench's ``score_point``, and what livekit-agents waits."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.str_]

_NO_SCORES: Floats = np.zeros((0, 0))


@dataclass(frozen=True, eq=False)
class Pauses:
    """Pauses and one model's score for each. All arrays have shape (n,) unless said otherwise.

    Raises:
        ValueError: shapes differ, a score is outside 0..1 or not finite, a duration is negative.
    """

    score: Floats
    """Probability that the turn has ended, 0..1, given ``answered_at`` seconds into the pause."""
    duration: Floats
    """Seconds of silence: until the speaker went on (hold), or until the recording ends (end)."""
    is_end: Bools
    """True for the end of a turn, False for a hold."""
    cluster: Strings
    """Speaker or call. Pauses of one cluster are not independent: intervals and halves are drawn by cluster."""
    answered_at: Floats = field(default_factory=lambda: np.zeros(0))
    """Seconds into the pause at which the score is known; left empty: :data:`SCORE_AT` for all. Infinity: the pause was
    over before a model was asked, and its score counts for nothing."""
    language: Strings = field(default_factory=lambda: np.zeros(0, dtype=np.str_))
    """Language key; left empty: ""."""
    later: Floats = field(default_factory=lambda: _NO_SCORES)
    """Shape (n, k): scores of the same pause further on, NaN where it was over or its recording had ended."""
    later_at: Floats = field(default_factory=lambda: np.zeros(0))
    """Shape (k,): seconds into the pause of each column of ``later``, rising."""

    def __post_init__(self) -> None:
        n = len(self.score)
        _set(self, "score", np.asarray(self.score, dtype=np.float64))
        _set(self, "duration", np.asarray(self.duration, dtype=np.float64))
        _set(self, "is_end", np.asarray(self.is_end, dtype=np.bool_))
        _set(self, "cluster", np.asarray(self.cluster, dtype=np.str_))
        if len(self.answered_at) == 0 and n:
            _set(self, "answered_at", np.full(n, SCORE_AT))
        if len(self.language) == 0 and n:
            _set(self, "language", np.full(n, "", dtype=np.str_))
        if self.later.size == 0:
            _set(self, "later", np.zeros((n, 0)))
            _set(self, "later_at", np.zeros(0))
        _set(self, "answered_at", np.asarray(self.answered_at, dtype=np.float64))
        _set(self, "language", np.asarray(self.language, dtype=np.str_))
        for name in ("score", "duration", "is_end", "cluster", "answered_at", "language"):
            shape = getattr(self, name).shape
            if shape != (n,):
                raise ValueError(f"{name} must have shape ({n},) as score has, got {shape}")
        if self.later.shape != (n, len(self.later_at)):
            raise ValueError(f"later must have shape ({n}, {len(self.later_at)}), got {self.later.shape}")
        if n and not (np.isfinite(self.score).all() and np.min(self.score) >= 0 and np.max(self.score) <= 1):
            raise ValueError("score must be finite and within 0..1")
        if n and not (self.answered_at >= 0).all():
            raise ValueError("answered_at must be 0 or more seconds")
        if n and not (np.isfinite(self.duration).all() and np.min(self.duration) >= 0):
            raise ValueError("duration must be finite and 0 or more seconds")

    def __len__(self) -> int:
        return len(self.score)

    @property
    def holds(self) -> int:
        """How many are holds."""
        return int((~self.is_end).sum())

    @property
    def ends(self) -> int:
        """How many are ends."""
        return int(self.is_end.sum())

    @property
    def asked(self) -> Bools:
        """Which of them a model gave a score for, shape (n,)."""
        return np.isfinite(self.answered_at)

    def where(self, mask: npt.NDArray[Any]) -> Pauses:
        """Those that ``mask`` (bool of shape (n,), or indices) picks."""
        return replace(
            self,
            score=self.score[mask],
            duration=self.duration[mask],
            is_end=self.is_end[mask],
            cluster=self.cluster[mask],
            answered_at=self.answered_at[mask],
            language=self.language[mask],
            later=self.later[mask],
        )

    def counted(self, min_hold: float = MIN_HOLD, max_hold: float = MAX_HOLD) -> Pauses:
        """Without the holds that last less than ``min_hold`` or more than ``max_hold`` seconds."""
        in_range = (self.duration >= min_hold - 1e-9) & (self.duration <= max_hold + 1e-9)
        return self.where(self.is_end | in_range)

    def with_scores(self, score: Sequence[float] | Floats) -> Pauses:
        """The same pauses with another model's scores, and none further on."""
        return replace(
            self, score=np.asarray(score, dtype=np.float64), later=np.zeros((len(self), 0)), later_at=np.zeros(0)
        )

    def clusters(self) -> tuple[npt.NDArray[np.intp], int]:
        """For each pause the number of its cluster from 0, shape (n,), and how many clusters there are."""
        names, index = np.unique(self.cluster, return_inverse=True)
        return index.astype(np.intp), len(names)


def _set(target: object, name: str, value: object) -> None:
    object.__setattr__(target, name, value)
