"""Families of policies, and what each policy of a family makes of a set of scored pauses. Vectorised in numpy.

A policy gives every pause a delay. A hold is cut off where it lasts longer than its delay; the latency of an end is its
delay. That is eot-bench's definition, and it is what the Endpointer does: the tests hold the delays here against
:class:`eot_core.Endpointer`'s, pause by pause.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .pauses import SCORE_AT, Floats, Pauses

EPSILON = 1e-9
"""A hold that lasts exactly as long as the delay is not cut off (eot-bench's ``EPS``)."""

THRESHOLDS: Floats = np.round(np.arange(0.0, 1.005, 0.01), 2)
ACTION_DELAYS: Floats = np.round(np.arange(0.2, 1.001, 0.05), 3)
TIMEOUTS: Floats = np.round(np.arange(1.0, 3.501, 0.25), 3)
PUBLISHED_ACTION_DELAYS: Floats = np.round(np.arange(0.2, 1.001, 0.1), 3)
PUBLISHED_TIMEOUTS: Floats = np.round(np.arange(1.0, 3.501, 0.5), 3)
"""The grid of eot-bench's published figures (metrics.py, DEFAULT_ACTION_DELAYS and DEFAULT_TIMEOUTS)."""
EXPONENTS: Floats = np.geomspace(0.05, 50.0, len(THRESHOLDS))
"""As many as there are thresholds, so that both families are searched on grids of the same size."""

PART = 1_000_000
"""Groups times policies that are counted at a time, unless said otherwise: three arrays of 8 MB each."""


@dataclass(frozen=True, eq=False)
class Counts:
    """What the policies of a family did to each group of pauses. g groups, p policies."""

    cutoffs: Floats
    """Holds that were cut off, shape (g, p)."""
    latency: Floats
    """Sum of the delays of the ends, in seconds, shape (g, p)."""
    detected: Floats
    """Ends that were committed before the maximum delay, shape (g, p)."""
    holds: Floats
    """Shape (g,)."""
    ends: Floats
    """Shape (g,)."""


class PolicyFamily(Protocol):
    """A grid of policies of one kind."""

    @property
    def name(self) -> str:
        """For tables and files."""
        ...

    @property
    def parameters(self) -> Mapping[str, Floats]:
        """The grid: arrays of shape (p,), one for each parameter."""
        ...

    def count(self, pauses: Pauses, groups: npt.NDArray[np.intp], n_groups: int) -> Counts:
        """What each policy did to each group. ``groups``: shape (n,), each pause's group from 0 to ``n_groups`` - 1."""
        ...

    def parts(
        self, pauses: Pauses, groups: npt.NDArray[np.intp], n_groups: int, cells: int = PART
    ) -> Iterator[tuple[slice, Counts]]:
        """:meth:`count` in parts of the grid, of about ``cells`` numbers each: with thousands of groups the whole does
        not fit into memory."""
        ...

    def delays(self, pauses: Pauses, index: int) -> Floats:
        """Delay that policy ``index`` gives each pause, in seconds, shape (n,)."""
        ...


class _Grid:
    """What all families share: counting, from delays that come in blocks of policies."""

    def _blocks(self, pauses: Pauses) -> Iterator[tuple[slice, Floats, npt.NDArray[np.bool_]]]:
        """Policies, their delays (n, block), and whether they were committed before the maximum delay (n, block)."""
        raise NotImplementedError

    @property
    def parameters(self) -> Mapping[str, Floats]:
        raise NotImplementedError

    def count(self, pauses: Pauses, groups: npt.NDArray[np.intp], n_groups: int) -> Counts:
        """See :class:`PolicyFamily`."""
        size = len(next(iter(self.parameters.values())))
        return next(counts for _, counts in self.parts(pauses, groups, n_groups, n_groups * size))

    def parts(
        self, pauses: Pauses, groups: npt.NDArray[np.intp], n_groups: int, cells: int = PART
    ) -> Iterator[tuple[slice, Counts]]:
        """See :class:`PolicyFamily`."""
        order = np.argsort(groups, kind="stable")
        ordered, group = pauses.where(order), groups[order]
        end = ordered.is_end
        holds = np.bincount(group[~end], minlength=n_groups).astype(np.float64)
        ends = np.bincount(group[end], minlength=n_groups).astype(np.float64)
        hold_sum, end_sum = _GroupSum(group[~end]), _GroupSum(group[end])
        longest = ordered.duration[~end, None] - EPSILON
        kept: list[tuple[Floats, Floats, Floats]] = []
        first, size = 0, len(next(iter(self.parameters.values())))
        for block, delay, early in self._blocks(ordered):
            cut = hold_sum.of(delay[~end] < longest, n_groups)
            kept.append((cut, end_sum.of(delay[end], n_groups), end_sum.of(early[end], n_groups)))
            if block.stop == size or (block.stop - first) * n_groups >= cells:
                cutoffs, latency, detected = (np.concatenate(some, axis=1) for some in zip(*kept, strict=True))
                yield slice(first, block.stop), Counts(cutoffs, latency, detected, holds, ends)
                first, kept = block.stop, []


class _GroupSum:
    """Sums of rows by group; the rows are in the order of their groups."""

    def __init__(self, group: npt.NDArray[np.intp]) -> None:
        starts = np.concatenate(([True], group[1:] != group[:-1])) if len(group) else np.zeros(0, dtype=bool)
        self._starts = np.flatnonzero(starts)
        self._groups = group[self._starts]

    def of(self, rows: npt.NDArray[np.generic], n_groups: int) -> Floats:
        sums = np.zeros((n_groups, rows.shape[1]))
        if len(self._starts) == 1:
            sums[self._groups[0]] = rows.sum(axis=0)
        elif len(self._starts):
            sums[self._groups] = np.add.reduceat(rows.astype(np.float64), self._starts, axis=0)
        return sums


@dataclass(frozen=True)
class StepPolicies(_Grid):
    """Threshold x action delay x time-out: the classic rule, and the Endpointer's step curve.

    A pause whose score reaches the threshold ends the turn after the action delay (or when the score is known, if that
    is later), any other after the time-out.
    """

    thresholds: Sequence[float] | Floats = tuple(THRESHOLDS)
    action_delays: Sequence[float] | Floats = tuple(ACTION_DELAYS)
    """Seconds; the Endpointer's ``min_delay``."""
    timeouts: Sequence[float] | Floats = tuple(TIMEOUTS)
    """Seconds; the Endpointer's ``max_delay``. Combinations with a time-out below the action delay are left out."""
    strict: bool = False
    """True: the score must exceed the threshold, and one that comes after the time-out is too late (eot-bench). False:
    it must reach the threshold, and is waited for (the Endpointer)."""

    @property
    def name(self) -> str:
        """For tables and files."""
        return "eot-bench" if self.strict else "step"

    @classmethod
    def published(cls, score_at: float = SCORE_AT) -> StepPolicies:
        """Exactly eot-bench's sweep: its grid without the delays that are over before the score, ``score_at`` seconds,
        is known; and a score must exceed the threshold."""
        first = min(score_at, float(PUBLISHED_ACTION_DELAYS[-1])) - EPSILON
        delays = [delay for delay in PUBLISHED_ACTION_DELAYS if delay >= first]
        return cls(action_delays=tuple(delays), timeouts=tuple(PUBLISHED_TIMEOUTS), strict=True)

    @cached_property
    def _pairs(self) -> Floats:
        pairs = [(d, t) for d in self.action_delays for t in self.timeouts if t + EPSILON >= d]
        return np.asarray(pairs, dtype=np.float64).reshape(-1, 2)

    @cached_property
    def parameters(self) -> Mapping[str, Floats]:
        """threshold, action_delay, timeout; each of shape (p,)."""
        thresholds = np.asarray(self.thresholds, dtype=np.float64)
        return {
            "threshold": np.repeat(thresholds, len(self._pairs)),
            "action_delay": np.tile(self._pairs[:, 0], len(thresholds)),
            "timeout": np.tile(self._pairs[:, 1], len(thresholds)),
        }

    def _blocks(self, pauses: Pauses) -> Iterator[tuple[slice, Floats, npt.NDArray[np.bool_]]]:
        answered = pauses.answered_at[:, None]
        soon = np.maximum(self._pairs[:, 0][None, :], answered)
        timeouts = np.broadcast_to(self._pairs[:, 1], soon.shape)
        late = timeouts if self.strict else np.maximum(timeouts, answered)
        in_time = soon <= late + EPSILON
        size = len(self._pairs)
        for number, threshold in enumerate(self.thresholds):
            fires = (pauses.score > threshold) if self.strict else (pauses.score >= threshold)
            early = fires[:, None] & in_time
            yield slice(number * size, (number + 1) * size), np.where(early, soon, late), early

    def delays(self, pauses: Pauses, index: int) -> Floats:
        """See :class:`PolicyFamily`."""
        p = {name: float(values[index]) for name, values in self.parameters.items()}
        one = StepPolicies((p["threshold"],), (p["action_delay"],), (p["timeout"],), self.strict)
        return next(one._blocks(pauses))[1][:, 0]


@dataclass(frozen=True)
class ContinuousPolicies(_Grid):
    """A delay that falls with the score: D = min + (max - min) (1 - p) ** exponent; the Endpointer's continuous curve.

    Where the pauses have ``later`` scores and ``rescore`` is set, each of them that comes before the turn is committed
    replaces p by the sigmoid of the mean logit of all scores so far.
    """

    min_delays: Sequence[float] | Floats = tuple(ACTION_DELAYS)
    max_delays: Sequence[float] | Floats = tuple(TIMEOUTS)
    exponents: Sequence[float] | Floats = tuple(EXPONENTS)
    rescore: bool = False

    @property
    def name(self) -> str:
        """For tables and files."""
        return "rescored" if self.rescore else "continuous"

    @cached_property
    def _pairs(self) -> Floats:
        pairs = [(a, b) for a in self.min_delays for b in self.max_delays if b + EPSILON >= a]
        return np.asarray(pairs, dtype=np.float64).reshape(-1, 2)

    @cached_property
    def parameters(self) -> Mapping[str, Floats]:
        """exponent, min_delay, max_delay; each of shape (p,)."""
        exponents = np.asarray(self.exponents, dtype=np.float64)
        return {
            "exponent": np.repeat(exponents, len(self._pairs)),
            "min_delay": np.tile(self._pairs[:, 0], len(exponents)),
            "max_delay": np.tile(self._pairs[:, 1], len(exponents)),
        }

    def _blocks(self, pauses: Pauses) -> Iterator[tuple[slice, Floats, npt.NDArray[np.bool_]]]:
        scores, times = self._scores(pauses)
        low, span = self._pairs[:, 0], self._pairs[:, 1] - self._pairs[:, 0]
        for number, exponent in enumerate(self.exponents):
            delay: Floats = np.zeros((len(pauses), len(low)))
            open_: npt.NDArray[np.bool_] = np.ones(delay.shape, dtype=np.bool_)
            for k in range(scores.shape[1]):
                fall = (1.0 - scores[:, k]) ** exponent
                answered = times[:, k][:, None]
                there = np.isfinite(scores[:, k])[:, None]
                new = np.maximum(low[None, :] + span[None, :] * fall[:, None], answered)
                # A score that comes when the turn is already committed changes nothing.
                take = there & open_ & ((delay > answered) if k else True)
                open_ &= take | ~there
                delay = np.where(take, new, delay)
            block = slice(number * len(low), (number + 1) * len(low))
            yield block, delay, delay < self._pairs[:, 1][None, :] - EPSILON

    def _scores(self, pauses: Pauses) -> tuple[Floats, Floats]:
        """Score in force after each scoring, and when: both (n, 1 + k)."""
        first, at = pauses.score[:, None], pauses.answered_at[:, None]
        if not self.rescore or pauses.later.shape[1] == 0:
            return first, at
        from ..endpointing import LOGIT_LIMIT

        raw = np.concatenate((first, pauses.later), axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            logits = np.clip(np.log(raw / (1.0 - raw)), -LOGIT_LIMIT, LOGIT_LIMIT)
        means = np.nancumsum(logits, axis=1) / np.cumsum(np.isfinite(logits), axis=1)
        combined = 1.0 / (1.0 + np.exp(-means))
        combined[:, 0] = raw[:, 0]
        combined[~np.isfinite(raw)] = np.nan
        # Scores further on are known as long after their moment as the first is after its own.
        times = np.concatenate((at, np.broadcast_to(pauses.later_at[None, :], pauses.later.shape)), axis=1)
        return combined, times

    def delays(self, pauses: Pauses, index: int) -> Floats:
        """See :class:`PolicyFamily`."""
        p = {name: float(values[index]) for name, values in self.parameters.items()}
        one = ContinuousPolicies((p["min_delay"],), (p["max_delay"],), (p["exponent"],), self.rescore)
        return next(one._blocks(pauses))[1][:, 0]


@dataclass(frozen=True)
class DelayOnly(_Grid):
    """One delay for every pause: silence alone decides, no model."""

    timeouts: Sequence[float] | Floats = tuple(np.round(np.arange(0.2, 3.501, 0.01), 2))
    """Seconds; in steps of 10 ms, as eot-bench's table has its silence-only baseline."""

    name = "delay"

    @cached_property
    def parameters(self) -> Mapping[str, Floats]:
        """timeout, of shape (p,)."""
        return {"timeout": np.asarray(self.timeouts, dtype=np.float64)}

    def _blocks(self, pauses: Pauses) -> Iterator[tuple[slice, Floats, npt.NDArray[np.bool_]]]:
        delay = np.broadcast_to(self.parameters["timeout"], (len(pauses), len(self.parameters["timeout"])))
        yield slice(0, delay.shape[1]), delay, np.ones(delay.shape, dtype=np.bool_)

    def delays(self, pauses: Pauses, index: int) -> Floats:
        """See :class:`PolicyFamily`."""
        return np.full(len(pauses), self.parameters["timeout"][index])
