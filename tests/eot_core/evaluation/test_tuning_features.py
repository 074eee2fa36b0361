"""What heads see, kept in step with the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import fake_spec
from known_set import Problems, row, write_rows, write_wav
from test_tuning_logs import Log, read
from two_channel import RATE, voices

from eot_core.evaluation.dataset import read_dataset
from eot_core.evaluation.scored import ScoringOptions
from eot_core.evaluation.scorers import ModelScorer
from eot_core.evaluation.scoring import score_items
from eot_core.evaluation.tuning_features import HeadScorer, head_scorers
from eot_core.evaluation.tuning_logs import score_logged
from eot_core.models.base import ModelError
from eot_core.models.eot_open import packaged_head
from eot_core.models.registry import resolve_model

pytest.importorskip("pipecat")
pytest.importorskip("onnx")
MODEL = "eot-open-1-fast-4s"


def write_turns(folder: Path) -> None:
    hello, table, friday = voices(1.0)
    rows = []
    for name, first in (("a-1", hello), ("b-1", table)):
        hush = np.random.default_rng(1).integers(-5, 6, round(0.5 * RATE)).astype(np.int16)
        write_wav(folder / f"{name}.wav", np.concatenate((first, hush, friday, hush, hush)))
        one, two = len(first) / RATE, (len(first) + len(hush) + len(friday)) / RATE
        rows.append(row(name, f"{name}.wav", [{"start": one, "end": one + 0.5}, {"start": two, "end": two + 1.0}]))
    write_rows(folder / "turns.jsonl", rows)


def test_features_belong_to_the_scores(tmp_path: Path) -> None:
    write_turns(tmp_path)
    items = read_dataset(tmp_path, on_problem=Problems())
    scorer = HeadScorer(resolve_model(MODEL), None)
    plain = ModelScorer(resolve_model(MODEL))
    options = ScoringOptions(rescore_every=0.2, check_speech=False)
    scored = score_items(items, [scorer], options, on_problem=Problems())
    same = score_items(items, [plain], options, on_problem=Problems())
    assert scored.scores[MODEL][0][0] == same.scores[MODEL][0][0]
    features = scorer.of_items(scored)
    assert features.rows.shape == (4, len(options.moments))
    head = packaged_head(MODEL)
    for scores, rows in zip(scored.scores[MODEL], features.rows, strict=True):
        for score, number in zip(scores, rows, strict=True):
            assert np.isfinite(score) == (number >= 0)
            if number >= 0:
                assert head.score(features.read(np.array([number]))[0]) == pytest.approx(score, abs=2e-3)  # float16
    some = features.where(np.array([False, True, False, True]))
    assert (some.rows == features.rows[1::2]).all()
    assert scorer.predictions == int((features.rows >= 0).sum())
    assert (features.rows[::2] < 0).any()  # holds of 0.5 s have no score further on
    scorer.close()


def test_of_decision_logs_too(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for number in range(3):
        log.asked(5.0 * number + 1.0, f"s{number}", silence=0.2 + 0.1 * number)
        log.line("speech", 5.0 * number + 1.6, f"s{number}")
    pauses = read(log)
    scorer = HeadScorer(resolve_model(MODEL), tmp_path / "cache")
    scored = score_logged(pauses, [scorer], on_problem=Problems())
    features = scorer.of_logs(scored)
    assert features.rows.shape == (3, 1)
    head = packaged_head(MODEL)
    for score, seen in zip(scored.scores[MODEL], features.read(features.rows[:, 0]), strict=True):
        assert head.score(seen) == pytest.approx(score, abs=2e-3)
    scorer.close()
    again = HeadScorer(resolve_model(MODEL), tmp_path / "cache")
    assert score_logged(pauses, [again], on_problem=Problems()).scores == scored.scores
    assert again.predictions == 0
    again.close()
    again.close()


def test_only_models_that_take_a_head(tmp_path: Path) -> None:
    ours, other = ModelScorer(resolve_model(MODEL)), ModelScorer(resolve_model("smart-turn-v3.2"))
    wrapped = head_scorers([ours, other], tmp_path)
    assert isinstance(wrapped[0], HeadScorer)
    assert wrapped[1] is other
    with pytest.raises(ValueError, match="fake-model takes no head of one's own"):
        HeadScorer(fake_spec(), None)


def test_it_must_be_loaded_first(tmp_path: Path) -> None:
    write_turns(tmp_path)
    (item, *_) = read_dataset(tmp_path, on_problem=Problems())
    scorer = HeadScorer(resolve_model(MODEL), None)
    recording = item.audio.open()
    with pytest.raises(ModelError, match="is not loaded: call prepare"):
        scorer.score(item, recording, 1.0)
    recording.close()
