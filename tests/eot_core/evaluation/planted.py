"""Pauses whose right answers are planted: in scores, in what a head sees, or in neither."""

from __future__ import annotations

import numpy as np

from eot_core.evaluation.pauses import Floats, Pauses
from eot_core.evaluation.tuning_features import PauseFeatures, Rows


class Held:
    """Features in memory, where a :class:`PauseFeatures` has a file."""

    def __init__(self, features: Floats) -> None:
        self._features = features
        self.read = 0

    def features(self, rows: Rows) -> Floats:
        self.read += len(rows)
        return self._features[rows]


def planted(
    calls: int = 24, *, told: float = 2.0, known: float = 1.0, size: int = 40, seed: int = 0, shuffled: bool = False
) -> tuple[Pauses, PauseFeatures]:
    """Each call has 5 ends and 5 holds; features of ``size``, mean 3 and scale 2 each.

    Args:
        calls: how many.
        told: what the first feature, which the score ignores, says of the answer: so many standard deviations lie
            between ends and holds.
        known: the same for the score.
        size: how many features.
        seed: of everything.
        shuffled: labels in random order.
    """
    rng = np.random.default_rng(seed)
    n = calls * 10
    is_end = np.arange(n) % 2 == 0
    logit = rng.normal(size=n) + known * (is_end - 0.5)
    features = rng.normal(size=(n, size))
    features[:, 0] += told * (is_end - 0.5)
    if shuffled:
        is_end = rng.permutation(is_end)
    pauses = Pauses(
        score=1.0 / (1.0 + np.exp(-logit)),
        duration=np.where(is_end, 5.0, rng.uniform(0.3, 1.5, n)),
        is_end=is_end,
        cluster=np.array([f"call-{i // 10:02d}" for i in range(n)]),
        language=np.full(n, "en"),
    )
    return pauses, PauseFeatures(Held(3.0 + 2.0 * features), np.arange(n).reshape(-1, 1))  # type: ignore[arg-type]


MEAN, SCALE = np.full(40, 3.0), np.full(40, 2.0)
