"""A head of one's own: the shipped one, corrected on one's own calls, where that holds on calls not fitted on.

What is fitted is a small linear correction of the shipped head's logit, on what that head sees: a logistic regression
around its verdict, whose weights have a Gaussian prior around zero (:mod:`.logistic`). How strong the prior is, whole
calls decide that were held out; "no correction" is among the choices. What comes of it is measured on calls that had no
part in either, and a head is kept only where the whole 95 % interval of the AUC it gains lies above 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from .logistic import Correction, fit_correction
from .metrics import auc, weighted_auc
from .pauses import MAX_HOLD, MIN_HOLD, Bools, Floats, Pauses
from .resampling import RESAMPLES, cluster_weights, interval
from .tuning_features import PauseFeatures
from .tuning_measure import Interval

MINIMUM = (20, 100, 100)
"""Calls (or speakers), ends and holds below which a head is not tried: docs/tuning.md has the measurement."""

PENALTIES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Tried, strongest first, besides no correction at all; in units of the mean square of the features' length."""
RANK = 128
"""Directions in which the features of one's own pauses differ most; the correction lies within them."""
FOLDS = 5
INNER_FOLDS = 4
REPEATS = 3
"""Times that calls are divided into folds anew."""
MAX_FIT = 4000
"""Pauses that are fitted on at a time; of more, so many are drawn by call."""
_FOR_DIRECTIONS = 1000
_LIMIT = 1e-6
_CELLS = 4_000_000
"""Resamples times pauses at a time: 32 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadTrial:
    """What a head for one language did on calls that it was not fitted on."""

    calls: int
    ends: int
    holds: int
    lacks: tuple[str, ...] = ()
    """What there is too little of; the figures below are NaN then."""
    shipped_auc: float = float("nan")
    auc: float = float("nan")
    gain: float = float("nan")
    """Difference of the two."""
    gain_interval: Interval = None
    """95 %, by call."""
    penalty: float | None = None
    """That was chosen on all calls; None: no correction."""
    pauses: Pauses | None = field(default=None, repr=False)
    """All pauses, with the scores of heads that were not fitted on their calls."""
    weights: Floats | None = field(default=None, repr=False)
    """The correction, fitted on all calls: of the standardised features, shape (d,)."""
    centre: Floats | None = field(default=None, repr=False)
    """Mean of the standardised features, shape (d,): the correction is 0 there."""

    @property
    def gains(self) -> bool:
        """Whether the whole interval of the gain lies above 0, and the choice on all calls is a correction."""
        return self.weights is not None and self.gain_interval is not None and self.gain_interval[0] > 0


def too_little_for_head(pauses: Pauses, minimum: tuple[int, int, int] = MINIMUM) -> tuple[str, ...]:
    """What is missing to try a head; empty where there is enough. ``pauses`` as they are counted."""
    names = ("calls or speakers", "ends of turns", "pauses inside turns")
    numbers = (pauses.clusters()[1], pauses.ends, pauses.holds)
    there = zip(numbers, names, minimum, strict=True)
    return tuple(f"{number} {what}, needs {least}" for number, what, least in there if number < least)


def try_head(
    pauses: Pauses,
    features: PauseFeatures,
    mean: Floats,
    scale: Floats,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    minimum: tuple[int, int, int] = MINIMUM,
) -> HeadTrial:
    """Fit a correction in one language, and measure it on calls that were held out. The same arguments, the same trial.

    Args:
        pauses: with the shipped head's scores; the cluster is the call.
        features: of the same pauses, in their order.
        mean: of the features, as the shipped head standardises them; shape (d,).
        scale: the same.
        seed: of folds and resamples.
        resamples: for the interval; 0 gives none, and no head is kept then.
        minimum: see :data:`MINIMUM`.
    """
    counted = pauses.is_end | ((pauses.duration >= MIN_HOLD - 1e-9) & (pauses.duration <= MAX_HOLD + 1e-9))
    kept = pauses.where(counted)
    lacks = too_little_for_head(kept, minimum)
    groups, number = pauses.clusters()
    sizes = kept.clusters()[1], kept.ends, kept.holds
    if lacks:
        return HeadTrial(*sizes, lacks)
    space = _Space.of(features, counted, mean, scale, seed)
    trial = _Trial(space, pauses, counted, groups, number, seed)
    repeats = [trial.cross_fit(np.random.default_rng([seed, 1, i])) for i in range(REPEATS)]
    shipped, tried = trial.logit[counted, 0], [logit[counted, 0] for logit in repeats]
    before = auc(shipped, kept.is_end)
    after = float(np.mean([auc(logit, kept.is_end) for logit in tried]))
    drawn = _gains(shipped, tried, kept.is_end, groups[counted], cluster_weights(number, resamples, seed))
    penalty, correction = trial.fit(counted, np.random.default_rng([seed, 2]))
    own = 0.5 + 0.5 * np.tanh(repeats[0] / 2.0)
    return HeadTrial(
        *sizes,
        shipped_auc=before,
        auc=after,
        gain=after - before,
        gain_interval=interval(drawn),
        penalty=penalty,
        pauses=replace(pauses, score=own[:, 0], later=own[:, 1:]),
        weights=None if correction is None else space.basis @ correction.weights,
        centre=space.centre,
    )


def _gains(
    shipped: Floats,
    tried: Sequence[Floats],
    is_end: Bools,
    groups: npt.NDArray[np.intp],
    weights: Floats,
) -> Floats:
    """What is gained in AUC, on average over ``tried``, in each resample of the calls."""
    parts = [np.zeros(0)]
    step = max(1, _CELLS // len(groups))
    for begin in range(0, len(weights), step):
        rows = weights[begin : begin + step][:, groups].astype(np.float64)
        after = np.mean([weighted_auc(logit, is_end, rows) for logit in tried], axis=0)
        parts.append(after - weighted_auc(shipped, is_end, rows))
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True, eq=False)
class _Space:
    """Standardised features in the directions in which these pauses differ most."""

    at: Floats
    """Shape (n, 1 + k, r): of each pause and moment; NaN where it was not scored."""
    basis: Floats
    """Shape (d, r), orthonormal."""
    centre: Floats
    """Shape (d,)."""
    size: float
    """Mean square of the length of the centred features: the unit of penalties."""

    @classmethod
    def of(cls, features: PauseFeatures, counted: Bools, mean: Floats, scale: Floats, seed: int) -> _Space:
        def standardised(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
            return ((features.read(rows) - mean) / scale).astype(np.float32)

        first = features.rows[counted, 0]
        some = first[np.sort(np.random.default_rng([seed, 0]).permutation(len(first))[:_FOR_DIRECTIONS])]
        sample = standardised(some)
        centre = sample.mean(axis=0, dtype=np.float64)
        sample -= centre.astype(np.float32)
        values, vectors = np.linalg.eigh((sample @ sample.T).astype(np.float64))
        best = np.flatnonzero(values > 1e-6 * values[-1])[::-1][:RANK]
        basis = (sample.T.astype(np.float64) @ vectors[:, best]) / np.sqrt(values[best])
        at = np.full((*features.rows.shape, len(best)), np.nan)
        for pause, moment in _parts(np.argwhere(features.rows >= 0)):
            at[pause, moment] = (standardised(features.rows[pause, moment]) - centre) @ basis
        return cls(at, basis, centre, float((sample.astype(np.float64) ** 2).sum(axis=1).mean()))


def _parts(where: npt.NDArray[np.intp], size: int = 1000) -> Iterator[tuple[npt.NDArray[np.intp], ...]]:
    for begin in range(0, len(where), size):
        part = where[begin : begin + size]
        yield part[:, 0], part[:, 1]


class _Trial:
    def __init__(
        self, space: _Space, pauses: Pauses, counted: Bools, groups: npt.NDArray[np.intp], number: int, seed: int
    ) -> None:
        self._space = space
        self._counted = counted
        self._groups = groups
        self._number = number
        self._target = pauses.is_end.astype(np.float64)
        self._seed = seed
        scores = np.column_stack([pauses.score, pauses.later]).clip(_LIMIT, 1.0 - _LIMIT)
        self.logit: Floats = np.log(scores / (1.0 - scores))
        """The shipped head's, shape (n, 1 + k)."""

    def cross_fit(self, rng: np.random.Generator) -> Floats:
        """Logits, shape (n, 1 + k), of heads that were fitted on other calls, how strongly included."""
        result = self.logit.copy()
        for inside in self._folds(np.ones(len(self._target), dtype=np.bool_), FOLDS, rng):
            _, correction = self.fit(inside & self._counted, rng)
            if correction is not None:
                # Without the bias, which shifts one fold against the others, and which the threshold makes up for.
                result[~inside] += self._space.at[~inside] @ correction.weights
        return result

    def fit(self, rows: Bools, rng: np.random.Generator) -> tuple[float | None, Correction | None]:
        """The penalty that is best on calls held out of ``rows``, and the correction that is fitted on all of them with
        it; None where no correction is best."""
        rows = self._drawn(rows, rng)
        losses = np.zeros(1 + len(PENALTIES))
        for inside in self._folds(rows, INNER_FOLDS, rng):
            part, held_out = inside & rows, ~inside & rows
            for index, correction in enumerate(self._path(part)):
                losses[index] += self._loss(held_out, correction)
        best = int(np.argmin(losses))
        if best == 0 or not np.isfinite(losses).all():
            return None, None
        *_, correction = self._path(rows, PENALTIES[:best])
        return PENALTIES[best - 1], correction

    def _path(self, rows: Bools, penalties: Sequence[float] = PENALTIES) -> Iterator[Correction]:
        """First without features (a bias alone), then with each penalty."""
        features, offset, target = self._space.at[rows, 0], self.logit[rows, 0], self._target[rows]
        weight = self._weight(rows)
        nothing = fit_correction(features[:, :0], offset, target, weight, 1.0)
        found = Correction(np.zeros(features.shape[1]), nothing.bias)
        yield found
        for penalty in penalties:
            found = fit_correction(features, offset, target, weight, penalty * self._space.size, start=found)
            yield found

    def _loss(self, rows: Bools, correction: Correction) -> float:
        logit = self.logit[rows, 0] + correction(self._space.at[rows, 0])
        loss = np.logaddexp(0.0, logit) - self._target[rows] * logit
        return float((self._weight(rows) * loss).sum())

    def _weight(self, rows: Bools) -> Floats:
        """Ends and holds count as the square roots of their numbers, as when the shipped head was fitted."""
        kinds = self._target[rows] > 0.5
        share = max(1, int(np.count_nonzero(kinds))) ** -0.5, max(1, int(np.count_nonzero(~kinds))) ** -0.5
        return np.asarray(np.where(kinds, *share), dtype=np.float64)

    def _folds(self, rows: Bools, folds: int, rng: np.random.Generator) -> Iterator[Bools]:
        """Masks of what to fit on; calls that have a part in ``rows`` are spread evenly."""
        calls = np.unique(self._groups[rows])
        fold = np.zeros(self._number, dtype=np.intp)
        fold[calls] = rng.permutation(len(calls)) % folds
        for number in range(folds):
            inside = fold[self._groups] != number
            kinds = self._target[inside & rows & self._counted]
            if 0 < kinds.sum() < len(kinds):
                yield inside

    def _drawn(self, rows: Bools, rng: np.random.Generator) -> Bools:
        """``rows``, or some of its calls that have at most :data:`MAX_FIT` pauses together."""
        if rows.sum() <= MAX_FIT:
            return rows
        sizes = np.bincount(self._groups[rows], minlength=self._number)
        order = rng.permutation(self._number)
        chosen = order[np.cumsum(sizes[order]) <= MAX_FIT]
        return rows & np.isin(self._groups, chosen)
