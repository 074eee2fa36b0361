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
        lines = [x.split() for x in out.splitlines() if x.startswith("  elapsed")]
        assert lines == [x.split() for x in again.splitlines() if x.startswith("  elapsed")]
        assert len(lines) == 3
        assert "  vad " in again  # silence alone is always there to be compared with

    def test_predictions_of_a_language_and_scored_again(self, known: Path, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        rows = [json.loads(line) for line in known.read_text().splitlines()]
        write_rows(known, [{**r, "language": "de-CH" if i else "en", "source": "s" * i} for i, r in enumerate(rows)])
        folder, once, again = tmp_path / "p", tmp_path / "once.json", tmp_path / "again.json"
        some = ("--rescore", "--language", "de", "--resamples", "20")
        assert (
            run(known, "--models", "elapsed,vad", "--no-check", "--predictions", folder, "--json", once, *some)[0] == 0
        )
        assert run(folder / "elapsed.predictions.parquet", "--json", again, *some)[0] == 0
        one, other = (json.loads(path.read_text()) for path in (once, again))
        for part in ("models", "groups", "group_differences"):
            assert one[part] == other[part]
        assert list(one["groups"]) == ["source"]
        code, _, err = run(folder / "elapsed.predictions.parquet", "--language", "fr")
        assert (code, "no pause is left to use" in err) == (2, True)

    def test_predictions_of_eot_bench_name_no_speakers(self, known: Path, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        path = tmp_path / "p" / "elapsed.predictions.parquet"
        run(known, "--models", "elapsed", "--predictions", path.parent, *QUICK)
        parquet.write_table(parquet.read_table(path).replace_schema_metadata(None), path)
        code, out, _ = run(path, *QUICK)
        assert (code, "all: 4 ends, 4 holds, 4 speakers or calls" in out) == (0, True)
        assert "note: 4 of 4 recordings without a speaker or call: each counts as one of its own" in out

    def test_whoever_reads_the_table_hangs_up(self, known: Path, tmp_path: Path) -> None:
        """``eot bench ... | head -1``: the files are there all the same."""

        class HungUp(io.StringIO):
            def write(self, text: str) -> int:
                raise BrokenPipeError(32, "Broken pipe")

        parser = argparse.ArgumentParser()
        bench.add_parser(parser.add_subparsers())
        argv = ["bench", str(known), "--models", "elapsed", "--json", str(tmp_path / "out.json"), *QUICK]
        err = io.StringIO()
        with pytest.raises(BrokenPipeError):
            bench.run(parser.parse_args(argv), out=HungUp(), err=err)
        assert "Broken pipe" not in err.getvalue()
        assert json.loads((tmp_path / "out.json").read_text())["models"]["elapsed"]["ends"] == 4

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
        assert "note: 1 item was left out, in whole or in part: standard error, --json and --html say why" in out


class TestFailed:
    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            (("none.jsonl",), "none.jsonl: no such file or folder"),
            (("",), "DATASET is empty: name a file or a folder"),
            (
                ("livekit/eot-bench-data",),
                "no such file or folder: download it first (hf download --repo-type dataset livekit/eot-bench-data "
                "--local-dir eot-bench-data)",
            ),
            (("https://huggingface.co/datasets/a/b",), "hf download --repo-type dataset a/b --local-dir b)"),
            (
                ("KNOWN", "--models", "turn-detector-v1-mini"),
                "may run only inside LiveKit Agents (LiveKit Model License)",
            ),
            (("KNOWN", "--models", "gpt"), "model 'gpt' is unknown"),
            (("KNOWN", "--models", ","), "no model is given"),
            (("KNOWN", "--split", "dev"), "no item is left to use; its splits are test"),
            (("KNOWN", "--language", "multi"), "--language 'multi' names no language"),
            (("KNOWN", "--models", "vad,turn-detector-v1"), "--models turn-detector-v1: runs in the cloud"),
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

    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            (("--json", "FOLDER"), "--json: {tmp} is a folder: name a file"),
            (("--html", "FOLDER"), "--html: {tmp} is a folder: name a file"),
            (("--json", "KNOWN"), "--json: {known} is the dataset: name another file"),
            (("--plots", "KNOWN"), "--plots: {known} is no folder, and cannot be made one"),
            (("--predictions", "KNOWN"), "--predictions: {known} is no folder, and cannot be made one"),
            (("--channel", "-1"), "--channel must be 0 or more, got -1"),
        ],
    )
    def test_before_anything_is_scored(self, known: Path, tmp_path: Path, argv: tuple[str, ...], message: str) -> None:
        """An hour of scoring does not end in an output that cannot be written."""
        before = known.read_text()
        names = {"FOLDER": tmp_path, "KNOWN": known}
        code, out, err = run(known, "--models", "elapsed", *(names.get(a, a) for a in argv), *QUICK)
        assert (code, out) == (bench.EXIT_FAILED, "")
        assert err.startswith(f"eot bench: {message.format(tmp=tmp_path, known=known)}")
        assert known.read_text() == before

    @pytest.mark.parametrize(
        "argv", [("--split", "test"), ("--limit", "1"), ("--channel", "0"), ("--models", "vad")], ids=" ".join
    )
    def test_scores_alone_cannot_be_scored(self, known: Path, tmp_path: Path, argv: tuple[str, ...]) -> None:
        pytest.importorskip("pyarrow")
        run(known, "--models", "elapsed", "--predictions", tmp_path / "p", *QUICK)
        code, out, err = run(tmp_path / "p" / "elapsed.predictions.parquet", *argv)
        assert (code, out) == (bench.EXIT_FAILED, "")
        assert f"{argv[0]} needs a dataset with its audio" in err

    @pytest.mark.parametrize(("only", "lacking"), [("holds", "ends of turns"), ("ends", "holds (pauses of 0.2 to 5 s")])
    def test_holds_alone_or_ends_alone(self, tmp_path: Path, only: str, lacking: str) -> None:
        """There is nothing to measure: what was counted is written, and the exit code says that it is no result."""
        turns = {"a-1": [(0.5, 0.3, 0.1), (0.5, 0.1, 0.9)]} if only == "holds" else {"a-1": [(0.5, 1.0, 0.9)]}
        lacking += "" if only == "holds" else " inside a turn)"
        known, report = write_known(tmp_path, turns), tmp_path / "out.json"
        code, out, err = run(known, "--models", "elapsed,vad", "--json", report, *QUICK)
        assert code == bench.EXIT_FAILED
        assert err.splitlines()[-1] == (
            f"eot bench: {known}: there are no {lacking} among the pauses that could be scored, "
            "so that no figure can be given"
        )
        assert ("0 ends, 1 holds" if only == "holds" else "1 ends, 0 holds") in out
        assert json.loads(report.read_text())["models"]["elapsed"]["families"] == []

    def test_no_model_is_left(self, known: Path, tmp_path: Path) -> None:
        (tmp_path / "bad.onnx").write_bytes(b"no graph")
        code, _, err = run(known, "--models", tmp_path / "bad.onnx", *QUICK)
        assert code == bench.EXIT_FAILED
        assert err.count("bad: onnxruntime cannot load") == 1
        assert err.splitlines()[-1] == f"eot bench: {known}: no model could be measured"

    def test_neither_a_model_nor_a_pause_is_left(self, tmp_path: Path) -> None:
        """What could be measured of the models that are left is nothing either."""
        (tmp_path / "bad.onnx").write_bytes(b"no graph")
        rows = [row("x", "none.wav", [{"start": 1, "end": 2}])]
        known = write_rows(tmp_path / "turns.jsonl", rows)
        code, out, err = run(known, "--models", f"{tmp_path / 'bad.onnx'},vad", *QUICK)
        assert (code, out) == (bench.EXIT_FAILED, "")
        assert [line.split(": ")[1] for line in err.splitlines() if line.startswith("eot bench")] == [
            "x",
            "bad",
            str(known),
        ]
        assert err.splitlines()[-1].endswith("none of its pauses could be scored")

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
