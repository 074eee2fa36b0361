"""With a head and without: what is written, and why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from planted import Held, planted

from eot_core.evaluation import tuning_own
from eot_core.evaluation.pauses import Floats, Pauses
from eot_core.evaluation.sweep import Budget
from eot_core.evaluation.tuning import Tuning
from eot_core.evaluation.tuning_features import PauseFeatures
from eot_core.evaluation.tuning_measure import Measured
from eot_core.evaluation.tuning_own import TunedLanguage, tune_language
from eot_core.models import smart_turn
from eot_core.models.eot_open import packaged_head
from eot_core.models.eot_open_head import parse_head
from eot_core.models.own_head import standardisation

MODEL = "eot-open-1-fast-4s"
CUTOFF = Budget("cutoff", 0.1)


def as_the_head_sees(features: PauseFeatures) -> PauseFeatures:
    """The planted features as the first of those that the model's head sees; the others stay at their means."""
    mean, scale = standardisation(MODEL)
    few = (features.read(features.rows[:, 0]) - 3.0) / 2.0
    many = np.tile(mean, (len(few), 1))
    many[:, : few.shape[1]] += few * scale[: few.shape[1]]
    return PauseFeatures(Held(many), features.rows)  # type: ignore[arg-type]


def tuned(pauses: Pauses, features: PauseFeatures | None, **more: Any) -> TunedLanguage:
    how: dict[str, Any] = {"budgets": [CUTOFF], "today": 0.5, "curves": ["step"], "seed": 0, "resamples": 100, **more}
    return tune_language(MODEL, "en", pauses, features, CUTOFF, dataset="planted", **how)


def test_what_is_written_scores_as_it_was_measured() -> None:
    pauses, features = planted()
    seen = as_the_head_sees(features)
    result = tuned(pauses, seen)
    assert result.head is not None
    assert result.head.tuning is result.best
    assert result.head.document is not None
    assert result.head.verdict.endswith("It is written; what follows is with it")
    own = parse_head(result.head.document, encoder_sha256=smart_turn.SHA256, where="written")
    shipped = packaged_head(MODEL)
    trial = result.head.trial
    assert trial.weights is not None
    assert trial.centre is not None
    mean, scale = standardisation(MODEL)
    rows = seen.read(seen.rows[:, 0])
    moved: Floats = ((rows - mean) / scale - trial.centre) @ trial.weights
    written = (
        rows @ own.weights.astype(np.float64) + own.bias - rows @ shipped.weights.astype(np.float64) - shipped.bias
    )
    assert written == pytest.approx(moved, abs=0.05)  # float16
    assert written.mean() == pytest.approx(0.0, abs=0.05)
    assert np.abs(moved).max() > 1
    assert result.head.document["provenance"]["fitted_with"] == "eot tune"


def test_today_is_judged_by_the_shipped_head_in_both() -> None:
    pauses, features = planted()
    result = tuned(pauses, as_the_head_sees(features))
    assert result.best is not result.shipped
    assert result.best.today == result.shipped.today
    one, other = result.best.point(CUTOFF), result.shipped.point(CUTOFF)
    assert one is not None
    assert other is not None
    assert result.head is not None
    assert result.head.change is not None
    assert result.head.change.latency == pytest.approx(one.held_out.latency - other.held_out.latency)
    assert result.head.change.latency < 0
    assert result.head.change.latency_interval is not None


def test_no_features_no_head() -> None:
    result = tuned(planted()[0], None)
    assert result.head is None
    assert result.best is result.shipped


def test_where_nothing_is_tuned_no_head_is_tried() -> None:
    pauses, features = planted(4)
    result = tuned(pauses, features)
    assert result.shipped.points == ()
    assert result.head is None


def test_enough_for_thresholds_is_not_enough_for_a_head() -> None:
    pauses, features = planted(10)
    result = tuned(pauses, features)
    assert result.shipped.point(CUTOFF) is not None
    assert result.head is not None
    assert result.head.verdict == (
        "too little data: 10 calls or speakers, needs 20; 50 ends of turns, needs 100; "
        "50 pauses inside turns, needs 100"
    )


def test_a_gain_that_the_budget_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, features = planted()
    slower = Measured(0.0, 0.1, (-0.01, 0.01), (0.05, 0.15))
    monkeypatch.setattr(tuning_own, "change_between", lambda *_, **__: slower)
    result = tuned(pauses, as_the_head_sees(features))
    assert result.head is not None
    assert result.head.verdict.endswith(", but for cutoff 10 % it does no better: none is written")
    assert result.head.change is slower
    assert result.best is result.shipped


@pytest.mark.parametrize(
    ("budget", "change", "worse"),
    [
        (CUTOFF, Measured(0.02, -0.1, (-0.01, 0.05), None), False),  # more cutoffs, not clearly
        (CUTOFF, Measured(0.02, -0.1, (0.01, 0.05), None), True),
        (CUTOFF, Measured(-0.1, 0.01, None, None), True),
        (Budget("latency", 0.5), Measured(-0.1, 0.01, None, (-0.1, 0.1)), False),
        (Budget("latency", 0.5), Measured(-0.1, 0.05, None, (0.01, 0.1)), True),
        (Budget("latency", 0.5), Measured(0.01, 0.0, None, None), True),
    ],
)
def test_worse_is_no_better_in_the_aim_or_clearly_beyond_in_what_is_spent(
    budget: Budget, change: Measured, worse: bool
) -> None:
    assert tuning_own._is_worse(change, budget) is worse


def test_no_policy_keeps_to_the_budget_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, features = planted()
    tune = tuning_own.tune

    def none_with_the_head(*args: Any, against: Pauses | None = None, **how: Any) -> Tuning:
        return tune(*args, against=against, **{**how, "budgets": [] if against is not None else how["budgets"]})

    monkeypatch.setattr(tuning_own, "tune", none_with_the_head)
    result = tuned(pauses, as_the_head_sees(features))
    assert result.head is not None
    assert result.head.document is None
    assert result.head.change is None
