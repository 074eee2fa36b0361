from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

import pytest

from eot_core.cli import bench

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from known_set import TURNS, row, write_known, write_rows
from models.tiny_onnx import write_mean_model


def run(*argv: object) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    bench.add_parser(parser.add_subparsers())
    out, err = io.StringIO(), io.StringIO()
    args = parser.parse_args(["bench", *map(str, argv)])
    return bench.run(args, out=out, err=err), out.getvalue(), err.getvalue()


@pytest.fixture
def known(tmp_path: Path) -> Path:
    return write_known(tmp_path)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


QUICK = ("--no-check", "--resamples", "20")


class TestDone:
    def test_figures_json_and_cache(self, known: Path, tmp_path: Path) -> None:
        toy = write_mean_model(tmp_path / "toy.onnx", ["batch", "samples"])
        models = f"{toy},vad,elapsed"
        report = tmp_path / "out.json"
        code, out, err = run(known, "--models", models, "--split", "test", "--json", report, *QUICK)
        assert (code, err) == (0, "scoring: 4 of 4 (0 s)\n") or err.startswith("scoring: ")
        assert "all: 4 ends, 4 holds, 2 speakers or calls" in out
        data = json.loads(report.read_text())
        assert data["schema"] == "eot-bench-report/1"
        assert list(data["models"]) == ["toy", "vad", "elapsed"]
        assert data["settings"]["split"] == "test"
        assert data["settings"]["models"]["vad"] is None
        assert data["models"]["vad"]["families"][0]["budgets"][0]["best"]["cutoffs"] == 3
        # Scores of the toy were kept; a second run gives the same to the last digit.
        kept = list((tmp_path / "xdg" / "eot-adapters" / "bench").glob("toy-*.jsonl"))
        assert len(kept[0].read_text().splitlines()) == 4
        again = tmp_path / "again.json"
        run(known, "--models", models, "--split", "test", "--json", again, *QUICK)
        assert again.read_text() == report.read_text()

    def test_rescoring_and_limit(self, known: Path) -> None:
        code, out, _ = run(known, "--models", "elapsed", "--rescore", "--limit", 3, "--no-cache", *QUICK)
        assert code == 0
        assert "all: 3 ends, 3 holds" in out
        assert "scored again as the pause grows" in out

    def test_predictions_there_and_back(self, known: Path, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        code, out, _ = run(known, "--models", "elapsed", "--predictions", tmp_path / "p", *QUICK)
        assert code == 0
        code, again, _ = run(tmp_path / "p" / "elapsed.predictions.parquet", *QUICK)
        assert code == 0
        line = next(x for x in out.splitlines() if x.startswith("  elapsed"))
        assert line.split()[:2] == next(x for x in again.splitlines() if x.startswith("  elapsed")).split()[:2]

    def test_report_and_plots(self, known: Path, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        toy = write_mean_model(tmp_path / "toy.onnx", ["batch", "samples"])
        html = tmp_path / "out.html"
        code, _, _ = run(known, "--models", toy, "--html", html, "--plots", tmp_path / "plots", *QUICK)
        assert code == 0
        assert "Turn detection on turns.jsonl" in html.read_text()
        assert (tmp_path / "plots" / "frontier.png").exists()

    def test_a_model_that_cannot_be_loaded(self, known: Path, tmp_path: Path) -> None:
        (tmp_path / "bad.onnx").write_bytes(b"no graph")
        code, out, err = run(known, "--models", f"{tmp_path / 'bad.onnx'},vad", *QUICK)
        assert code == bench.EXIT_PARTLY
        assert "eot bench: bad: onnxruntime cannot load" in err
        assert "vad" in out

    def test_bad_items_are_named_and_the_rest_is_measured(self, known: Path) -> None:
        rows = [json.loads(line) for line in known.read_text().splitlines()]
        write_rows(known, [row("x", "none.wav", [{"start": 1, "end": 2}]), *rows])
        code, out, err = run(known, "--models", "elapsed", *QUICK)
        assert code == 0
        assert "eot bench: x: " in err
        assert "no such file" in err
        assert "all: 4 ends, 4 holds" in out


class TestFailed:
    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            (("none.jsonl",), "none.jsonl: no such file or folder"),
            (
                ("KNOWN", "--models", "turn-detector-v1-mini"),
                "may run only inside LiveKit Agents (LiveKit Model License)",
            ),
            (("KNOWN", "--models", "gpt"), "model 'gpt' is unknown"),
            (("KNOWN", "--models", ","), "no model is given"),
            (("KNOWN", "--split", "dev"), "no item is left to use; its splits are test"),
            (("KNOWN", "--language", "multi"), "--language 'multi' names no language"),
            (("KNOWN", "--limit", "0"), "--limit must be 1 or more, got 0"),
            (("KNOWN", "--resamples", "-1"), "--resamples must be 0 or more, got -1"),
            (("KNOWN", "--seed", "-1"), "--seed must be 0 or more"),
            (("KNOWN", "--json", "/no/such/folder/x.json"), "--json: there is no folder /no/such/folder"),
            (("KNOWN", "--score-at", "-1"), "score_at must be 0 or more seconds"),
            (("KNOWN", "--score-at", "9", "--models", "vad"), "none of its pauses could be scored"),
        ],
    )
    def test_said_in_one_line(self, known: Path, argv: tuple[str, ...], message: str) -> None:
        code, out, err = run(*(str(known) if a == "KNOWN" else a for a in argv), "--no-check")
        assert (code, out) == (bench.EXIT_FAILED, "")
        assert message in err.splitlines()[-1]

    def test_no_model_is_left(self, known: Path, tmp_path: Path) -> None:
        (tmp_path / "bad.onnx").write_bytes(b"no graph")
        code, _, err = run(known, "--models", tmp_path / "bad.onnx", *QUICK)
        assert code == bench.EXIT_FAILED
        assert "bad: onnxruntime cannot load" in err

    def test_interrupted(self, known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("eot_core.evaluation.scoring.score_items", stop)
        code, _, err = run(known, "--models", "elapsed")
        assert code == bench.EXIT_FAILED
        assert "interrupted; what was scored is kept: run it again to go on" in err
        assert "kept" not in run(known, "--models", "elapsed", "--no-cache")[2]


def test_the_known_set_has_both_kinds() -> None:
    assert {len(parts) for parts in TURNS.values()} == {2}
