"""Logistic regression with weighted samples, soft targets and one penalty, on standardised features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize  # type: ignore[import-untyped]

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]


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
    iterations: int = 200,
    tolerance: float = 1e-7,
) -> Linear:
    """Minimise the weighted mean of the log loss plus ``penalty`` / 2 times the square of the weights.

    Args:
        features: shape (n, d).
        target: shape (n,), 0..1.
        weight: shape (n,), positive; only their ratios count.
        penalty: of the weights of the standardised features; the bias is free.
    """
    share = weight / weight.sum()
    mean = _as_kept(share @ features)
    scale = _as_kept(np.sqrt(share @ (features - mean) ** 2) + 1e-3)
    z = ((features - mean) / scale).astype(np.float32)
    share32, target32 = share.astype(np.float32), target.astype(np.float32)

    def loss(point: Floats) -> tuple[float, Floats]:
        logit = z @ point[:-1].astype(np.float32) + np.float32(point[-1])
        value = float((share32 * (np.logaddexp(0, logit) - target32 * logit)).sum())
        slope = share32 * (1.0 / (1.0 + np.exp(-logit)) - target32)
        gradient = np.append((z.T @ slope).astype(np.float64) + penalty * point[:-1], float(slope.sum()))
        return value + 0.5 * penalty * float(point[:-1] @ point[:-1]), gradient

    start = np.zeros(z.shape[1] + 1)
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations, "ftol": tolerance}
    ).x  # fmt: skip
    return Linear(mean, scale, _as_kept(found[:-1]), float(found[-1]))


def calibrate(logit: Floats, target: Floats, weight: Floats) -> tuple[float, float]:
    """Slope and offset that make ``sigmoid(slope * logit + offset)`` a probability (Platt, 1999)."""
    scale = float(logit.std()) or 1.0
    line = fit((logit / scale)[:, None].astype(np.float32), target, weight, 1e-6)
    slope = float(line.weights[0] / line.scale[0]) / scale
    return slope, line.bias - float(line.weights[0] * line.mean[0] / line.scale[0])


def _as_kept(values: Floats) -> Floats:
    return np.asarray(values, dtype=np.float16).astype(np.float64)
