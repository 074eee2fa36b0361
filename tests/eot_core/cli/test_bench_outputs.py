"""What ``eot bench`` writes: what it may take the place of, and what is left of a run whose disk becomes full."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import sys
from pathlib import Path

import pytest

from eot_core.cli import bench
from eot_core.evaluation import output_file
from eot_core.evaluation.predictions import COLUMNS

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from known_set import write_known
from models.tiny_onnx import write_mean_model

Figure = pytest.importorskip("matplotlib.figure").Figure
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "data").mkdir()
    return write_known(tmp_path / "data")


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """Where everything is written to."""
    (tmp_path / "to").mkdir()
    return tmp_path / "to"


def run(known: Path, to: Path, *more: object) -> tuple[int, str, str]:
    """Everything that can be written is, into ``to``."""
    parser = argparse.ArgumentParser()
    bench.add_parser(parser.add_subparsers())
    out, err = io.StringIO(), io.StringIO()
    toy = write_mean_model(known.parent / "toy.onnx", ["batch", "samples"])
    argv = ["bench", known, "--models", f"{toy},vad", "--no-check", "--resamples", 0, "--audio", "link"]
    argv += ["--json", to / "r.json", "--html", to / "r.html", "--predictions", to, "--plots", to, *more]
    args = parser.parse_args(list(map(str, argv)))
    return bench.run(args, out=out, err=err), out.getvalue(), err.getvalue()


def all_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


WRITTEN = {"r.json", "r.html", "toy.predictions.parquet", "vad.predictions.parquet", "frontier.png", "budgets.png"}


def test_its_own_files_are_replaced(known: Path, to: Path) -> None:
    code, _, err = run(known, to)
    assert (code, "eot bench:" in err) == (0, False)
    first = all_of(to)
    assert set(first) - {name for name in first if name.startswith("r_audio/")} == WRITTEN
    assert run(known, to)[0] == 0
    assert all_of(to) == first


@pytest.mark.parametrize("name", sorted(WRITTEN))
@pytest.mark.parametrize("kind", ["text", "json", "plot", "parquet"])
def test_what_somebody_else_wrote_stays(known: Path, to: Path, name: str, kind: str) -> None:
    path = to / name
    if kind == "plot":
        Figure().savefig(path, format="png")
    elif kind == "parquet":  # as eot-bench's own harness writes it
        pq.write_table(pa.table({column: pa.array([], pa.string()) for column in COLUMNS}), path)
    else:
        path.write_text('{"schema": "eot-calibration/1"}' if kind == "json" else "<title>Mine</title>")
    before = path.read_bytes()
    code, out, err = run(known, to)
    assert (code, out) == (bench.EXIT_FAILED, "")
    assert f"{path} is there, and is nothing that this command wrote: name another" in err
    assert "scoring" not in err
    assert all_of(to) == {name: before}


def test_recordings_beside_the_report_stay(known: Path, to: Path) -> None:
    (to / "r_audio").mkdir()
    for number in range(8):
        (to / "r_audio" / f"{number}.wav").write_bytes(b"mine")
    assert run(known, to)[0] == 0
    assert {(to / "r_audio" / f"{number}.wav").read_bytes() for number in range(8)} == {b"mine"}
    clips = [name for name, content in all_of(to).items() if name.startswith("r_audio/") and content != b"mine"]
    assert clips
    assert all(json.dumps(clip) in (to / "r.html").read_text() for clip in clips)


def test_one_file_for_both(known: Path, to: Path) -> None:
    code, out, err = run(known, to, "--json", to / "r.html")
    assert (code, out) == (bench.EXIT_FAILED, "")
    assert f"--html: {to / 'r.html'} is where --json is written to: name another file" in err


def test_a_place_for_audio_that_is_a_file(known: Path, to: Path) -> None:
    (to / "r_audio").write_text("mine")
    code, out, err = run(known, to)
    assert (code, out) == (bench.EXIT_FAILED, "")
    assert f"--html: {to / 'r_audio'} is no folder" in err
    assert "scoring" not in err


class TestADiskThatBecomesFull:
    """The figures are printed, what still fits is written, and what was there before stays whole."""

    @pytest.mark.parametrize("name", ["r.json", "r.html", "toy.predictions.parquet", "budgets.png"])
    def test_one_file_does_not_fit(self, known: Path, to: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run(known, to)[0] == 0
        before = all_of(to)
        for other in WRITTEN - {name}:
            (to / other).unlink()
        replace = output_file._replace

        def full(target: Path, data: bytes) -> None:
            if target.name == name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            replace(target, data)

        monkeypatch.setattr(output_file, "_replace", full)
        code, out, err = run(known, to)
        assert code == bench.EXIT_PARTLY
        assert "all: 4 ends, 4 holds" in out
        (said,) = [line for line in err.splitlines() if line.startswith("eot bench:")]
        assert said == f"eot bench: [Errno 28] No space left on device: '{to / name}'"
        assert all_of(to) == before

    def test_interrupted_while_writing(self, known: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run(known, to)[0] == 0
        before = all_of(to)

        def interrupt(fd: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(output_file.os, "fsync", interrupt)
        code, out, err = run(known, to)
        assert code == bench.EXIT_FAILED
        assert "all: 4 ends, 4 holds" in out
        assert "interrupted" in err
        assert all_of(to) == before
