"""Scores of a set whose right answers are known, and what is asked of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_set import RATE, TURNS, row, scored, toy_model, turn, write_known, write_rows, write_wav
from models.tiny_onnx import write_mean_model

from eot_core import EndpointingOptions
from eot_core.evaluation import Budget, StepPolicies, sweep
from eot_core.evaluation.benchmark import from_scored
from eot_core.evaluation.errors import mistakes
from eot_core.evaluation.items import Item
from eot_core.evaluation.recording import Recording
from eot_core.evaluation.scorers import ElapsedScorer, ModelScorer, VadScorer
from eot_core.evaluation.scoring import ScoringOptions
from eot_core.evaluation.simulation import Policy
from eot_core.models.onnx_file import onnx_file


class TestKnownAnswers:
    def test_figures(self, tmp_path: Path) -> None:
        """Worked out by hand from the table in known_set."""
        result, problems = scored(write_known(tmp_path), toy_model(tmp_path), VadScorer(), ElapsedScorer())
        assert problems == []
        toy = result.for_model("toy")
        assert toy.score == pytest.approx([p for parts in TURNS.values() for *_, p in parts], abs=1e-4)
        assert toy.duration == pytest.approx([d for parts in TURNS.values() for _, d, _ in parts])
        assert list(toy.cluster) == ["a", "a", "a", "a", "b", "b", "b", "b"]
        bench = from_scored("known", result, resamples=50)
        evaluation = bench.overall["toy"]
        # Of 16 pairs only (end 0.4, hold 0.6) is the wrong way round.
        assert evaluation.auc == 15 / 16
        # Precision at the ends, from the top: 1, 1, 1, 4/5.
        assert evaluation.ap == pytest.approx((3 + 4 / 5) / 4)
        step = {r.budget: r for r in evaluation.family("step").budgets}
        at_300 = step[Budget("latency", 0.3)].best
        assert at_300 is not None
        # 0.2 s for all ends needs a threshold of at most 0.4, which cuts off the hold of 0.8 s alone.
        assert (at_300.cutoffs, at_300.cutoff_rate, at_300.latency) == (1, 0.25, pytest.approx(0.2))
        at_600 = step[Budget("latency", 0.6)].best
        assert at_600 is not None
        # Above 0.6 one end has to wait for the time-out: (3 * 0.2 + 1.75) / 4 = 0.5875 s; 2 s would be needed to keep
        # the hold of 2.0 s, so that one hold is cut off either way.
        assert (at_600.cutoffs, at_600.latency) == (1, pytest.approx(0.2))
        at_5 = step[Budget("cutoff", 0.05)].best
        assert at_5 is not None
        assert (at_5.cutoffs, at_5.latency) == (0, pytest.approx((3 * 0.2 + 2.0) / 4))
        assert [(p.cutoffs, round(p.latency, 6)) for p in evaluation.family("step").frontier] == [(1, 0.2), (0, 0.65)]
        silence = bench.overall["vad"].families[0]
        assert [(b.best.cutoffs, b.best.latency) for b in silence.budgets if b.best is not None] == [
            (3, pytest.approx(0.3)),
            (2, pytest.approx(0.5)),
            (0, pytest.approx(2.0)),
            (0, pytest.approx(2.0)),
        ]
        assert np.isnan(bench.overall["vad"].auc)

    def test_times_in_single_precision(self, tmp_path: Path) -> None:
        """As a parquet file may hold them: a pause lasts what eot-bench takes it for, which rounds to microseconds."""
        turns = {
            "a-1": [(0.7, 0.2, 0.1), (0.5, 0.3, 0.1), (0.7, 1.0, 0.9)],
            "b-1": [(0.6, 0.3, 0.1), (0.4, 1.0, 0.1), (0.9, 0.2, 0.9)],
        }
        path = write_known(tmp_path, turns)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for each in rows:
            for span in each["silence_spans"]:
                span |= {name: float(np.float32(at)) for name, at in span.items()}
        write_rows(path, rows)
        result, problems = scored(path, VadScorer())
        assert problems == []
        pauses = result.for_model("vad").counted()
        assert pauses.duration.tolist() == [0.2, 0.3, 1.0, 0.3, 1.0, 0.2]
        silence = from_scored("known", result, resamples=0).overall["vad"].families[0]
        # A pause is not cut off after exactly its length.
        assert [(p.cutoffs, p.latency) for p in silence.frontier] == [(3, 0.2), (1, 0.3), (0, 1.0)]

    def test_recordings_without_a_speaker_are_told_of(self, tmp_path: Path) -> None:
        """Their intervals are those of as many speakers."""
        path = write_known(tmp_path)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for unnamed, clusters in ((0, 2), (1, 3), (4, 4)):
            bare = [{k: v for k, v in r.items() if k != "speaker"} for r in rows[:unnamed]]
            result, _ = scored(write_rows(path, bare + rows[unnamed:]), ElapsedScorer())
            assert result.for_model("elapsed").clusters()[1] == clusters
            told = f"{unnamed} of 4 recordings without a speaker or call: each counts as one of its own, so that "
            notes = from_scored("known", result, resamples=0).notes
            assert [note.startswith(told) for note in notes] == [True] * (unnamed > 0)

    def test_elapsed_time_knows_only_the_time(self, tmp_path: Path) -> None:
        result, _ = scored(write_known(tmp_path), ElapsedScorer())
        pauses = result.for_model("elapsed")
        order = np.argsort(pauses.score)
        moments = [0.7, 1.5, 0.7, 1.7, 0.7, 2.0, 0.7, 3.2]
        assert [moments[i] for i in order] == sorted(moments)

    def test_the_audio_ends_when_the_pause_is_scored(self, tmp_path: Path) -> None:
        heard: list[float] = []

        class Listening(ElapsedScorer):
            def score(self, item: Item, recording: Recording, at: float) -> float:
                pcm = recording.read_16k(0, at)
                heard.append(len(pcm) / RATE)
                assert pcm.min() > -20_000  # the level of what comes after that moment
                return 0.5

        path = write_known(tmp_path, {"a-1": [(0.5, 1.0, 0.3)]})
        scored(path, Listening())
        assert heard == pytest.approx([0.7])

    @pytest.mark.parametrize(("turn_start", "heard"), [(0.0, 0.5), (1.0, 0.5), (1.4, 0.3)])
    def test_nothing_from_before_the_turn_or_the_window(self, tmp_path: Path, turn_start: float, heard: float) -> None:
        lengths: list[int] = []

        class Spy:
            def predict(self, pcm: Any) -> float:
                lengths.append(len(pcm))
                return 0.5

        path = write_mean_model(tmp_path / "spy.onnx", ["batch", "samples"])
        model = ModelScorer(onnx_file(path, window=0.5))
        model._model = Spy()
        model.prepare = lambda: None  # type: ignore[method-assign]
        write_wav(tmp_path / "x.wav", turn([(1.5, 0.5, 0.2)])[0])
        rows = [row("x", "x.wav", [{"start": 1.5, "end": 2.0}], turn_start=turn_start)]
        result, problems = scored(write_rows(tmp_path / "r.jsonl", rows), model)
        assert problems == []
        assert len(result.pauses) == 1
        assert lengths == [round(heard * RATE)]

    def test_our_sweep_on_them(self, tmp_path: Path) -> None:
        result, _ = scored(write_known(tmp_path), toy_model(tmp_path))
        published = sweep(StepPolicies.published(), result.for_model("toy"))
        best = published.best(Budget("cutoff", 0.0))
        assert best is not None
        assert best.parameters["timeout"] == 2.0
        assert best.latency == pytest.approx(0.65)

    def test_rescoring(self, tmp_path: Path) -> None:
        path = write_known(tmp_path, {"a-1": [(0.5, 0.45, 0.1), (0.5, 0.7, 0.9)]})
        options = ScoringOptions(rescore_every=0.2, check_speech=False)
        assert options.asked_at == (0.2, 0.4, 0.6, 0.8, 1.0)
        assert options.moments == (0.2, 0.344, 0.544, 0.744, 0.944)  # what has surely come in when the model is asked
        result, problems = scored(path, ElapsedScorer(), options=options)
        assert problems == []
        pauses = result.for_model("elapsed")
        # Only what was recorded: the hold at 0.344 s, the end at 0.344 and 0.544 s.
        assert np.isfinite(pauses.later).sum(axis=1).tolist() == [1, 2]
        assert list(pauses.later_at) == [0.4, 0.6, 0.8, 1.0]


class TestOptions:
    @pytest.mark.parametrize(
        ("option", "message"),
        [({"score_at": -1}, "score_at"), ({"rescore_every": 0}, "rescore_every"), ({"max_hold": 0}, "max_hold")],
    )
    def test_checked(self, option: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ScoringOptions(**option)

    def test_a_hold_that_is_over_before_it_is_scored_counts(self, tmp_path: Path) -> None:
        """As in eot-bench: nobody cuts it off, and the figures of two moments are shares of the same holds."""
        path = write_known(tmp_path, {"a-1": [(0.3, 0.3, 0.9), (0.3, 0.5, 0.9), (0.3, 0.15, 0.9), (0.3, 1.0, 0.9)]})
        result, problems = scored(
            path, ElapsedScorer(), VadScorer(), options=ScoringOptions(score_at=0.4, check_speech=False)
        )
        assert problems == []
        assert [p.index for p in result.pauses] == [0, 1, 3]
        assert result.for_model("elapsed").asked.tolist() == [False, True, True]
        bench = from_scored("known", result, resamples=0)
        (at_600,) = [r for r in bench.overall["elapsed"].family("step").budgets if r.budget == Budget("latency", 0.6)]
        assert at_600.best is not None
        assert (at_600.best.cutoffs, at_600.best.cutoff_rate) == (0, 0.0)
        assert [m.pause.index for m in mistakes(result, "elapsed", Policy(0.1, EndpointingOptions(0.2, 1.0)))] == [1]

    def test_holds_out_of_range_are_not_scored(self, tmp_path: Path) -> None:
        path = write_known(tmp_path, {"a-1": [(0.3, 0.15, 0.1), (0.3, 6.0, 0.1), (0.3, 0.4, 0.2), (0.3, 1.0, 0.9)]})
        result, problems = scored(path, toy_model(tmp_path))
        assert problems == []
        assert [p.index for p in result.pauses] == [2, 3]
