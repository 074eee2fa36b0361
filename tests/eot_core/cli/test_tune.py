from __future__ import annotations

import argparse
import errno
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eot_core.cli import tune

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from known_set import row, turn, write_known, write_rows, write_wav
from models.tiny_onnx import write_mean_model
from two_channel import AUDIO, RATE, demo_calls, recorded_calls, voices

from eot_core import TurnDetector
from eot_core.cli.tune_arguments import model_names
from eot_core.evaluation.cache import ScoreCache
from eot_core.evaluation.predictions import COLUMNS
from eot_core.models.registry import default_model
from eot_core.operating_points import OperatingPoint

Result = tuple[int, str, str]
SHIPPED = ("--model", "smart-turn-v3.2")


def run(*argv: object) -> Result:
    parser = argparse.ArgumentParser()
    tune.add_parser(parser.add_subparsers())
    out, err = io.StringIO(), io.StringIO()
    args = parser.parse_args(["tune", *map(str, argv)])
    return tune.run(args, out=out, err=err), out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "eot-adapters" / "bench"


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calls")
    demo_calls(folder / "en", 6, 8)
    demo_calls(folder / "de", 1, 2)
    return folder


@pytest.fixture(scope="module")
def done(calls: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path, Path]:
    """A run on the package's own recording, in other voices and with other pauses; German has one call only."""
    folder = tmp_path_factory.mktemp("done")
    return (
        run(calls, "-o", folder / "c.json", "--cache", folder / "cache", "--resamples", 50, *SHIPPED),
        folder / "c.json",
        folder,
    )


class TestRecordings:
    def test_written_for_what_there_is_enough_of(self, done: tuple[Result, Path, Path]) -> None:
        (code, out, err), path, _ = done
        assert code == 1
        assert "smart-turn-v3.2, en: 6 calls or speakers, 48 ends, 48 holds" in out
        assert (
            "smart-turn-v3.2, de: too little data: 1 calls or speakers, needs 5; 2 ends of turns, needs 30; 2 pauses "
            "inside turns, needs 40. Nothing is written for it." in out
        )
        assert out.endswith("c.json: written for smart-turn-v3.2 (en)\n")
        assert "50 turns in 7 calls" in err
        data = json.loads(path.read_text())
        assert data["schema"] == "eot-calibration/1"
        assert list(data["models"]["smart-turn-v3.2"]["languages"]) == ["en"]
        assert data["settings"] == {"budget": "cutoff=0.05", "curve": "auto", "seed": 0}

    def test_nothing_is_computed_twice(self, done: tuple[Result, Path, Path], calls: Path, tmp_path: Path) -> None:
        _, path, folder = done
        before = {p: p.stat().st_mtime_ns for p in (folder / "cache").rglob("*") if p.is_file()}
        run(calls, "-o", tmp_path / "again.json", "--cache", folder / "cache", "--resamples", 50, *SHIPPED)
        assert {p: p.stat().st_mtime_ns for p in (folder / "cache").rglob("*") if p.is_file()} == before
        assert (tmp_path / "again.json").read_text() == path.read_text()

    def test_what_was_scored_before_an_interruption_is_kept(
        self, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
    ) -> None:
        put, seen = ScoreCache.put, []

        def interrupted(self: ScoreCache, *args: Any) -> None:
            put(self, *args)
            seen.append(1)
            if len(seen) == 5:
                raise KeyboardInterrupt

        monkeypatch.setattr(ScoreCache, "put", interrupted)
        code, _, err = run(calls / "en", "--language", "en", "-o", tmp_path / "c.json", *SHIPPED)
        assert code == 2
        assert "interrupted; what was heard and scored is kept" in err
        assert len(list(own_cache.glob("speech-*/*.json"))) == 12
        (kept,) = own_cache.glob("smart-turn*.jsonl")
        assert len(kept.read_text().splitlines()) == 5

    def test_a_budget_that_takes_more_pauses_than_there_are(
        self, done: tuple[Result, Path, Path], calls: Path, tmp_path: Path
    ) -> None:
        """The other budgets are tuned for all the same, and it says which of them come near."""
        _, _, folder = done
        path = tmp_path / "c.json"
        code, out, _ = run(
            calls / "en", "--language", "en", "-o", path, "--budget", "cutoff=0.001", "--cache", folder / "cache",
            "--resamples", 0, *SHIPPED,
        )  # fmt: skip
        assert code == tune.EXIT_PARTLY
        assert "smart-turn-v3.2, en: 6 calls or speakers, 48 ends, 48 holds, AUC " in out
        assert "(quick" in out
        assert (
            "  cutoff 0.1 % (asked for): too little data: 48 pauses inside turns, needs 2000. Nearest to it that can "
            "be: cutoff=0.05, cutoff=0.1\n" in out
        )
        assert out.endswith("c.json: written for smart-turn-v3.2 (en, without cutoff 0.1 %)\n")
        row = json.loads(path.read_text())["models"]["smart-turn-v3.2"]["languages"]["en"]
        assert {"budget": "cutoff", "value": 0.001}.items() <= row["missing"][0].items()
        named = {(p["budget"], p["value"]) for p in row["points"]}
        assert {("latency", 0.3), ("cutoff", 0.05), ("cutoff", 0.1)} <= named

    def test_without_a_cache_that_can_be_written(self, calls: Path, tmp_path: Path) -> None:
        """With a model that keeps what its head sees, too."""
        pytest.importorskip("pipecat")
        (tmp_path / "file").touch()
        code, out, err = run(
            calls / "de", "--language", "de", "--model", "eot-open-1-fast-4s", "-o", tmp_path / "c.json",
            "--cache", tmp_path / "file" / "cache",
        )  # fmt: skip
        assert code == 2
        assert "eot-open-1-fast-4s, de: too little data: 1 calls" in out
        assert err.count(" is not kept, so that another run begins anew") == 1
        assert f"{tmp_path / 'file' / 'cache'}'): make room, choose another folder (--cache FOLDER)" in err

    def test_a_disk_that_becomes_full_is_told_once(
        self, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(ScoreCache, "put", full)
        monkeypatch.setattr(Path, "write_text", full)
        code, out, err = run(calls / "de", "--language", "de", "-o", tmp_path / "c.json", *SHIPPED)
        assert (code, "de: too little data: 1 calls" in out) == (2, True)
        assert err.count("No space left on device") == 1

    async def test_the_file_works_in_the_detector(self, done: tuple[Result, Path, Path]) -> None:
        _, path, _ = done
        detector = TurnDetector(model="smart-turn-v3.2", calibration=path, operating_point="patient")
        stream = detector.stream()
        wanted = OperatingPoint("patient", calibration=path).resolve("smart-turn-v3.2", "en")
        assert stream.unlikely_threshold("en-US") == wanted.threshold
        assert stream.endpointing("en-US") == wanted.options
        assert wanted.provenance.startswith("eot tune on ")
        await stream.aclose()

    async def test_the_same_on_both_frameworks(self, done: tuple[Result, Path, Path]) -> None:
        pytest.importorskip("livekit.agents")
        pytest.importorskip("pipecat")
        from livekit.agents import LanguageCode

        import adapters.livekit
        import adapters.pipecat

        _, path, _ = done
        wanted = OperatingPoint("balanced", calibration=path).resolve("smart-turn-v3.2", "en")
        livekit = adapters.livekit.TurnDetector(model="smart-turn-v3.2", calibration=path).stream()
        pipecat = adapters.pipecat.TurnDetector(model="smart-turn-v3.2", calibration=path).stream()
        assert await livekit.unlikely_threshold(LanguageCode("en")) == wanted.threshold
        assert pipecat.unlikely_threshold("en") == wanted.threshold
        assert livekit._core.endpointing("en") == pipecat.endpointing("en") == wanted.options
        await livekit.aclose()
        await pipecat.aclose()

    def test_several_models(self, done: tuple[Result, Path, Path], calls: Path, tmp_path: Path) -> None:
        _, _, folder = done  # smart-turn's scores are there
        toy = write_mean_model(tmp_path / "toy.onnx", ["batch", "samples"])
        code, out, _ = run(
            calls / "en", "--language", "en", "--model", f"{toy}, smart-turn-v3.2", "--budget", "latency=0.6",
            "-o", tmp_path / "c.json", "--resamples", 10, "--curve", "step", "--cache", folder / "cache",
        )  # fmt: skip
        assert code == 0
        data = json.loads((tmp_path / "c.json").read_text())["models"]
        assert set(data) == {"toy", "smart-turn-v3.2"}
        assert all(len(m["sha256"]) == 64 for m in data.values())
        assert "toy, en: 6 calls" in out

    def test_rescored(self, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
        toy = write_mean_model(tmp_path / "toy.onnx", ["batch", "samples"])
        monkeypatch.chdir(calls / "en")
        code, _, _ = run(
            ".", "--language", "en", "--model", toy, "--rescore", "-o", tmp_path / "c.json", "--resamples", 0
        )
        assert code == 0
        (kept,) = own_cache.glob("toy*.jsonl")
        scores = [json.loads(line) for line in kept.read_text().splitlines()]
        moments = sum(len(one["scores"]) for one in scores)
        assert moments > 2 * 96, "48 ends and 48 holds, most of them scored every 0.2 s"
        data = json.loads((tmp_path / "c.json").read_text())
        assert data["sources"]["eot-tune"]["title"] == "eot tune on en (6 calls or speakers)"

    def test_an_answer_that_comes_at_once_is_told_once(self, tmp_path: Path) -> None:
        hello, table, friday = voices(1.0)
        friday = friday[: round(2.92 * RATE)]  # to the end of what is said
        quiet = np.zeros(RATE, dtype=np.int16)
        caller = np.concatenate((quiet, friday, np.zeros(len(table), dtype=np.int16)))
        agent = np.concatenate((hello[:RATE], np.zeros(len(friday), dtype=np.int16), table))
        (tmp_path / "r").mkdir()
        for number in range(2):
            both = np.stack([caller, agent + number], axis=1)
            write_wav(tmp_path / "r" / f"{number}.wav", both.reshape(-1), channels=2)
        _, _, err = run(tmp_path / "r", "--language", "en", "-o", tmp_path / "c.json")
        assert "2 turns in 2 calls" in err
        assert err.count("2 ends are left out: the other side began before") == 1
        assert "its last silence" not in err

    def test_json_beside_them_is_no_labelled_data(self, tmp_path: Path) -> None:
        """Such as the file that was written the last time."""
        folder = tmp_path / "calls"
        demo_calls(folder, 1, 2)
        (folder / "c.json").write_text('{"schema": "eot-calibration/1"}')
        _, out, err = run(folder, "--language", "de", "-o", folder / "c.json", *SHIPPED)
        assert "2 turns in 1 calls" in err
        assert "smart-turn-v3.2, de: too little data" in out

    def test_a_real_call_is_too_little(self, tmp_path: Path) -> None:
        if not (AUDIO / "calls").is_dir():
            pytest.skip("no recorded call next to the checkout")
        code, out, _ = run(AUDIO / "calls", "--language", "en", "-o", tmp_path / "c.json")
        assert code == 2
        assert "too little data: 1 calls or speakers, needs 5" in out
        assert not (tmp_path / "c.json").exists()


def test_recorded_speech(tmp_path: Path) -> None:
    """Real hesitations: the defaults cut many of them off, what was tuned keeps to its budget on held-out calls."""
    (tmp_path / "calls").mkdir()
    recorded_calls(tmp_path / "calls", 6, 5)
    path = tmp_path / "c.json"
    budget = ("--budget", "cutoff=0.1", "--resamples", 100)
    code, out, _ = run(tmp_path / "calls", "--language", "en", "-o", path, *budget, *SHIPPED)
    assert code == 0
    row = json.loads(path.read_text())["models"]["smart-turn-v3.2"]["languages"]["en"]
    point = next(p for p in row["points"] if (p["budget"], p["value"]) == ("cutoff", 0.1))
    assert point["cutoff_rate"] <= 0.13
    assert row["today"]["cutoff_rate"] > 0.2
    assert "against today, with cutoff 10 %: cutoffs -" in out


class TestLabelled:
    def test_rows(self, tmp_path: Path) -> None:
        turns = {f"{who}-{i}": [(0.5, 0.4 + 0.1 * i, 0.2), (0.5, 1.0, 0.8)] for who in "abcdefg" for i in range(6)}
        write_known(tmp_path, turns)
        with (tmp_path / "turns.jsonl").open("a") as file:
            file.write('{"id": "bad", "language": "en"}\nnonsense\n')
        toy = write_mean_model(tmp_path / "toy.onnx", ["batch", "samples"])
        code, out, err = run(
            tmp_path, "--model", toy, "--split", "test", "--no-check", "-o", tmp_path / "c.json", "--resamples", 0
        )
        assert code == 0
        assert "toy, en: 7 calls or speakers, 42 ends, 42 holds" in out
        assert "eot tune: bad: has no audio, silence_spans" in err
        assert "turns.jsonl line 44: is no JSON" in err

    def test_rows_that_name_no_speaker(self, tmp_path: Path) -> None:
        """Each of them counts as a call, whoever spoke: an interval says more than it should."""
        pcm, spans = turn([(0.5, 1.0, 0.0)])
        write_wav(tmp_path / "a.wav", pcm)
        rows = [row(f"r-{i}", "a.wav", spans, speaker=None if i else "ann") for i in range(3)]
        write_rows(tmp_path / "turns.jsonl", rows)
        toy = write_mean_model(tmp_path / "toy.onnx", ["batch", "samples"])
        _, out, err = run(tmp_path, "--model", toy, "--no-check", "-o", tmp_path / "c.json")
        assert "too little data: 3 calls or speakers, needs 5" in out
        assert "eot tune: 2 of 3 rows name neither speaker nor call: each counts as one of its own" in err

    def test_none_can_be_scored(self, tmp_path: Path) -> None:
        write_rows(tmp_path / "turns.jsonl", [row("a-1", "gone.wav", [{"start": 1, "end": 2}])])
        code, _, err = run(tmp_path, "-o", tmp_path / "c.json")
        assert code == 2
        assert "no such file" in err
        assert "none of its pauses could be scored" in err

    def test_not_speech(self, tmp_path: Path) -> None:
        pcm, spans = turn([(0.5, 1.0, 0.0)])
        write_wav(tmp_path / "a.wav", pcm * 0)
        write_rows(tmp_path / "turns.jsonl", [row("a-1", "a.wav", spans)])
        code, _, err = run(tmp_path, "-o", tmp_path / "c.json")
        assert code == 2
        assert "a-1: no speech is heard before its end of turn" in err

    def test_another_run_s_scores(self, tmp_path: Path) -> None:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        path = tmp_path / "x.predictions.parquet"
        pq.write_table(pa.table({name: ["a"] for name in COLUMNS}), path)
        code, _, err = run(path, "-o", tmp_path / "c.json")
        assert code == 2
        assert "holds another run's scores, of which nothing is known" in err

    def test_a_model_that_fails(self, tmp_path: Path) -> None:
        turns = {f"{who}-{i}": [(0.5, 0.4 + 0.1 * i, 0.2), (0.5, 1.0, 0.8)] for who in "abcdefg" for i in range(6)}
        write_known(tmp_path, turns)
        broken = tmp_path / "broken.onnx"
        broken.write_bytes(b"no graph")
        toy = write_mean_model(tmp_path / "toy.onnx", ["batch", "samples"])
        code, out, err = run(
            tmp_path, "--model", f"{toy},{broken}", "--no-check", "-o", tmp_path / "c.json", "--resamples", 0
        )
        assert code == 1
        assert out.endswith("c.json: written for toy (en)\n")
        assert "eot tune: broken: " in err


def test_where_no_model_is_named_it_is_the_one_that_runs() -> None:
    assert model_names(None) == [default_model().name]
    assert model_names(" a, b,, ") == ["a", "b"]


class TestRefused:
    @pytest.mark.parametrize("name", ["turn-detector-v1-mini", "v1-mini", "smart-turn-v3.2,v1-mini"])
    def test_v1_mini(self, name: str, calls: Path, tmp_path: Path) -> None:
        code, _, err = run(calls, "--model", name, "-o", tmp_path / "c.json")
        assert code == 2
        assert "may run only inside LiveKit Agents (LiveKit Model License)" in err
        assert err.endswith("; its scores train, tune and calibrate nothing\n")
        assert not (tmp_path / "c.json").exists()

    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            (["--budget", "5%"], "give cutoff=SHARE"),
            (["--model", "vad"], "--model vad: there is nothing to tune"),
            (["--model", "nonsense"], "model 'nonsense' is unknown"),
            (["--model", ","], "no model is given"),
            (["--language", "multi"], "--language 'multi' names no language"),
            (["--split", "test"], "--split counts for labelled data only"),
            (["--resamples", "-1"], "--resamples must be 0 or more, got -1"),
            (["--caller-channel", "-1"], "--caller-channel must be 0 or more"),
            (["-o", "/no/such/folder/c.json"], "--output: there is no folder /no/such/folder"),
            (["-o", "/"], "--output: / is a folder: name a file"),
        ],
    )
    def test_arguments(self, argv: list[str], message: str, calls: Path, tmp_path: Path) -> None:
        code, _, err = run(calls, "-o", tmp_path / "c.json", *argv)
        assert code == 2
        assert message in err

    def test_no_dataset(self, tmp_path: Path) -> None:
        assert "no such file or folder" in run(tmp_path / "gone", "-o", tmp_path / "c.json")[2]
        (tmp_path / "empty").mkdir()
        assert "holds neither recordings (" in run(tmp_path / "empty", "-o", tmp_path / "c.json")[2]

    def test_recordings_without_turns(self, tmp_path: Path) -> None:
        pcm, _ = turn([(0.5, 1.0, 0.0)])
        (tmp_path / "r").mkdir()
        write_wav(tmp_path / "r" / "mono.wav", pcm)
        code, _, err = run(tmp_path / "r", "--language", "en", "-o", tmp_path / "c.json")
        assert code == 2
        assert "mono.wav: has one channel" in err
        assert "no turn was found in any recording" in err

    def test_a_model_that_cannot_be_loaded(self, calls: Path, tmp_path: Path) -> None:
        broken = tmp_path / "broken.onnx"
        broken.write_bytes(b"no graph")
        code, _, err = run(calls / "de", "--language", "de", "--model", broken, "-o", tmp_path / "c.json")
        assert code == 2
        assert "broken: " in err


class TestDecisionLogs:
    def test_too_little(self, tmp_path: Path) -> None:
        from test_tuning_logs import Log

        log = Log(tmp_path)
        log.asked(1.0)
        log.line("speech", 1.6)
        code, out, err = run(log.path, "-o", tmp_path / "c.json", "--rescore", *SHIPPED)
        assert code == 2
        assert "eot tune: --rescore says nothing of decision logs: it is passed over" in err
        assert "smart-turn-v3.2, en: too little data: 1 calls or speakers, needs 5" in out
        assert "scoring: 1 of 1" in err

    def test_nothing_can_be_scored(self, tmp_path: Path) -> None:
        from test_tuning_logs import Log

        log = Log(tmp_path)
        log.asked(1.0)
        log.line("speech", 1.6)
        (tmp_path / "s1-1.wav").unlink()
        code, _, err = run(tmp_path, "-o", tmp_path / "c.json")
        assert code == 2
        assert "none of its pauses could be scored" in err
