"""What is taken for labels, and what for recordings beside which something else lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eot_core.decision_log import SCHEMA
from eot_core.evaluation.cache import ScoreCache
from eot_core.evaluation.dataset import DatasetError
from eot_core.evaluation.dataset_kind import has_labels, refuse_for_bench, refuse_for_tune

ROW = json.dumps({"id": "a", "language": "en", "audio": "a.wav", "silence_spans": []})
CALIBRATION = json.dumps({"schema": "eot-calibration/1", "models": {}}, indent=1)
LOG = json.dumps({"schema": SCHEMA, "kind": "prediction", "audio": "a.wav"})


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class TestLabels:
    @pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.ndjson", "a.parquet", "a.arrow"])
    def test_a_file_of_rows(self, name: str, tmp_path: Path) -> None:
        assert has_labels(put(tmp_path / name))

    @pytest.mark.parametrize("name", ["a.wav", "a.flac", "a"])
    def test_another_file_is_not(self, name: str, tmp_path: Path) -> None:
        assert not has_labels(put(tmp_path / name))

    @pytest.mark.parametrize(
        "name", ["turns.jsonl", "metadata.jsonl", "mine.jsonl", "data/test-00000-of-00001.parquet"]
    )
    def test_a_folder_with_one(self, name: str, tmp_path: Path) -> None:
        put(tmp_path / name, f"\n{ROW}\n")
        assert has_labels(tmp_path)

    def test_a_folder_that_datasets_saved(self, tmp_path: Path) -> None:
        put(tmp_path / "train" / "data.arrow")
        assert not has_labels(tmp_path)
        put(tmp_path / "dataset_dict.json", "{}")
        assert has_labels(tmp_path)

    @pytest.mark.parametrize(
        "name",
        [
            "calibration.json",
            "calls/1.json",
            "1.wav",
            "2024/events.jsonl",
            ".git/x.jsonl",
            ".cache/x.parquet",
            ".a.jsonl",
        ],
    )
    def test_other_folders_are_not(self, name: str, tmp_path: Path) -> None:
        """What a recorder knows of its recordings, what was written the last time, what belongs to another tool."""
        put(tmp_path / name, ROW)
        assert not has_labels(tmp_path)

    @pytest.mark.parametrize("text", ["", "no json", "[]", '{"event": "answered"}', LOG])
    def test_lines_of_another_kind(self, text: str, tmp_path: Path) -> None:
        put(tmp_path / "events.jsonl", text)
        assert not has_labels(tmp_path)

    def test_what_was_scored_before(self, tmp_path: Path) -> None:
        cache = ScoreCache(tmp_path, "a-model")
        cache.put("key", "item", {0.5: 0.5})
        cache.close()
        assert list(tmp_path.glob("*.jsonl"))
        assert not has_labels(tmp_path)

    def test_several(self, tmp_path: Path) -> None:
        put(tmp_path / "a.jsonl", ROW)
        put(tmp_path / "b.jsonl", ROW)
        with pytest.raises(DatasetError, match=r"holds a\.jsonl, b\.jsonl: name the one that is to be read"):
            has_labels(tmp_path)


class TestRefused:
    def test_nothing_is_there(self, tmp_path: Path) -> None:
        put(tmp_path / "notes.txt")
        with pytest.raises(DatasetError, match=r"neither recordings \(.*\.flac, .*\) nor labels \(turns\.jsonl, "):
            refuse_for_tune(tmp_path)
        with pytest.raises(DatasetError, match=r"is no recording \(.*\.wav.*\), no labels \(.*\.jsonl.*\) and no deci"):
            refuse_for_tune(tmp_path / "notes.txt")

    def test_a_calibration_file(self, tmp_path: Path) -> None:
        path = put(tmp_path / "c.json", CALIBRATION)
        for refuse in (refuse_for_tune, refuse_for_bench):
            with pytest.raises(DatasetError, match=r"c\.json: is a calibration file"):
                refuse(path)

    def test_a_log_has_no_labels(self, tmp_path: Path) -> None:
        path = put(tmp_path / "d.jsonl", LOG)
        for one in (path, tmp_path):
            refuse_for_tune(one)
            with pytest.raises(DatasetError, match=r"a decision log, .*: eot tune takes it, eot bench needs labels"):
                refuse_for_bench(one)

    def test_recordings_have_none(self, tmp_path: Path) -> None:
        path = put(tmp_path / "calls" / "1.wav")
        for one in (path, tmp_path):
            refuse_for_tune(one)
            with pytest.raises(
                DatasetError, match=r"recordings without labels .* eot tune takes calls with caller and"
            ):
                refuse_for_bench(one)
        put(tmp_path / "turns.jsonl", ROW)
        refuse_for_bench(tmp_path)
