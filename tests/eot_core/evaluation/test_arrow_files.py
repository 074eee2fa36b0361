"""Parquet and Arrow files with audio inside: it is not in memory before it is asked for."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_set import TURNS, UNCHECKED, Problems, row, toy_model, turn, write_rows, write_wav

from eot_core.evaluation.dataset import read_dataset
from eot_core.evaluation.items import Item
from eot_core.evaluation.scoring import score_items

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

SCORES = [p for parts in TURNS.values() for *_, p in parts]


def save(path: Path, rows: list[dict[str, Any]], *, at_once: int = 100) -> Path:
    """As ``datasets`` does: batches of an Arrow file, row groups of a parquet file."""
    table = pa.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=at_once)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=at_once)
    return path


def known_rows(folder: Path, *, as_paths: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    rows = []
    for name, parts in TURNS.items():
        pcm, spans = turn(parts)
        path = write_wav(folder / f"{name}.wav", pcm)
        here = name in as_paths
        rows.append(row(name, {"bytes": None if here else path.read_bytes(), "path": f"{name}.wav"}, spans))
        if not here:
            path.unlink()
    return rows


def read(path: Path) -> list[Item]:
    problems = Problems()
    items = read_dataset(path, on_problem=problems)
    assert problems == []
    return items


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
class TestBoth:
    @pytest.mark.parametrize("at_once", [1, 3, 100])
    @pytest.mark.parametrize("as_paths", [(), ("a-2", "b-1"), tuple(TURNS)], ids=["bytes", "both", "paths"])
    def test_bytes_and_paths(self, name: str, as_paths: tuple[str, ...], at_once: int, tmp_path: Path) -> None:
        items = read(save(tmp_path / name, known_rows(tmp_path, as_paths=as_paths), at_once=at_once))
        result = score_items(items, [toy_model(tmp_path)], UNCHECKED, on_problem=Problems())
        assert result.for_model("toy").score == pytest.approx(SCORES, abs=1e-4)
        assert [item.audio.encoded is None for item in items] == [item.id in as_paths for item in items]

    def test_audio_is_not_in_memory(self, name: str, tmp_path: Path) -> None:
        encoded = write_wav(tmp_path / "x.wav", np.zeros(500_000, np.int16)).read_bytes()
        spans = [{"start": 1.0, "end": 2.0}]
        path = save(tmp_path / name, [row(f"a-{i}", {"bytes": encoded, "path": None}, spans) for i in range(40)])
        read(path)  # what is imported does not count
        tracemalloc.start()
        items = read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(items) == 40
        assert peak < len(encoded)  # of one recording

    def test_in_any_order(self, name: str, tmp_path: Path) -> None:
        items = read(save(tmp_path / name, known_rows(tmp_path), at_once=1))
        sums = {item.id: item.audio.checksum() for item in items}
        assert len(set(sums.values())) == len(items)
        assert {item.id: item.audio.checksum() for item in reversed(items)} == sums


def test_what_is_before_the_end_of_an_arrow_file_that_was_cut_short(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.arrow", known_rows(tmp_path), at_once=1).read_bytes()
    (tmp_path / "state.json").write_text("{}")
    (tmp_path / "whole.arrow").unlink()
    (tmp_path / "data-00000-of-00001.arrow").write_bytes(whole[: len(whole) * 3 // 4])
    problems = Problems()
    items = read_dataset(tmp_path, on_problem=problems)
    (problem,) = problems
    assert "is no Arrow file that can be read" in problem.message
    result = score_items(items, [toy_model(tmp_path)], UNCHECKED, on_problem=problems)
    assert result.for_model("toy").score == pytest.approx(SCORES[: 2 * len(items)], abs=1e-4)
    assert 2 <= len(items) < len(TURNS)
    assert len(problems) == 1


def test_an_arrow_file_that_is_gone(tmp_path: Path) -> None:
    path = save(tmp_path / "x.arrow", known_rows(tmp_path))
    items = read(path)
    path.unlink()
    problems = Problems()
    assert score_items(items, [toy_model(tmp_path)], UNCHECKED, on_problem=problems).pauses == []
    assert all("audio: cannot be read" in problem.message for problem in problems)
    assert len(problems) == len(items)


class TestScoresBesideThem:
    """``--predictions`` may write into the folder of the dataset."""

    def test_are_no_rows(self, tmp_path: Path) -> None:
        rows = known_rows(tmp_path)
        save(tmp_path / "test-00000-of-00001.parquet", rows)
        for name in ("toy.predictions.parquet", "predictions.parquet"):
            save(tmp_path / name, [{"id": "a-1", "language": "en", "p_eot": 0.5}])
        assert [item.id for item in read(tmp_path)] == [r["id"] for r in rows]

    def test_alone_are_no_dataset(self, tmp_path: Path) -> None:
        from eot_core.evaluation.dataset import DatasetError

        save(tmp_path / "toy.predictions.parquet", [{"id": "a-1", "language": "en", "p_eot": 0.5}])
        with pytest.raises(DatasetError, match=r"holds scores alone: name one of toy\.predictions\.parquet$"):
            read(tmp_path)
        write_rows(tmp_path / "turns.jsonl", [row("a", "a.wav", [{"start": 1.0, "end": 2.0}])])
        assert len(read(tmp_path)) == 1


def test_a_report_reads_each_part_of_the_audio_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its errors are in the order of their scores, the recordings in that of the file."""
    pytest.importorskip("matplotlib")
    from eot_core.evaluation import arrow_files
    from eot_core.evaluation.benchmark import from_scored
    from eot_core.evaluation.report import write_report

    rows = []
    for i in range(12):
        pcm, spans = turn([(0.5, 1.5, 0.99 - (7 * i % 12) / 100), (0.5, 1.0, 0.1)])
        rows.append(row(f"s{i}-1", {"bytes": write_wav(tmp_path / "x.wav", pcm).read_bytes(), "path": None}, spans))
    items = read(save(tmp_path / "x.parquet", rows, at_once=2))
    scored = score_items(items, [toy_model(tmp_path)], UNCHECKED, on_problem=Problems())
    opened = []
    pyarrow = arrow_files._pyarrow
    monkeypatch.setattr(arrow_files, "_pyarrow", lambda module: (opened.append(module), pyarrow(module))[1])
    write_report(tmp_path / "r.html", from_scored("d", scored, resamples=0), scored)
    assert (tmp_path / "r.html").read_text().count("data-clip=") == 12
    assert len(opened) <= 6
