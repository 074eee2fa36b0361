from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize  # type: ignore[import-untyped]

from eot_core.evaluation.logistic import Correction, fit_correction
from eot_core.evaluation.pauses import Floats


def problem(n: int = 200, d: int = 5) -> tuple[Floats, Floats, Floats, Floats]:
    rng = np.random.default_rng(1)
    features, offset = rng.normal(size=(n, d)), rng.normal(size=n)
    target = (rng.uniform(size=n) < 1 / (1 + np.exp(-(offset + features @ np.arange(d) / 2 - 1)))).astype(float)
    return features, offset, target, rng.uniform(0.5, 2.0, n)


def loss(point: Floats, data: tuple[Floats, Floats, Floats, Floats], penalty: float) -> float:
    features, offset, target, weight = data
    logit = offset + features @ point[:-1] + point[-1]
    each = np.logaddexp(0, logit) - target * logit
    return float(weight @ each / weight.sum() + penalty / 2 * point[:-1] @ point[:-1])


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
def test_it_is_the_minimum(penalty: float) -> None:
    data = problem()
    found = fit_correction(*data, penalty)
    other = minimize(loss, np.zeros(6), (data, penalty), tol=1e-12)
    assert loss(np.append(found.weights, found.bias), data, penalty) <= other.fun + 1e-9
    assert found.weights == pytest.approx(other.x[:-1], abs=1e-3)
    assert found.bias == pytest.approx(other.x[-1], abs=1e-3)


def test_a_strong_prior_leaves_the_offset_alone() -> None:
    features, offset, target, weight = problem()
    found = fit_correction(features, offset, target, weight, 1e6)
    assert np.abs(found.weights).max() < 1e-5
    assert found(features) == pytest.approx(np.full(len(features), found.bias), abs=1e-4)


def test_where_to_begin_changes_nothing() -> None:
    data = problem()
    once = fit_correction(*data, 0.01)
    again = fit_correction(*data, 0.01, start=Correction(np.full(5, 20.0), -30.0))  # far off: whole steps overshoot
    assert again.weights == pytest.approx(once.weights, abs=1e-5)


def test_only_ratios_of_weights_count_and_some_may_be_zero() -> None:
    features, offset, target, weight = problem()
    weight[:100] = 0
    found = fit_correction(features, offset, target, weight, 0.01)
    part = fit_correction(features[100:], offset[100:], target[100:], 7 * weight[100:], 0.01)
    assert found.weights == pytest.approx(part.weights, abs=1e-6)


def test_no_features_give_a_bias() -> None:
    _, offset, target, weight = problem()
    found = fit_correction(np.zeros((200, 0)), offset, target, weight, 1.0)
    p = 1 / (1 + np.exp(-(offset + found.bias)))
    assert weight @ p == pytest.approx(weight @ target)


def test_targets_that_are_all_alike_end_somewhere() -> None:
    features, offset, _, weight = problem()
    found = fit_correction(features, offset, np.ones(200), weight, 0.1)
    assert np.isfinite(found.bias)
    assert found.bias > 5


@pytest.mark.parametrize(("penalty", "weight"), [(0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (1.0, 0.0)])
def test_nonsense_is_refused(penalty: float, weight: float) -> None:
    with pytest.raises(ValueError, match="penalty and weight must be more than 0"):
        fit_correction(np.zeros((2, 1)), np.zeros(2), np.array([0.0, 1.0]), np.full(2, weight), penalty)
