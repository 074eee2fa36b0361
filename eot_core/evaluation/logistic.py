"""Logistic regression around scores that are there already: what is fitted is a correction, and it is kept small.

``logit = offset + features . weights + bias``, where ``offset`` is the logit that another model gave. The weights have
a Gaussian prior around zero, so that with little data, or with data that say nothing, the other model's verdict stays.
Newton's method with numpy; for some hundred features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .pauses import Floats

_STEPS = 30
_SMALL = 1e-6
"""A step of no weight above this, against the largest, is the last one."""


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """``features . weights + bias``, to be added to a logit."""

    weights: Floats
    """Shape (d,)."""
    bias: float

    def __call__(self, features: npt.NDArray[np.floating]) -> Floats:
        """Shape (n,), of ``features``, shape (n, d)."""
        return np.asarray(features @ self.weights + self.bias, dtype=np.float64)


def fit_correction(
    features: Floats,
    offset: Floats,
    target: Floats,
    weight: Floats,
    penalty: float,
    *,
    start: Correction | None = None,
) -> Correction:
    """Minimise the weighted mean of the log loss plus ``penalty`` / 2 times the square of the weights.

    Args:
        features: shape (n, d).
        offset: logits, shape (n,).
        target: shape (n,), 0..1.
        weight: shape (n,), not negative; only their ratios count.
        penalty: more than 0; the bias is free.
        start: where to begin, for example what another penalty gave.

    Raises:
        ValueError: ``penalty`` is not more than 0, or no weight is.
    """
    if not penalty > 0 or not weight.sum() > 0:
        raise ValueError(f"penalty and weight must be more than 0, got {penalty!r} and a sum of {weight.sum()!r}")
    share = weight / weight.sum()
    design = np.column_stack([features, np.ones(len(features))])
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 1e-9  # were all targets alike, the bias would run away
    point = np.zeros(design.shape[1]) if start is None else np.append(start.weights, start.bias)
    value = _loss(design, offset, target, share, ridge, point)
    for _ in range(_STEPS):
        p = _sigmoid(offset + design @ point)
        gradient = design.T @ (share * (p - target)) + ridge * point
        curvature = np.maximum(share * p * (1.0 - p), 1e-12)
        step = np.linalg.solve((design.T * curvature) @ design + np.diag(ridge), gradient)
        scale = 1.0
        while scale > 1e-4:  # where the scores are far off, a whole step would overshoot
            tried = point - scale * step
            lower = _loss(design, offset, target, share, ridge, tried)
            if lower <= value:
                point, value = tried, lower
                break
            scale /= 2.0
        if scale <= 1e-4 or np.abs(scale * step).max() <= _SMALL * max(1.0, np.abs(point).max()):
            break
    return Correction(point[:-1], float(point[-1]))


def _loss(design: Floats, offset: Floats, target: Floats, share: Floats, ridge: Floats, point: Floats) -> float:
    logit = offset + design @ point
    return float(share @ (np.logaddexp(0.0, logit) - target * logit)) + 0.5 * float(ridge @ (point * point))


def _sigmoid(logit: Floats) -> Floats:
    return np.asarray(0.5 + 0.5 * np.tanh(logit / 2.0), dtype=np.float64)
