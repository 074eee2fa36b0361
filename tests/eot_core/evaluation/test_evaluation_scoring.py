from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_set import RATE, TURNS, Problems, row, toy_model, turn, write_known, write_rows, write_wav
from models.tiny_onnx import write_mean_model
from vad_speech import recordings

from eot_core import EndpointingOptions
from eot_core.evaluation import Budget, StepPolicies, sweep
from eot_core.evaluation.benchmark import from_scored
from eot_core.evaluation.checks import judge
from eot_core.evaluation.dataset import read_dataset
from eot_core.evaluation.errors import mistakes
from eot_core.evaluation.items import Item
from eot_core.evaluation.recording import AudioRef, Recording
from eot_core.evaluation.scorers import ElapsedScorer, ModelScorer, Scorer, VadScorer, make_scorers
from eot_core.evaluation.scoring import ScoredSet, ScoringOptions, score_items
from eot_core.evaluation.simulation import Policy
from eot_core.models.base import ModelError, ModelLicenseError
from eot_core.models.onnx_file import onnx_file

UNCHECKED = ScoringOptions(check_speech=False)


def scored(
    path: Path, *scorers: Scorer, options: ScoringOptions = UNCHECKED, cache: Path | None = None
) -> tuple[ScoredSet, Problems]:
    problems = Problems()
    items = read_dataset(path, on_problem=problems)
    return score_items(items, scorers, options, cache=cache, on_problem=problems), problems


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


class TestWhatCannotBeUsed:
    """Each is named, and the good one between them is scored all the same."""

    def check(self, folder: Path, bad: dict[str, Any], pcm: Any = None, **how: Any) -> list[str]:
        good, spans = turn(TURNS["a-1"])
        write_wav(folder / "good.wav", good)
        if pcm is not None:
            write_wav(folder / "bad.wav", pcm, **how)
        path = write_rows(folder / "r.jsonl", [row("a-good", "good.wav", spans), bad, row("b-good", "good.wav", spans)])
        result, problems = scored(path, toy_model(folder))
        assert {p.item.id for p in result.pauses} >= {"a-good", "b-good"}
        assert problems.messages("a-good") == []
        return problems.messages(str(bad.get("id", "r.jsonl line 2")))

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"id": "x"}, "has no language, audio, silence_spans: the schema asks for"),
            (row("x", "good.wav", []), "silence_spans is empty: without the silence after the last word"),
            (row("x", "good.wav", [{"start": 2.0, "end": 1.0}]), "goes from 2.0 to 1.0 s: mislabelled"),
            (row("x", "good.wav", [{"start": 1, "end": 2}, {"start": 1.5, "end": 3}]), "begins before the one before"),
            (row("x", "good.wav", [{"start": 1.0, "end": 99.0}]), "ends at 99.00 s, the recording at 2.30 s"),
            (row("x", "good.wav", [{"begin": 1.0}]), "is no {"),
            (row("x", "good.wav", [{"start": 2.2, "end": 2.3}]), "last silence lasts 0.10 s: too short"),
            (row("x", "none.wav", [{"start": 1.0, "end": 2.0}]), "no such file"),
            (row("x", 7, [{"start": 1.0, "end": 2.0}]), "audio is neither a path"),
            (row("x", "good.wav", [{"start": 1.0, "end": 2.0}], language="multi"), "names no language"),
            (row("a-good", "good.wav", [{"start": 1.0, "end": 2.0}]), None),
        ],
    )
    def test_rows(self, tmp_path: Path, bad: dict[str, Any], message: str | None) -> None:
        if message is None:
            path = write_known(tmp_path, {"a-1": TURNS["a-1"]})
            path.write_text(path.read_text() * 2)
            _, problems = scored(path, toy_model(tmp_path))
            assert "its id was there before" in problems.messages("a-1")[0]
        else:
            assert message in self.check(tmp_path, bad)[0]

    def test_a_line_that_is_no_json(self, tmp_path: Path) -> None:
        path = write_known(tmp_path)
        path.write_text("{oops\n[1]\n\n" + path.read_text())
        result, problems = scored(path, toy_model(tmp_path))
        assert "is no JSON" in problems.messages("turns.jsonl line 1")[0]
        assert problems.messages("turns.jsonl line 2") == ["is no JSON object"]
        assert len(result.pauses) == 8

    def test_empty_corrupt_and_cut_short(self, tmp_path: Path) -> None:
        spans = [{"start": 0.5, "end": 1.0}]
        (tmp_path / "bad.wav").write_bytes(b"")
        assert "is empty" in self.check(tmp_path, row("x", "bad.wav", spans))[0]
        (tmp_path / "bad.wav").write_bytes(b"RIFF" + bytes(100))
        assert "not a recording that can be read" in self.check(tmp_path, row("x", "bad.wav", spans))[0]
        soundfile = pytest.importorskip("soundfile")
        soundfile.write(tmp_path / "bad.flac", np.random.default_rng(0).integers(-9000, 9000, 32_000) / 32_768, RATE)
        whole = (tmp_path / "bad.flac").read_bytes()
        (tmp_path / "bad.flac").write_bytes(whole[: len(whole) // 3])
        message = self.check(tmp_path, row("x", "bad.flac", spans))[0]
        assert "cut short" in message or "cannot be decoded" in message

    def test_8_khz_and_stereo(self, tmp_path: Path) -> None:
        pcm, spans = turn(TURNS["a-1"], rate=8000)
        both = np.stack([pcm, pcm], axis=1)
        assert self.check(tmp_path, row("x", "bad.wav", spans), both, rate=8000, channels=2) == []
        problems = Problems()
        items = read_dataset(tmp_path / "r.jsonl", on_problem=problems)
        result = score_items(items, [toy_model(tmp_path)], UNCHECKED, on_problem=problems)
        notes = " ".join(result.notes)
        assert "1 recording at 8000 Hz: upsampled, with nothing in them above 4 kHz" in notes
        assert "1 recording with several channels: mixed down to their mean" in notes
        # The level of the pause survives resampling and mixing.
        assert result.for_model("toy").score[2:4] == pytest.approx([0.1, 0.9], abs=0.02)

    def test_one_channel_of_two(self, tmp_path: Path) -> None:
        pcm, spans = turn(TURNS["a-1"])
        write_wav(tmp_path / "x.wav", np.stack([pcm // 2, pcm], axis=1), channels=2)
        path = write_rows(tmp_path / "r.jsonl", [row("x", "x.wav", spans)])
        options = ScoringOptions(check_speech=False, channel=1)
        result, _ = scored(path, toy_model(tmp_path), options=options)
        assert result.for_model("toy").score == pytest.approx([0.1, 0.9], abs=1e-3)
        result, problems = scored(path, toy_model(tmp_path), options=ScoringOptions(check_speech=False, channel=4))
        assert "channel 4 does not exist: it has 2" in problems.messages("x")[0]
        assert result.pauses == []

    def test_three_hours(self, tmp_path: Path) -> None:
        """Only what is looked at is decoded."""
        rate, seconds = 8000, 3 * 3600
        pcm, spans = turn([(0.5, 1.0, 0.5)], rate=rate)
        path = tmp_path / "long.wav"
        size = seconds * rate * 2
        with path.open("wb") as file:
            file.write(
                b"RIFF"
                + struct.pack("<I", 36 + size)
                + b"WAVEfmt "
                + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
            )
            file.write(b"data" + struct.pack("<I", size))
            file.seek(44 + size - len(pcm) * 2)  # the rest of the file is a hole
            file.write(pcm.astype("<i2").tobytes())
        at = seconds - len(pcm) / rate
        late = [{"start": spans[0]["start"] + at, "end": spans[0]["end"] + at}]
        rows = write_rows(tmp_path / "r.jsonl", [row("x", "long.wav", late, turn_start=at)])
        result, problems = scored(rows, toy_model(tmp_path))
        assert problems == []
        assert result.for_model("toy").score == pytest.approx([0.5], abs=0.02)
        recording = AudioRef(path=path).open()
        assert recording.duration == seconds
        assert recording._pcm is None
        recording.close()

    def test_digital_silence_in_the_ends_alone_is_told(self, tmp_path: Path) -> None:
        noisy = np.random.default_rng(0).integers(-9000, 9000, 2 * RATE).astype(np.int16)
        noisy[24_000:] = 0
        write_wav(tmp_path / "x.wav", noisy)
        rows = [row("x", "x.wav", [{"start": 0.5, "end": 1.0}, {"start": 1.5, "end": 2.0}])]
        result, _ = scored(write_rows(tmp_path / "r.jsonl", rows), ElapsedScorer())
        assert any("digital silence in 100% of the ends but 0% of the holds" in note for note in result.notes)


class TestLabelsAreListenedTo:
    def test_speech_where_silence_should_be_and_none_at_all(self, tmp_path: Path) -> None:
        (spoken,) = recordings(1)  # 1.25 s of hush, a recording of 6.4 s, hush, and so on
        begins = 20_000 / RATE
        spoken = spoken[: round((begins + 6.4 + 1.2) * RATE)]
        write_wav(tmp_path / "good.wav", spoken)
        write_wav(tmp_path / "noise.wav", np.random.default_rng(0).integers(-300, 300, len(spoken)).astype(np.int16))
        silent = {"start": begins + 5.7, "end": begins + 6.4 + 1.2}
        good, wrong = [silent], [{"start": begins + 2.25, "end": begins + 3.25}, silent]
        rows = [row("good", "good.wav", good), row("wrong", "good.wav", wrong), row("noise", "noise.wav", good)]
        path = write_rows(tmp_path / "r.jsonl", rows)
        cache = tmp_path / "cache"
        for _ in range(2):  # the second time from the cache
            result, problems = scored(path, ElapsedScorer(), options=ScoringOptions(), cache=cache)
            assert problems.messages("good") == []
            assert "silence_spans[0] (3.50 to 4.50 s) sounds like speech" in problems.messages("wrong")[0]
            assert "no speech is heard before its end of turn" in problems.messages("noise")[0]
            # The one is counted all the same, the other is not.
            assert [p.item.id for p in result.pauses] == ["good", "wrong", "wrong"]
            assert str(problems[0]).endswith("(counted all the same)")

    def test_a_last_silence_that_is_not_the_last(self, tmp_path: Path) -> None:
        (spoken,) = recordings(1)
        write_wav(tmp_path / "x.wav", spoken)
        begins = 20_000 / RATE
        early = [{"start": begins + 3.25, "end": begins + 3.7}]
        rows = [row("alone", "x.wav", early), row("longer", "x.wav", early, turn_start=0.1)]
        result, problems = scored(write_rows(tmp_path / "r.jsonl", rows), ElapsedScorer(), options=ScoringOptions())
        (message,) = [m for m in problems.messages("alone") if "speaks on" in m]
        assert "somebody speaks on after its last silence, which ends at 4.95 s: mislabelled" in message
        # In a longer recording other turns follow.
        assert not [m for m in problems.messages("longer") if "speaks on" in m]
        assert len(result.pauses) == 2

    def test_judging(self, tmp_path: Path) -> None:
        item = read_dataset(write_known(tmp_path), on_problem=Problems())[0]
        assert judge(item, [0.4, 0.0, 0.5, 0.2]) == []
        (mislabelled,) = judge(item, [0.4, 0.0, 0.6, 0.0])
        assert not mislabelled.left_out
        assert "silence_spans[1]" in mislabelled.message
        (silent,) = judge(item, [0.0, 0.9, 0.0, 0.0])
        assert silent.left_out

    def test_without_a_vad_labels_are_taken_as_they_are(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> Path:
            raise ModelError("the Silero VAD is not installed")

        monkeypatch.setattr("eot_core.evaluation.checks.weights_path", missing)
        result, problems = scored(write_known(tmp_path), toy_model(tmp_path), options=ScoringOptions())
        assert problems == []
        assert len(result.pauses) == 8
        assert result.notes[0] == "labels were not checked for speech: the Silero VAD is not installed"


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
        result, _ = scored(write_known(tmp_path), Counting(fails_on=tuple(TURNS)), ElapsedScorer())
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
        assert "said nan at 0.70 s, which is no probability" in problems[0].message
        assert "nan" in result.failed


class TestMakeScorers:
    def test_names(self, tmp_path: Path) -> None:
        path = write_mean_model(tmp_path / "mine.onnx", ["batch", "samples"])
        scorers = make_scorers(["smart-turn", "vad", "elapsed", str(path)])
        assert [s.name for s in scorers] == ["smart-turn-v3.2", "vad", "elapsed", "mine"]
        assert scorers[0].fingerprint is not None
        assert "2bb026316b14" in scorers[0].fingerprint
        first = scorers[3].fingerprint
        write_mean_model(path, ["batch", "samples"], ends_in="Identity")
        assert make_scorers([str(path)])[0].fingerprint != first  # the checksum of the file is in it

    def test_files_of_one_name(self, tmp_path: Path) -> None:
        """As training writes them: a folder for each run."""
        paths = []
        for folder, ending in (("run1", "Sigmoid"), ("run2", "Identity")):
            (tmp_path / folder).mkdir()
            paths.append(str(write_mean_model(tmp_path / folder / "model.onnx", ["batch", "s"], ends_in=ending)))
        both = make_scorers(paths)
        assert [s.name for s in both] == ["run1-model", "run2-model"]
        # Scores that were kept under one name are found under the other.
        assert [s.fingerprint for s in both] == [make_scorers([path])[0].fingerprint for path in paths]
        assert make_scorers(paths[:1])[0].name == "model"
        with pytest.raises(ValueError, match=r"run1/model\.onnx' is given twice"):
            make_scorers([paths[0], str(tmp_path / "run2" / ".." / "run1" / "model.onnx")])

    @pytest.mark.parametrize("name", ["vad", "elapsed", "smart-turn-v3.2"])
    def test_a_file_that_is_called_as_something_else_is(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "mine").mkdir()
        path = write_mean_model(tmp_path / "mine" / f"{name}.onnx", ["batch", "samples"])
        file, other = make_scorers([str(path), name])
        assert (file.name, other.name) == (f"mine-{name}", name)
        if name in ("vad", "elapsed"):
            assert make_scorers([str(path)])[0].name == f"mine-{name}"
            result, _ = scored(write_known(tmp_path), file)
            assert not np.isnan(from_scored("known", result, resamples=0).overall[f"mine-{name}"].auc)

    def test_v1_mini_is_refused_with_its_licence(self) -> None:
        with pytest.raises(ModelLicenseError, match=r"may run only inside LiveKit Agents \(LiveKit Model License\)"):
            make_scorers(["turn-detector-v1-mini", "vad"])

    def test_mistakes(self) -> None:
        with pytest.raises(ValueError, match="model 'vad' is given twice"):
            make_scorers(["vad", "vad"])
        with pytest.raises(ValueError, match="no model is given"):
            make_scorers([])
        with pytest.raises(ValueError, match="model 'gpt' is unknown"):
            make_scorers(["gpt"])

    def test_must_be_prepared(self, tmp_path: Path) -> None:
        item = read_dataset(write_known(tmp_path), on_problem=Problems())[0]
        with pytest.raises(ModelError, match=r"call prepare\(\) first"):
            toy_model(tmp_path).score(item, item.audio.open(), 0.5)
