"""EOT_DECISION_LOG: what is written, that it stays within bounds, and that nothing of it reaches a stream."""

from __future__ import annotations

import json
import logging
import os
import resource
import stat
import subprocess
import sys
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import RecordingTransport, fake_spec

from eot_core import DetectorStream, FallbackOptions, OperatingPoint, Thresholds
from eot_core.clock import ManualClock
from eot_core.decision_log import DecisionLog
from eot_core.effects import Route
from eot_core.session import DetectorSession
from eot_core.settings import SessionOptions
from eot_core.transports.base import Answer, Calibration, Transport

NOISE = (np.random.default_rng(0).standard_normal(16_000) * 300).astype(np.int16)


class Rig:
    """A stream with a local model, whose transports and clock are the test's."""

    def __init__(self, *, cloud: bool = False, name: str = "fake-model", point: OperatingPoint | None = None) -> None:
        self.clock = ManualClock(100.0)
        self.transports: dict[Route, RecordingTransport] = {}
        spec = fake_spec(name=name, sha256="ab" * 32)
        model = "cloud-model" if cloud else spec.name
        session = DetectorSession(
            SessionOptions("cloud-model" if cloud else None, spec, 1.0, FallbackOptions(), operating_point=point),
            Thresholds(model, None if cloud else Calibration({"en": 0.4, "de": 0.3}, 0.5)),
            session_id="eot_abc",
        )
        self.stream = DetectorStream(session, self.make, clock=self.clock, provider="tests", prediction_timeout=1.0)

    def make(self, route: Route) -> Transport:
        self.transports[route] = RecordingTransport()
        return self.transports[route]

    def answer(self, probability: float, **times: float) -> None:
        transport = self.transports[Route.LOCAL]
        assert transport.sink is not None
        transport.sink.on_answer(transport.requests[-1].request_id, Answer(probability, **times))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def entries(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EOT_DECISION_LOG", str(tmp_path / "log.jsonl"))
    monkeypatch.delenv("EOT_DECISION_LOG_AUDIO", raising=False)
    return tmp_path / "log.jsonl"


async def test_off_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EOT_DECISION_LOG", raising=False)
    monkeypatch.setenv("EOT_DECISION_LOG_AUDIO", str(tmp_path / "audio"))
    rig = Rig()
    rig.stream.push_audio(NOISE)
    rig.stream.predict()
    rig.answer(0.8)
    await rig.stream.aclose()
    assert entries(tmp_path) == []


async def test_a_conversation(path: Path) -> None:
    rig = Rig()
    rig.stream.unlikely_threshold("de-AT")
    rig.stream.push_audio(NOISE)
    rig.stream.cancel()
    rig.stream.cancel()  # every onset is told, one line is enough
    future = rig.stream.predict()
    rig.clock.advance(0.25)
    rig.answer(0.8, queue_time=0.01, inference_time=0.02)
    assert future.done()
    rig.clock.advance(0.1)
    rig.stream.flush("turn committed")
    rig.stream.flush()
    await rig.stream.aclose()
    speech, prediction, ended = rows(path)
    assert speech["kind"] == "speech"
    assert {k: v for k, v in prediction.items() if k != "time"} == {
        "schema": "eot-decision-log/1",
        "kind": "prediction",
        "at": 100.25,
        "stream": "eot_abc",
        "request": "eot_abc-1",
        "asked_at": 100.0,
        "model": "fake-model",
        "sha256": "ab" * 32,
        "source": "local",
        "outcome": "answered",
        "reason": None,
        "probability": 0.8,
        "threshold": 0.3,
        "language": "de",
        "queue_time": 0.01,
        "network_time": 0.0,
        "inference_time": 0.02,
        "detection_delay": 0.25,
        "min_delay": None,
        "max_delay": None,
        "exponent": None,
        "audio": None,
    }
    assert prediction["time"].endswith("+00:00")
    assert (ended["kind"], ended["reason"], ended["at"]) == ("turn_ended", "turn committed", 100.35)
    assert mode(path) == 0o600


async def test_every_outcome_has_its_line(path: Path) -> None:
    rig = Rig()
    rig.stream.predict()  # no audio yet
    rig.stream.push_audio(NOISE)
    rig.stream.predict()
    rig.stream.predict()
    rig.stream.cancel()
    rig.stream.predict()
    rig.clock.advance(1.1)
    await rig.stream.aclose()
    said = [(r["outcome"], r["reason"], r["asked_at"]) for r in rows(path) if r["kind"] == "prediction"]
    assert said == [
        ("default", "no_audio", None),
        ("superseded", "superseded", 100.0),
        ("cancelled", "speech_resumed", 100.0),
        ("default", "timeout", 100.0),
    ]


async def test_a_fallback_and_the_model_that_took_over(path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("EOT_DECISION_LOG_AUDIO", str(tmp_path / "audio"))
    rig = Rig(cloud=True)
    rig.stream.push_audio(NOISE)
    rig.stream.predict()
    sink = rig.transports[Route.CLOUD].sink
    assert sink is not None
    sink.on_failed("http_503", retryable=False)
    rig.answer(0.6)
    await rig.stream.aclose()
    fallback, prediction = rows(path)
    assert {k: fallback[k] for k in ("kind", "from", "to", "reason", "recovered")} == {
        "kind": "fallback",
        "from": "cloud-model",
        "to": "fake-model",
        "reason": "http_503",
        "recovered": False,
    }
    assert (prediction["model"], prediction["sha256"]) == ("fake-model", "ab" * 32)
    assert len(list((tmp_path / "audio").iterdir())) == 1


async def test_delays_of_an_operating_point(path: Path) -> None:
    point = OperatingPoint(max_cutoff_rate=0.05)
    rig = Rig(name="smart-turn-v3.2", point=point)
    rig.stream.push_audio(NOISE)
    rig.stream.predict()
    rig.answer(0.6)
    await rig.stream.aclose()
    wanted = point.resolve("smart-turn-v3.2", "en")
    (row,) = rows(path)
    assert (row["threshold"], row["max_delay"]) == (wanted.threshold, wanted.options.max_delay)


class TestAudio:
    async def test_what_the_model_was_given(self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EOT_DECISION_LOG_AUDIO", str(tmp_path / "audio"))
        rig = Rig()
        rig.stream.push_audio(NOISE)
        rig.stream.predict()
        rig.answer(0.6)
        await rig.stream.aclose()
        (row,) = rows(path)
        assert row["audio"] == str(tmp_path / "audio" / "eot_abc-1.wav")
        with wave.open(row["audio"]) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
            kept = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        assert np.array_equal(kept, rig.transports[Route.LOCAL].requests[0].pcm)
        assert mode(row["audio"]) == 0o600

    def test_bounded(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        folder = tmp_path / "audio"
        folder.mkdir()
        (folder / "old.wav").write_bytes(bytes(1_000))
        log = DecisionLog(str(tmp_path / "log"), str(folder), max_audio_bytes=1_000 + 2 * (44 + 200))
        kept = [log.keep_audio(f"r-{i}", np.zeros(100, dtype=np.int16)) for i in range(4)]
        assert [k is not None for k in kept] == [True, True, False, False]
        assert caplog.text.count("no more audio is kept") == 1

    def test_names_stay_inside_the_folder(self, tmp_path: Path) -> None:
        log = DecisionLog(str(tmp_path / "log"), str(tmp_path / "audio"))
        assert log.keep_audio("../../x/y", NOISE) == str(tmp_path / "audio" / "______x_y.wav")
        assert log.keep_audio("empty", NOISE[:0]) is None


class TestFailure:
    async def test_what_cannot_be_written_is_said_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("EOT_DECISION_LOG", str(tmp_path / "no" / "folder" / "log.jsonl"))
        monkeypatch.setenv("EOT_DECISION_LOG_AUDIO", str(tmp_path / "file" / "audio"))
        rig = Rig()
        rig.stream.push_audio(NOISE)
        for _ in range(3):
            future = rig.stream.predict()
            rig.answer(0.6)
            assert future.result().probability == 0.6
        rig.stream.flush()
        await rig.stream.aclose()
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert sorted(w.split(":")[0] for w in warnings) == ["EOT_DECISION_LOG", "EOT_DECISION_LOG_AUDIO"]

    def test_a_disk_that_becomes_full_in_the_middle_of_a_line(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Half a line is written without an error; the first one after it, when there is room again, is whole."""
        log = DecisionLog(str(tmp_path / "log"))
        log.write({"n": 0})
        _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "log").stat().st_size + 20, hard))
        try:
            log.write({"n": 1})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "cannot write" in caplog.text
        log.write({"n": 2})
        log.write({"n": 3})
        lines = (tmp_path / "log").read_text().splitlines()
        assert [json.loads(line)["n"] for line in (lines[0], *lines[2:])] == [0, 2, 3]
        assert len(lines[1]) == 20

    def test_what_is_no_json(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        DecisionLog(str(tmp_path / "log")).write({"x": float("nan"), "y": object()})
        assert "cannot write" in caplog.text
        assert not (tmp_path / "log").exists()


class TestBounds:
    def test_rotation_loses_nothing_of_the_last_generation(self, tmp_path: Path) -> None:
        log = DecisionLog(str(tmp_path / "log"), max_bytes=60_000)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: log.write({"n": i, "pad": "x" * 50}), range(1_000)))
        there = rows(tmp_path / "log.1") + rows(tmp_path / "log")
        assert sorted(r["n"] for r in there) == list(range(1_000))
        assert 60_000 <= (tmp_path / "log.1").stat().st_size < 70_000

    def test_size_never_grows_beyond_two_files(self, tmp_path: Path) -> None:
        log = DecisionLog(str(tmp_path / "log"), max_bytes=1_000)
        for i in range(500):
            log.write({"n": i})
        assert sum(p.stat().st_size for p in tmp_path.iterdir()) < 2_200
        assert (rows(tmp_path / "log") or rows(tmp_path / "log.1"))[-1]["n"] == 499

    def test_several_processes(self, tmp_path: Path) -> None:
        code = (
            "import sys; from eot_core.decision_log import DecisionLog\n"
            "log = DecisionLog(sys.argv[1], max_bytes=150_000)\n"
            "for i in range(500): log.write({'n': i, 'who': sys.argv[2], 'pad': 'x' * 100})\n"
        )
        workers = [
            subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log"), str(w)], env=os.environ)
            for w in range(3)
        ]
        assert [w.wait(60) for w in workers] == [0, 0, 0]
        there = rows(tmp_path / "log.1") + rows(tmp_path / "log")
        assert sorted((r["who"], r["n"]) for r in there) == sorted((str(w), n) for w in range(3) for n in range(500))

    def test_where_there_are_no_file_locks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "fcntl", None)
        log = DecisionLog(str(tmp_path / "log"), max_bytes=10)
        log.write({"n": 1})
        assert rows(tmp_path / "log.1")[0]["n"] == 1
