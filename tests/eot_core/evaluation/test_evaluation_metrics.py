from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eot_core.evaluation import Pauses, auc, average_precision
from eot_core.evaluation.metrics import weighted_auc, weighted_average_precision

SCORES = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=30)


def by_pairs(score: np.ndarray, is_end: np.ndarray) -> float:
    wins = [float(e > h) + 0.5 * float(e == h) for e in score[is_end] for h in score[~is_end]]
    return sum(wins) / len(wins) if wins else math.nan


class TestAuc:
    def test_known(self) -> None:
        score = np.array([0.9, 0.8, 0.3, 0.1])
        assert auc(score, np.array([True, True, False, False])) == 1.0
        assert auc(score, np.array([False, False, True, True])) == 0.0
        assert auc(score, np.array([True, False, True, False])) == 0.75
        assert auc(np.full(4, 0.5), np.array([True, False, True, False])) == 0.5

    def test_without_either_class(self) -> None:
        assert math.isnan(auc(np.array([0.1, 0.2]), np.array([True, True])))
        assert math.isnan(auc(np.array([0.1, 0.2]), np.array([False, False])))
        assert math.isnan(auc(np.zeros(0), np.zeros(0, dtype=bool)))

    @settings(deadline=None)
    @given(SCORES)
    def test_counts_pairs(self, rows: list[tuple[int, bool]]) -> None:
        score = np.array([s / 6 for s, _ in rows])
        is_end = np.array([e for _, e in rows])
        assert auc(score, is_end) == pytest.approx(by_pairs(score, is_end), nan_ok=True)

    @settings(deadline=None)
    @given(SCORES, st.data())
    def test_a_weight_is_a_copy(self, rows: list[tuple[int, bool]], data: st.DataObject) -> None:
        score = np.array([s / 6 for s, _ in rows])
        is_end = np.array([e for _, e in rows])
        copies = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))))
        again, labels = np.repeat(score, copies), np.repeat(is_end, copies)
        assert weighted_auc(score, is_end, copies[None, :])[0] == pytest.approx(auc(again, labels), nan_ok=True)
        assert weighted_average_precision(score, is_end, copies[None, :])[0] == pytest.approx(
            average_precision(again, labels), nan_ok=True
        )


class TestAveragePrecision:
    def test_known(self) -> None:
        # Precision at each of the two ends: 1/1 and 2/3, each a step of 1/2 in recall.
        score = np.array([0.9, 0.8, 0.7, 0.1])
        assert average_precision(score, np.array([True, False, True, False])) == pytest.approx((1 + 2 / 3) / 2)
        assert math.isnan(average_precision(score, np.zeros(4, dtype=bool)))
        assert math.isnan(average_precision(np.zeros(0), np.zeros(0, dtype=bool)))

    @settings(max_examples=60, deadline=None)
    @given(SCORES)
    def test_as_scikit_learn_defines_it(self, rows: list[tuple[int, bool]]) -> None:
        """Sum over falling thresholds, each score one, of precision times what recall gains: equal scores are one."""
        ends, area, recall = sum(end for _, end in rows), 0.0, 0.0
        for threshold in sorted({score for score, _ in rows}, reverse=True):
            taken = [end for score, end in rows if score >= threshold]
            if ends:
                area += (sum(taken) / ends - recall) * sum(taken) / len(taken)
                recall = sum(taken) / ends
        found = average_precision(np.array([s / 6 for s, _ in rows]), np.array([e for _, e in rows], dtype=bool))
        assert found == pytest.approx(area if ends else math.nan, nan_ok=True)


class TestPauses:
    def test_defaults_and_counts(self) -> None:
        pauses = Pauses(
            np.array([0.1, 0.9, 0.5]), np.array([0.4, 1.0, 6.0]), np.array([False, True, False]), np.array(["a"] * 3)
        )
        assert (len(pauses), pauses.holds, pauses.ends) == (3, 2, 1)
        assert list(pauses.answered_at) == [0.2] * 3
        assert pauses.clusters()[1] == 1
        assert len(pauses.counted()) == 2  # the hold of 6 s is out of eot-bench's range
        assert len(pauses.counted(min_hold=0.5)) == 1
        assert list(pauses.with_scores([0.3, 0.4, 0.5]).score) == [0.3, 0.4, 0.5]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"score": np.array([0.1, 1.2])}, "score must be finite"),
            ({"score": np.array([0.1, math.nan])}, "score must be finite"),
            ({"duration": np.array([0.1, -1.0])}, "duration must be finite"),
            ({"duration": np.array([0.1])}, r"duration must have shape \(2,\)"),
            ({"later": np.zeros((2, 2)), "later_at": np.array([0.4])}, r"later must have shape \(2, 1\)"),
        ],
    )
    def test_checked(self, change: dict[str, np.ndarray], message: str) -> None:
        good = {
            "score": np.array([0.1, 0.2]),
            "duration": np.array([0.3, 0.4]),
            "is_end": np.array([True, False]),
            "cluster": np.array(["a", "b"]),
        }
        with pytest.raises(ValueError, match=message):
            Pauses(**{**good, **change})
