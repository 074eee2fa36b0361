from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_set import TURNS, Problems, row, toy_model, turn, write_known, write_rows, write_wav

from eot_core.evaluation.benchmark import benchmark
from eot_core.evaluation.dataset import DatasetError, read_dataset
from eot_core.evaluation.items import ItemError, Span, parse_audio, parse_item, parse_spans
from eot_core.evaluation.predictions import COLUMNS, is_predictions, read_predictions, write_predictions
from eot_core.evaluation.scoring import ScoringOptions, score_items

UNCHECKED = ScoringOptions(check_speech=False)


def read(path: Path, **how: Any) -> list[str]:
    return [item.id for item in read_dataset(path, on_problem=Problems(), **how)]


class TestJsonl:
    def test_file_and_folder(self, tmp_path: Path) -> None:
        path = write_known(tmp_path)
        assert read(path) == read(tmp_path) == list(TURNS)
        path.rename(tmp_path / "metadata.jsonl")
        assert read(tmp_path) == list(TURNS)
        (tmp_path / "metadata.jsonl").rename(tmp_path / "any.jsonl")
        assert read(tmp_path) == list(TURNS)

    def test_split_and_language(self, tmp_path: Path) -> None:
        spans = [{"start": 0.5, "end": 1.0}]
        rows = [
            row("a", "a.wav", spans, split="train"),
            row("b", "b.wav", spans, language="de-DE"),
            row("c", "c.wav", spans, split=None),
        ]
        path = write_rows(tmp_path / "r.jsonl", rows)
        assert read(path, split="train") == ["a", "c"]  # an item without a split belongs to every one
        assert read(path, language="de") == ["b"]
        with pytest.raises(DatasetError, match="no item is left to use"):
            read(path, language="fr")

    def test_the_languages_that_are_there_are_named(self, tmp_path: Path) -> None:
        """And not the splits, of which nothing was asked."""
        spans = [{"start": 0.5, "end": 1.0}]
        rows = [row("a", "a.wav", spans), row("b", "b.wav", spans, language="fr", split="train")]
        path = write_rows(tmp_path / "r.jsonl", rows)
        for split in (None, "test"):
            with pytest.raises(DatasetError, match=r"is left to use; none is in 'de': its languages are en, fr$"):
                read(path, language="de", split=split)
        with pytest.raises(DatasetError, match=r"none is in 'fr' in split test: its languages are en, fr$"):
            read(path, language="fr", split="test")

    def test_the_splits_that_are_there_are_named(self, tmp_path: Path) -> None:
        path = write_rows(tmp_path / "r.jsonl", [row("a", "a.wav", [{"start": 0.5, "end": 1.0}], split="train")])
        with pytest.raises(DatasetError, match="no item is left to use; its splits are train"):
            read(path, split="dev")

    def test_audiofolder_name(self, tmp_path: Path) -> None:
        one = row("a", None, [{"start": 0.5, "end": 1.0}], file_name="a.wav")
        del one["audio"]
        item = read_dataset(write_rows(tmp_path / "r.jsonl", [one]), on_problem=Problems())[0]
        assert item.audio.path == tmp_path / "a.wav"

    @pytest.mark.parametrize(("name", "message"), [("none", "no such file or folder"), ("x.txt", "give a .jsonl or")])
    def test_no_dataset(self, tmp_path: Path, name: str, message: str) -> None:
        (tmp_path / "x.txt").write_text("x")
        with pytest.raises(DatasetError, match=message):
            read(tmp_path / name)

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"holds no dataset: expected turns.jsonl or metadata.jsonl"):
            read(tmp_path)

    @pytest.mark.parametrize(("content", "indent"), [([{"id": "a"}], None), ([{"id": "a"}], 1), ({"schema": "x"}, 1)])
    def test_one_json_document(self, tmp_path: Path, content: Any, indent: int | None) -> None:
        """A report of ``eot bench``, or rows as ``json.dump`` writes them: said once, and not of each line."""
        path = tmp_path / "data.json"
        path.write_text(json.dumps(content, indent=indent))
        problems = Problems()
        with pytest.raises(DatasetError, match=r"data\.json: is one JSON document, where each line must be a row"):
            read_dataset(path, on_problem=problems)
        assert problems == []

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "r.jsonl").write_bytes(b"\xff\xfe\x00")
        problems = Problems()
        with pytest.raises(DatasetError, match="no item is left"):
            read_dataset(tmp_path / "r.jsonl", on_problem=problems)
        assert "is no JSON: it is not UTF-8" in problems[0].message


class TestItems:
    def test_cluster(self) -> None:
        spans = [{"start": 0.5, "end": 1.0}]
        base = {"id": 7, "language": "en", "audio": "a.wav", "silence_spans": spans}
        assert parse_item(base, Path()).cluster == "7"
        assert parse_item({**base, "speaker": "s"}, Path()).cluster == "s"
        assert parse_item({**base, "speaker": "s", "call": "c"}, Path()).cluster == "c"

    def test_labels(self) -> None:
        item = parse_item(row("a", "a.wav", [{"start": 0, "end": 1}, {"start": 2, "end": 3}]), Path())
        assert [item.label(0), item.label(1)] == ["hold", "eot"]

    @pytest.mark.parametrize("value", [-1, "x", float("nan")])
    def test_turn_start(self, value: Any) -> None:
        with pytest.raises(ItemError, match="turn_start must be seconds"):
            parse_item(row("a", "a.wav", [{"start": 5, "end": 6}], turn_start=value), Path())

    def test_spans_in_every_form(self) -> None:
        want = (Span(0.5, 1.0), Span(2.0, 3.0))
        assert parse_spans([{"start": 0.5, "end": 1.0}, {"start": 2.0, "end": 3.0}]) == want
        assert parse_spans([[0.5, 1.0], (2.0, 3.0)]) == want
        assert parse_spans("[[0.5, 1.0], [2.0, 3.0]]") == want
        assert parse_spans({"start": [0.5, 2.0], "end": [1.0, 3.0]}) == want
        with pytest.raises(ItemError, match="is no JSON"):
            parse_spans("[")
        with pytest.raises(ItemError, match="begins before the turn does"):
            parse_spans([[0.5, 1.0]], turn_start=0.6)

    def test_audio_in_every_form(self, tmp_path: Path) -> None:
        pcm = np.arange(-50, 50, dtype=np.int16)
        path = write_wav(tmp_path / "a.wav", pcm)
        forms = [
            "a.wav",
            str(path),
            path.read_bytes(),
            {"bytes": path.read_bytes(), "path": "elsewhere.wav"},
            {"bytes": None, "path": "a.wav"},
            {"array": pcm, "sampling_rate": 16_000},
            {"array": np.stack([pcm, pcm]).astype(np.float32) / 32_768, "sampling_rate": 16_000},
        ]
        for form in forms:
            ref = parse_audio(form, tmp_path)
            recording = ref.open()
            assert np.array_equal(recording.read(0, 1), pcm), form
            assert recording.rate == 16_000
            assert len(ref.checksum()) == 64
            recording.close()
            recording.close()

    @pytest.mark.parametrize(
        "form", [7, {}, {"array": ["x"], "sampling_rate": 16_000}, {"array": [0.1], "sampling_rate": 5}]
    )
    def test_audio_that_is_none(self, form: Any) -> None:
        with pytest.raises((ItemError, ValueError)):
            parse_audio(form, Path())


class TestParquet:
    """Also as Hugging Face has it; needs pyarrow."""

    def rows(self, folder: Path) -> list[dict[str, Any]]:
        rows = []
        for name, parts in TURNS.items():
            pcm, spans = turn(parts)
            encoded = write_wav(folder / "tmp.wav", pcm).read_bytes()
            rows.append(row(name, {"bytes": encoded, "path": None}, spans))
        return rows

    def test_file_hub_folder_and_saved_dataset(self, tmp_path: Path) -> None:
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        table = pa.Table.from_pylist(self.rows(tmp_path)).drop_columns(["split"])
        parquet.write_table(table, tmp_path / "all.parquet")
        hub = tmp_path / "hub" / "data"
        hub.mkdir(parents=True)
        parquet.write_table(table.slice(0, 2), hub / "validation-00000-of-00001.parquet")
        parquet.write_table(table.slice(2), hub / "test-00000-of-00001.parquet")
        saved = tmp_path / "saved" / "validation"
        saved.mkdir(parents=True)
        (saved.parent / "dataset_dict.json").write_text('{"splits": ["validation"]}')
        (saved / "cache-1234.arrow").write_bytes(b"left over from a map()")
        with (
            pa.OSFile(str(saved / "data-00000-of-00001.arrow"), "wb") as sink,
            pa.ipc.new_stream(sink, table.schema) as w,
        ):
            w.write_table(table)
        assert read(tmp_path / "all.parquet") == list(TURNS)
        assert read(tmp_path / "hub", split="validation") == list(TURNS)[:2]
        assert read(tmp_path / "saved", split="validation") == list(TURNS)
        assert not is_predictions(tmp_path / "all.parquet")
        items = read_dataset(tmp_path / "all.parquet", on_problem=Problems())
        result = score_items(items, [toy_model(tmp_path)], UNCHECKED, on_problem=Problems())
        assert result.for_model("toy").score == pytest.approx([p for t in TURNS.values() for *_, p in t], abs=1e-4)

    def test_a_table_without_its_columns(self, tmp_path: Path) -> None:
        """Is told of once, not for each of its rows; of several files, the others are read."""
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        other = pa.table({"id": ["x", "y"], "language": ["en", "en"], "text": ["a", "b"]})
        message = "x.parquet: is no dataset: it has no column audio, silence_spans; the schema asks for id, language, "
        parquet.write_table(other, tmp_path / "x.parquet")
        problems = Problems()
        with pytest.raises(DatasetError, match=re.escape(message)):
            read_dataset(tmp_path / "x.parquet", on_problem=problems)
        assert problems == []
        parquet.write_table(pa.Table.from_pylist(self.rows(tmp_path)), tmp_path / "z.parquet")
        assert len(read_dataset(tmp_path, on_problem=problems)) == len(TURNS)
        (problem,) = problems
        assert message in str(problem)

    def test_broken(self, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
        with pytest.raises(DatasetError, match="is no parquet file that can be read"):
            read(tmp_path / "x.parquet")
        with pytest.raises(DatasetError, match="is no parquet file that can be read"):
            is_predictions(tmp_path / "x.parquet")
        (tmp_path / "x.arrow").write_bytes(b"neither")
        with pytest.raises(DatasetError, match="is no Arrow file that can be read"):
            read(tmp_path / "x.arrow")

    def test_without_pyarrow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        (tmp_path / "x.parquet").write_bytes(b"")
        with pytest.raises(DatasetError, match="need pyarrow: pip install pyarrow, or give JSONL"):
            read(tmp_path / "x.parquet")


class TestPredictions:
    def test_there_and_back(self, tmp_path: Path) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        items = read_dataset(write_known(tmp_path), on_problem=Problems())
        result = score_items(items, [toy_model(tmp_path)], UNCHECKED, on_problem=Problems())
        path = tmp_path / "toy.predictions.parquet"
        write_predictions(path, result, "toy")
        assert is_predictions(path)
        table = parquet.read_table(path)
        assert tuple(table.column_names) == COLUMNS
        first = table.to_pylist()[:2]
        assert [first[0][k] for k in ("id", "span_index", "timestamp", "silence_dur", "label")] == [
            "a-1",
            0,
            0.7,
            0.2,
            "hold",
        ]
        # eot-bench takes the longest silence_dur for the length of the pause.
        assert (first[1]["silence_dur"], first[1]["p_eot"]) == (0.3, None)
        assert read_predictions(path).notes == []
        ours, theirs = result.for_model("toy"), read_predictions(path).pauses
        assert theirs.score == pytest.approx(ours.score)
        assert theirs.duration == pytest.approx(ours.duration)
        assert list(theirs.is_end) == list(ours.is_end)
        assert list(theirs.cluster) == list(ours.cluster) == ["a"] * 4 + ["b"] * 4
        one = benchmark("x", {"toy": ours}, resamples=0).overall["toy"].to_json()
        other = benchmark("x", {"toy": theirs}, resamples=0).overall["toy"].to_json()
        assert one == other

    def test_what_cannot_be_used(self, tmp_path: Path) -> None:
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        line = {"id": "a", "language": "en", "span_index": 0, "timestamp": 0.4, "silence_dur": 0.4, "p_eot": 0.5}
        parquet.write_table(pa.Table.from_pylist([line]), tmp_path / "p.parquet")
        with pytest.raises(DatasetError, match="has no column label"):
            read_predictions(tmp_path / "p.parquet")
        parquet.write_table(pa.Table.from_pylist([{**line, "label": "eot"}]).slice(1), tmp_path / "p.parquet")
        with pytest.raises(DatasetError, match="holds no scores"):
            read_predictions(tmp_path / "p.parquet")
        good = {**line, "label": "eot"}
        parquet.write_table(pa.Table.from_pylist([good]), tmp_path / "p.parquet")
        with pytest.raises(DatasetError, match=r"span 0 of a has no score at 0.2 s: say when it was scored"):
            read_predictions(tmp_path / "p.parquet")
        read = read_predictions(tmp_path / "p.parquet", ScoringOptions(score_at=0.4))
        assert (list(read.pauses.score), list(read.pauses.cluster), read.sources) == ([0.5], ["a"], [None])

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"label": "end"}, 'row 1 cannot be used: label must be "hold" or "eot", got \'end\''),
            ({"label": None}, "label must be"),
            ({"label": "hold"}, "span 0 of a is labelled hold and eot"),
            ({"p_eot": 3.2}, "p_eot must be a probability, 0 to 1, got 3.2"),
            ({"silence_dur": None}, "row 1 cannot be used"),
            ({"silence_dur": -0.1}, "silence_dur must be seconds, got -0.1"),
            ({"span_index": None}, "row 1 cannot be used"),
        ],
    )
    def test_rows_that_make_no_sense(self, tmp_path: Path, bad: dict[str, Any], message: str) -> None:
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        good = {"id": "a", "language": "en", "span_index": 0, "timestamp": 0.4, "silence_dur": 0.2, "p_eot": 0.5}
        rows = [{**good, "label": "eot"}, {**good, "label": "eot", **bad}]
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
        with pytest.raises(DatasetError, match=re.escape(message)):
            read_predictions(tmp_path / "p.parquet")

    def test_scores_every_tenth_of_a_second(self, tmp_path: Path) -> None:
        """As eot-bench's harness writes them."""
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = [
            {"id": "a", "language": "en", "span_index": i, "timestamp": i + t / 10, "silence_dur": t / 10}
            | {"p_eot": (i + t) / 20, "label": "eot" if i else "hold"}
            for i, last in ((0, 5), (1, 9))
            for t in range(last + 1)
        ]
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
        read = read_predictions(tmp_path / "p.parquet", ScoringOptions(rescore_every=0.2))
        pauses = read.pauses
        assert read.notes == []  # there is one recording alone
        assert list(pauses.score) == [0.1, 0.15]
        assert list(pauses.duration) == [0.5, 0.9]
        assert list(pauses.later_at) == [0.4, 0.6, 0.8, 1.0]
        # At 0.4 s what had been said by 0.3 s: what comes in while the model is asked is not heard.
        np.testing.assert_allclose(pauses.later, [[0.15, np.nan, np.nan, np.nan], [0.2, 0.3, 0.4, np.nan]])


def test_json_rows_carry_encoded_audio_as_a_path_only(tmp_path: Path) -> None:
    """JSON has no bytes: a text is a path, whatever it looks like."""
    text = base64.b64encode(b"RIFF").decode()
    one = json.loads(json.dumps(row("a", text, [{"start": 0.5, "end": 1.0}])))
    assert parse_item(one, tmp_path).audio.path == tmp_path / text
