"""Rows, recordings and labels that cannot be used: each is named, and takes nothing else with it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_set import RATE, TURNS, UNCHECKED, Problems, row, scored, toy_model, turn, write_known, write_rows, write_wav
from vad_speech import recordings

from eot_core.evaluation.checks import judge
from eot_core.evaluation.dataset import read_dataset
from eot_core.evaluation.recording import AudioRef
from eot_core.evaluation.scorers import ElapsedScorer
from eot_core.evaluation.scoring import ScoringOptions, score_items
from eot_core.models.base import ModelError


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
