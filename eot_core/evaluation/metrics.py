"""How well scores tell ends from holds, whatever the threshold. Ties count half (AUC), or together (AP)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .pauses import Bools, Floats


def auc(score: Floats, is_end: Bools) -> float:
    """Area under the ROC curve: the chance that an end scores above a hold; NaN without either.

    Args:
        score: shape (n,).
        is_end: shape (n,).
    """
    return float(weighted_auc(score, is_end, np.ones((1, len(score))))[0])


def average_precision(score: Floats, is_end: Bools) -> float:
    """Average precision for ends, as scikit-learn defines it (no interpolation); NaN without ends."""
    return float(weighted_average_precision(score, is_end, np.ones((1, len(score))))[0])


def weighted_auc(score: Floats, is_end: Bools, weights: npt.NDArray[Any]) -> Floats:
    """:func:`auc` for each row of ``weights``, shape (b, n); NaN where a row leaves no ends, or no holds."""
    if len(score) == 0:
        return np.full(len(weights), math.nan)
    order, starts = _groups(score)
    ordered = weights[:, order].astype(np.float64)
    end = np.add.reduceat(ordered * is_end[order], starts, axis=1)
    hold = np.add.reduceat(ordered * ~is_end[order], starts, axis=1)
    below = np.cumsum(hold, axis=1) - hold
    won = (end * (below + 0.5 * hold)).sum(axis=1)
    pairs = end.sum(axis=1) * hold.sum(axis=1)
    return _ratio(won, pairs)


def weighted_average_precision(score: Floats, is_end: Bools, weights: npt.NDArray[Any]) -> Floats:
    """:func:`average_precision` for each row of ``weights``, shape (b, n); NaN where a row leaves no ends."""
    if len(score) == 0:
        return np.full(len(weights), math.nan)
    order, starts = _groups(-score)
    ordered = weights[:, order].astype(np.float64)
    end = np.add.reduceat(ordered * is_end[order], starts, axis=1)
    found = np.cumsum(end, axis=1)
    fired = np.cumsum(np.add.reduceat(ordered, starts, axis=1), axis=1)
    precision = np.divide(found, fired, out=np.zeros_like(found), where=fired > 0)
    total = end.sum(axis=1)
    return _ratio((end * precision).sum(axis=1), total)


def _ratio(part: Floats, whole: Floats) -> Floats:
    result = np.full(len(whole), math.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _groups(score: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Order by score, and where in it each group of equal scores begins."""
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return order, starts
