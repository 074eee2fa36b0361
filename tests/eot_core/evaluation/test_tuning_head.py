"""A head of one's own: fitted where there is something to learn, and where there is not, none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import MEAN, SCALE, planted

from eot_core.evaluation import tuning_head
from eot_core.evaluation.metrics import auc
from eot_core.evaluation.tuning_features import PauseFeatures
from eot_core.evaluation.tuning_head import HeadTrial, too_little_for_head, try_head


def trial(*args: int, resamples: int = 200, **how: float | bool) -> HeadTrial:
    pauses, features = planted(*args, **how)  # type: ignore[arg-type]
    return try_head(pauses, features, MEAN, SCALE, resamples=resamples)


class TestPlanted:
    def test_a_direction_that_the_shipped_head_ignores_is_found(self) -> None:
        result = trial()
        assert result.gains
        assert result.shipped_auc < 0.8
        assert result.auc > 0.9  # 2 and 1 standard deviations apart: .943 at best
        assert result.gain_interval is not None
        assert result.gain_interval[0] < result.gain < result.gain_interval[1]
        assert result.weights is not None
        assert np.abs(result.weights).argmax() == 0
        assert (result.calls, result.ends, result.holds) == (24, 120, 120)

    def test_on_calls_that_were_never_seen(self) -> None:
        """What the trial says of held-out calls is true of others."""
        result = trial()
        pauses, features = planted(100, seed=1)
        assert result.weights is not None
        assert result.centre is not None
        z = (features.read(features.rows[:, 0]) - MEAN) / SCALE - result.centre
        logit = np.log(pauses.score / (1 - pauses.score)) + z @ result.weights
        assert auc(logit, pauses.is_end) == pytest.approx(result.auc, abs=0.02)

    def test_scores_are_of_heads_that_were_not_fitted_on_their_calls(self) -> None:
        """Were they, features that mean nothing would seem to tell much."""
        result = trial(size=40, told=0.0)
        assert result.auc <= result.shipped_auc + 0.02
        assert result.pauses is not None

    @pytest.mark.parametrize("seed", range(5))
    def test_shuffled_labels_give_no_head(self, seed: int) -> None:
        result = trial(seed=seed, shuffled=True)
        assert not result.gains
        assert result.gain < 0.03

    def test_nothing_to_learn_gives_no_head(self) -> None:
        result = trial(told=0.0)
        assert not result.gains

    def test_scores_further_on_are_corrected_too(self) -> None:
        pauses, features = planted()
        n = len(pauses)
        later = np.column_stack([pauses.score, np.where(np.arange(n) % 3, pauses.score, np.nan)])
        rows = np.column_stack([features.rows[:, 0]] * 2 + [np.where(np.arange(n) % 3, np.arange(n), -1)])
        again = replace(pauses, later=later, later_at=np.array([0.4, 0.6]))
        result = try_head(again, PauseFeatures(features.store, rows), MEAN, SCALE, resamples=0)
        assert result.pauses is not None
        assert result.pauses.later[:, 0] == pytest.approx(result.pauses.score)
        assert np.isnan(result.pauses.later[::3, 1]).all()
        assert result.pauses.later[1::3, 1] == pytest.approx(result.pauses.score[1::3])


class TestHowSure:
    def test_too_little_is_not_tried(self) -> None:
        pauses, features = planted(12)
        result = try_head(pauses, features, MEAN, SCALE)
        assert result.lacks == (
            "12 calls or speakers, needs 20",
            "60 ends of turns, needs 100",
            "60 pauses inside turns, needs 100",
        )
        assert not result.gains
        assert np.isnan(result.auc)
        assert features.store.read == 0  # type: ignore[attr-defined]
        assert too_little_for_head(planted(24)[0]) == ()

    def test_without_an_interval_there_is_no_head(self) -> None:
        result = trial(resamples=0)
        assert result.gain > 0.1
        assert result.gain_interval is None
        assert not result.gains

    def test_the_same_again(self) -> None:
        one, two = trial(), trial()
        assert (one.auc, one.gain_interval, one.penalty) == (two.auc, two.gain_interval, two.penalty)
        assert one.weights is not None
        assert two.weights is not None
        assert (one.weights == two.weights).all()

    def test_holds_that_are_not_counted_are_not_fitted_on(self) -> None:
        pauses, features = planted(26)
        odd = (np.arange(len(pauses)) % 10 == 1) & ~pauses.is_end
        lasting = replace(pauses, duration=np.where(odd, 30.0, pauses.duration))
        result = try_head(lasting, features, MEAN, SCALE, resamples=0)
        assert result.holds == 104
        assert result.weights is not None
        far = planted(26)[1].read(np.arange(260))
        far[odd] += 1e3
        moved = PauseFeatures(type(features.store)(far), features.rows)  # type: ignore[arg-type, call-arg]
        again = try_head(lasting, moved, MEAN, SCALE, resamples=0)
        assert again.weights == pytest.approx(result.weights)

    def test_of_very_many_calls_some_are_fitted_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tuning_head, "MAX_FIT", 150)
        seen: list[int] = []
        fit = tuning_head.fit_correction
        monkeypatch.setattr(tuning_head, "fit_correction", lambda z, *a, **k: (seen.append(len(z)), fit(z, *a, **k))[1])
        result = trial()
        assert max(seen) <= 150
        assert result.gains

    def test_how_much_is_computed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each penalty once for each inner fold of each fold, three times over, and once on all calls."""
        fits: list[int] = []
        fit = tuning_head.fit_correction
        monkeypatch.setattr(tuning_head, "fit_correction", lambda *a, **k: (fits.append(1), fit(*a, **k))[1])
        trial()
        once = (tuning_head.INNER_FOLDS + 1) * (1 + len(tuning_head.PENALTIES))
        assert len(fits) <= (tuning_head.REPEATS * tuning_head.FOLDS + 1) * once
