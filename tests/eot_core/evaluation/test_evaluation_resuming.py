"""A run that was interrupted goes on where it was; a model that fails takes no other with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from known_set import TURNS, scored, turn, write_known, write_wav
from models.tiny_onnx import write_mean_model

from eot_core.evaluation.items import Item
from eot_core.evaluation.recording import Recording
from eot_core.evaluation.scorers import ElapsedScorer, ModelScorer, VadScorer, make_scorers
from eot_core.evaluation.scoring import ScoringOptions
from eot_core.models.base import ModelError
from eot_core.models.onnx_file import onnx_file


class Counting(ElapsedScorer):
    """Counts what it is asked; fails where it is told to."""

    def __init__(self, fails_on: tuple[str, ...] = (), stops_on: str | None = None, name: str = "counting") -> None:
        self.name = name
        self.fingerprint = "counting-1"
        self.asked: list[str] = []
        self.fails_on = fails_on
        self.stops_on = stops_on

    def score(self, item: Item, recording: Recording, at: float) -> float:
        if item.id == self.stops_on:
            raise KeyboardInterrupt
        self.asked.append(item.id)
        if item.id in self.fails_on:
            raise ModelError(f"{self.name}: cannot")
        return super().score(item, recording, at)


class TestResuming:
    def test_goes_on_where_it_was(self, tmp_path: Path) -> None:
        path, cache = write_known(tmp_path), tmp_path / "cache"
        first = Counting(stops_on="b-1")
        with pytest.raises(KeyboardInterrupt):
            scored(path, first, cache=cache)
        second = Counting()
        result, _ = scored(path, second, cache=cache)
        assert set(first.asked) == {"a-1", "a-2"}
        assert set(second.asked) == {"b-1", "b-2"}
        assert len(result.pauses) == 8

    def test_a_line_cut_short_by_a_crash(self, tmp_path: Path) -> None:
        path, cache = write_known(tmp_path), tmp_path / "cache"
        whole, _ = scored(path, Counting(), cache=cache)
        (file,) = cache.glob("counting-1*.jsonl")
        file.write_text(file.read_text()[:-20])
        again = Counting()
        result, _ = scored(path, again, cache=cache)
        assert set(again.asked) == {"b-2"}
        assert result.scores == whole.scores
        third = Counting()
        scored(path, third, cache=cache)
        assert third.asked == []

    def test_another_moment_model_or_recording_is_scored_anew(self, tmp_path: Path) -> None:
        path, cache = write_known(tmp_path), tmp_path / "cache"
        scored(path, Counting(), cache=cache)
        later = Counting()
        scored(path, later, options=ScoringOptions(score_at=0.25, check_speech=False), cache=cache)
        assert len(later.asked) == 8
        other = Counting()
        other.fingerprint = "counting-2"
        scored(path, other, cache=cache)
        assert len(other.asked) == 8
        pcm, _ = turn(TURNS["a-1"])
        write_wav(tmp_path / "a-1.wav", pcm // 2)
        changed = Counting()
        scored(path, changed, cache=cache)
        assert set(changed.asked) == {"a-1"}

    def test_scoring_further_on_takes_up_the_first_scores(self, tmp_path: Path) -> None:
        path, cache = write_known(tmp_path), tmp_path / "cache"
        scored(path, Counting(), cache=cache)
        again = Counting()
        options = ScoringOptions(rescore_every=0.2, check_speech=False)
        result, _ = scored(path, again, options=options, cache=cache)
        whole, _ = scored(path, Counting(), options=options)
        np.testing.assert_array_equal(result.for_model("counting").later, whole.for_model("counting").later)
        assert len(again.asked) == int(np.isfinite(whole.for_model("counting").later).sum())

    def test_what_has_no_fingerprint_is_not_kept(self, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        scored(write_known(tmp_path), ElapsedScorer(), VadScorer(), cache=cache)
        assert list(cache.glob("elapsed*")) == []


class TestModelsThatFail:
    def test_on_one_recording(self, tmp_path: Path) -> None:
        result, problems = scored(write_known(tmp_path), Counting(fails_on=("a-2",)), ElapsedScorer())
        # All models are compared on the same pauses.
        assert [p.item.id for p in result.pauses] == ["a-1", "a-1", "b-1", "b-1", "b-2", "b-2"]
        assert problems.messages("a-2") == ["counting: cannot"]
        assert {len(s) for s in result.scores.values()} == {6}

    def test_on_most_of_them(self, tmp_path: Path) -> None:
        result, problems = scored(write_known(tmp_path), Counting(fails_on=tuple(TURNS)), ElapsedScorer())
        assert problems == []  # none of them is left out: the model is
        assert list(result.scores) == ["elapsed"]
        assert len(result.pauses) == 8
        assert result.failed == {"counting": "failed on 4 recordings of 4: counting: cannot"}

    def test_to_load(self, tmp_path: Path) -> None:
        (tmp_path / "bad.onnx").write_bytes(b"no graph")
        broken, good = make_scorers([str(tmp_path / "bad.onnx"), "elapsed"])
        result, _ = scored(write_known(tmp_path), broken, good)
        assert "onnxruntime cannot load" in result.failed["bad"]
        assert list(result.scores) == ["elapsed"]

    def test_nan_is_no_probability(self, tmp_path: Path) -> None:
        path = write_mean_model(tmp_path / "nan.onnx", ["batch", "samples"], ends_in="Sqrt")
        model = ModelScorer(onnx_file(path, window=0.5, name="nan"), fingerprint="n")
        model._model = type("Nan", (), {"predict": lambda self, pcm: float("nan")})()
        model.prepare = lambda: None  # type: ignore[method-assign]
        result, problems = scored(write_known(tmp_path), model, ElapsedScorer())
        assert problems == []
        assert "failed on 4 recordings of 4: nan: said nan at 0.70 s, which is no probability" in result.failed["nan"]
