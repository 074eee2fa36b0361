"""eot-bench's published definition, written out pause by pause, against everything that is reported of a model.

Cutoff: a hold of 0.2 to 5 s that lasts longer than the time-out, or than the action delay while its score exceeds the
threshold. Latency: the action delay of an end whose score exceeds the threshold, the time-out of any other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from eot_core.evaluation import Budget, Pauses
from eot_core.evaluation.benchmark import benchmark
from eot_core.evaluation.evaluate import Evaluation

EPS = 1e-9
SCORE_AT = 0.2
THRESHOLDS = [i / 100 for i in range(101)]
DELAYS = {
    "eot-bench": [round(0.2 + 0.1 * i, 1) for i in range(9)],
    "step": [round(0.2 + 0.05 * i, 2) for i in range(17)],
}
TIMEOUTS = {
    "eot-bench": [1.0, 1.5, 2.0, 2.5, 3.0, 3.5],
    "step": [1 + 0.25 * i for i in range(11)],
}
# Lengths at the edges, some of them as the difference of two times gives them.
DURATIONS = [
    0.1,
    0.19,
    0.2,
    1.3 - 1.1,
    0.3,
    0.1 + 0.2,
    0.5,
    1.0,
    2.3 - 1.3,
    1.25,
    2.0,
    3.5,
    4.0,
    5.0,
    7.3 - 2.3,
    5.01,
    6.0,
]
BUDGETS = [Budget("latency", 0.3), Budget("latency", 0.6), Budget("cutoff", 0.05), Budget("cutoff", 0.1)]

Row = tuple[float, float, bool]
"""Score, seconds, whether it is the end."""
Policy = tuple[int, float, float, float, float, float]
"""Cutoffs, their share, latency, threshold, action delay, time-out."""


def policies(rows: list[Row], family: str) -> Iterator[Policy]:
    fires: Callable[[float, float], bool] = {"eot-bench": float.__gt__, "step": float.__ge__}[family]
    holds = [(s, d) for s, d, end in rows if not end]
    ends = [s for s, _, end in rows if end]
    for threshold in THRESHOLDS:
        for delay in DELAYS[family]:
            act = max(delay, SCORE_AT)
            for timeout in TIMEOUTS[family]:
                cut = sum(d > timeout + EPS or (fires(s, threshold) and d > act + EPS) for s, d in holds)
                late = sum(act if fires(s, threshold) else timeout for s in ends) / len(ends)
                yield cut, cut / len(holds), late, threshold, delay, timeout


def best(tried: list[Policy], budget: Budget) -> Policy | None:
    aim, spent = (1, 2) if budget.kind == "latency" else (2, 1)
    within = [p for p in tried if p[spent] <= budget.value + EPS]
    return min(within, key=lambda p: (round(p[aim], 9), round(p[spent], 9), -p[3], p[4], p[5])) if within else None


def frontier(tried: list[Policy]) -> list[tuple[int, float]]:
    lowest, points = math.inf, []
    for p in sorted(tried, key=lambda p: (round(p[2], 9), round(p[1], 9))):
        if p[1] < lowest - EPS:
            lowest = p[1]
            points.append((p[0], round(p[2], 8)))
    return points


def pair_auc(rows: list[Row]) -> float:
    pairs = [(e, h) for e, _, is_end in rows if is_end for h, _, also in rows if not also]
    return sum(1.0 if e > h else 0.5 if e == h else 0.0 for e, h in pairs) / len(pairs)


def stepwise_ap(rows: list[Row]) -> float:
    """Sum over falling thresholds of what recall gains times precision."""
    ends = sum(end for *_, end in rows)
    area, recall = 0.0, 0.0
    for threshold in sorted({s for s, *_ in rows}, reverse=True):
        fired = [end for s, _, end in rows if s >= threshold]
        area += (sum(fired) / ends - recall) * sum(fired) / len(fired)
        recall = sum(fired) / ends
    return area


def evaluated(rows: list[Row]) -> dict[str, Evaluation]:
    score, duration, is_end = (np.array(column) for column in zip(*rows, strict=True))
    pauses = Pauses(score, duration, is_end, np.arange(len(rows)).astype(str))
    return benchmark("x", {"m": pauses, "vad": pauses.with_scores(np.full(len(rows), 0.5))}, resamples=0).overall


SCORES: dict[str, Callable[[random.Random], float]] = {
    "any": lambda r: r.random(),
    "ties": lambda r: r.choice([0.1, 0.5, 0.9]),
    "on the grid": lambda r: r.randint(0, 100) / 100,
    "all equal": lambda r: 0.5,
    "0 and 1": lambda r: r.choice([0.0, 1.0]),
}


def drawn(kind: str, n: int) -> list[Row]:
    r = random.Random(f"{kind} {n}")
    rows = [(SCORES[kind](r), r.choice(DURATIONS), r.random() < 0.4) for _ in range(n)]
    # One of each that counts.
    return [*rows, (SCORES[kind](r), 0.7, False), (SCORES[kind](r), 1.0, True)]


@pytest.mark.parametrize("n", [0, 1, 18, 58])
@pytest.mark.parametrize("kind", SCORES)
def test_every_figure(kind: str, n: int) -> None:
    rows = drawn(kind, n)
    found = evaluated(rows)
    counted = [(s, d, end) for s, d, end in rows if end or 0.2 - EPS <= d <= 5.0 + EPS]
    model = found["m"]
    assert (model.holds, model.ends) == (sum(not e for *_, e in counted), sum(e for *_, e in counted))
    assert model.auc == pytest.approx(pair_auc(counted), abs=1e-12)
    assert model.ap == pytest.approx(stepwise_ap(counted), abs=1e-12)
    for name in ("eot-bench", "step"):
        tried = list(policies(counted, name))
        family = model.family(name)
        assert family.policies == len(tried)
        assert [r.budget for r in family.budgets] == BUDGETS
        for result in family.budgets:
            wanted, got = best(tried, result.budget), result.best
            assert (wanted is None) == (got is None)
            if wanted is not None and got is not None:
                p = got.parameters
                assert (got.cutoffs, *wanted[3:]) == (wanted[0], p["threshold"], p["action_delay"], p["timeout"])
                assert (got.cutoff_rate, got.latency) == pytest.approx(wanted[1:3], abs=1e-12)
        assert [(p.cutoffs, round(p.latency, 8)) for p in family.frontier] == frontier(tried)
    silence = found["vad"].families[0]
    lengths = [d for _, d, end in counted if not end]
    waits = [(sum(d > w + EPS for d in lengths), w) for w in (round(0.2 + 0.01 * i, 2) for i in range(331))]
    for result in silence.budgets:
        if result.budget.kind == "latency":
            wait = min(w for w in waits if w[1] <= result.budget.value + EPS)
        else:
            kept = [w for w in waits if w[0] / len(lengths) <= result.budget.value + EPS]
            wait = min(kept, key=lambda w: w[1]) if kept else (-1, math.nan)
        assert result.best is None if wait[0] < 0 else result.best is not None
        if result.best is not None:
            assert (result.best.cutoffs, result.best.latency) == (wait[0], pytest.approx(wait[1]))


@pytest.mark.parametrize("score_at", [0.3, 0.5, 1.0, 1.5])
def test_asked_later(score_at: float) -> None:
    """A hold that is over before the score counts among the holds, and no model cuts it off; a score that comes after
    the time-out is too late."""
    r = random.Random(7)
    rows = [(r.randint(0, 20) / 20, r.choice(DURATIONS), r.random() < 0.4) for _ in range(80)]
    score, duration, is_end = (np.array(column) for column in zip(*rows, strict=True))
    asked = is_end | (duration >= score_at - EPS)
    answered = np.where(asked, score_at, np.inf)
    pauses = Pauses(np.where(asked, score, 0.0), duration, is_end, np.arange(80).astype(str), answered_at=answered)
    found = benchmark("x", {"m": pauses}, resamples=0).overall["m"]
    counted = [(s, d, end) for s, d, end in rows if end or 0.2 - EPS <= d <= 5.0 + EPS]
    heard = [(s, d, end) for s, d, end in counted if end or d >= score_at - EPS]
    assert found.auc == pytest.approx(pair_auc(heard), abs=1e-12)
    holds = [(s, d) for s, d, end in counted if not end]
    ends = [s for s, _, end in counted if end]
    tried: list[Policy] = []
    for threshold in THRESHOLDS:
        for delay in (d for d in DELAYS["eot-bench"] if d >= min(score_at, 1.0) - EPS):
            for timeout in TIMEOUTS["eot-bench"]:
                act = max(delay, score_at)
                cut = sum(
                    d > timeout + EPS or (d >= score_at - EPS and s > threshold and d > act + EPS) for s, d in holds
                )
                late = sum(act if s > threshold and act <= timeout + EPS else timeout for s in ends) / len(ends)
                tried.append((cut, cut / len(holds), late, threshold, delay, timeout))
    family = found.family("eot-bench")
    assert family.policies == len(tried)
    assert [(p.cutoffs, round(p.latency, 8)) for p in family.frontier] == frontier(tried)
    for result in family.budgets:
        wanted = best(tried, result.budget)
        got = result.best and (result.best.cutoffs, pytest.approx(result.best.latency))
        assert got == (wanted and (wanted[0], wanted[2]))


@pytest.mark.parametrize(
    "rows",
    [
        [(0.5, 1.0, True)],
        [(0.5, 1.0, False)],
        [(0.5, 0.1, False), (0.4, 1.0, True)],
        [(0.5, 6.0, False), (0.4, 1.0, True)],
    ],
)
def test_one_kind_alone_has_no_figures(rows: list[Row]) -> None:
    """A hold that is too short, or too long, to count is none."""
    for evaluation in evaluated(rows).values():
        assert evaluation.families == ()
        assert math.isnan(evaluation.auc)
        assert math.isnan(evaluation.ap)
