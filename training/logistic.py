"""Logistic regression with weighted samples, soft targets and one penalty, on standardised features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize  # type: ignore[import-untyped]

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
Groups = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """``weights . (features - mean) / scale + bias``. Its arrays are what float16 can hold: so the file keeps them."""

    mean: Floats
    scale: Floats
    weights: Floats
    bias: float

    def __call__(self, features: Features) -> Floats:
        """Logits, shape (n,), of ``features``, shape (n, d)."""
        return np.asarray(((features - self.mean) / self.scale) @ self.weights + self.bias, dtype=np.float64)


def fit(
    features: Features,
    target: Floats,
    weight: Floats,
    penalty: float,
    *,
    groups: Groups | None = None,
    group_penalty: float = 0.0,
    iterations: int = 200,
    tolerance: float = 1e-7,
) -> Linear:
    """Minimise the weighted mean of the log loss plus ``penalty`` / 2 times the square of the weights.

    With ``groups``, each group has a bias of its own besides the common one while this is fitted, and loses it after:
    how often turns end in a group, and how it was recorded, then need not be told by the weights.

    Args:
        features: shape (n, d).
        target: shape (n,), 0..1.
        weight: shape (n,), positive; only their ratios count.
        penalty: of the weights of the standardised features; the bias is free.
        groups: shape (n,), each sample's group, 0 or more.
        group_penalty: of the groups' own biases, for each unit of logit; 0 leaves them free.
    """
    share = weight / weight.sum()
    mean = _as_kept(share @ features)
    scale = _as_kept(np.sqrt(share @ (features - mean) ** 2) + 1e-3)
    z = ((features - mean) / scale).astype(np.float32)
    share32, target32 = share.astype(np.float32), target.astype(np.float32)
    group = np.zeros(len(z), dtype=np.intp) if groups is None else groups
    size, count = z.shape[1], 0 if groups is None else int(groups.max()) + 1

    def loss(point: Floats) -> tuple[float, Floats]:
        weights, biases, bias = point[:size], point[size:-1], np.float32(point[-1])
        logit = z @ weights.astype(np.float32) + bias
        if count:
            logit += biases.astype(np.float32)[group]
        value = float((share32 * (np.logaddexp(0, logit) - target32 * logit)).sum())
        slope = share32 * (0.5 + 0.5 * np.tanh(0.5 * logit) - target32)
        of_groups = np.bincount(group, slope, minlength=count) + group_penalty * biases if count else biases
        gradient = np.concatenate([z.T @ slope + penalty * weights, of_groups, [slope.sum()]])
        return value + 0.5 * float(penalty * weights @ weights + group_penalty * biases @ biases), gradient

    start = np.zeros(size + count + 1)
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations, "ftol": tolerance}
    ).x  # fmt: skip
    return Linear(mean, scale, _as_kept(found[:size]), float(found[-1]))


def calibrate(logit: Floats, target: Floats, weight: Floats) -> tuple[float, float]:
    """Slope and offset that make ``sigmoid(slope * logit + offset)`` a probability (Platt, 1999)."""
    scale = float(logit.std()) or 1.0
    line = fit((logit / scale)[:, None].astype(np.float32), target, weight, 1e-6)
    slope = float(line.weights[0] / line.scale[0]) / scale
    return slope, line.bias - float(line.weights[0] * line.mean[0] / line.scale[0])


def _as_kept(values: Floats) -> Floats:
    return np.asarray(values, dtype=np.float16).astype(np.float64)
