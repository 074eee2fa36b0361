"""``eot replay --calibration FILE --operating-point ...``: a recording with what was tuned, before it goes live."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeModel, fake_spec
from models.tiny_onnx import write_mean_model

from eot_core import TurnDetector
from eot_core.cli import main
from eot_core.cli.audio_file import read_audio
from eot_core.cli.replay_core import replay_core
from eot_core.cli.replay_livekit import replay_livekit
from eot_core.cli.rows import Row, TurnRow
from eot_core.clock import ManualClock
from eot_core.data import demo_recording
from eot_core.models.registry import available_models
from eot_core.operating_points import OperatingPoint

needs_smart_turn = pytest.mark.skipif(not available_models(), reason="smart-turn's weights are not installed")

Points = list[dict[str, Any]]


def point(threshold: float, min_delay: float, max_delay: float, **more: Any) -> dict[str, Any]:
    figures = {"cutoff_rate": 0.04, "latency": 0.6, "budget": "cutoff", "value": 0.05}
    return {"threshold": threshold, "min_delay": min_delay, "max_delay": max_delay, **figures, **more}


def calibration(folder: Path, points: Points, *, model: str = "smart-turn-v3.2", language: str = "en") -> Path:
    path = folder / "my-calls.json"
    row = {"source": "mine", "languages": {language: {"points": points}}}
    path.write_text(json.dumps({"schema": "eot-calibration/1", "sources": {}, "models": {model: row}}))
    return path


NEVER = point(1.0, 0.5, 3.0)
"""Listens through all pauses of the recording but the last."""
AT_ONCE = point(0.0, 0.5, 3.0)
"""Ends every pause half a second into it; those of the recording last 0.9 s."""


def turns(rows: list[Row]) -> list[TurnRow]:
    return [row for row in rows if isinstance(row, TurnRow)]


class TestCore:
    def replay(self, model: FakeModel, **options: Any) -> list[Row]:
        pcm, rate = read_audio(demo_recording())
        rows: list[Row] = []
        detector = TurnDetector(model=fake_spec(model), clock=ManualClock(), **options)
        asyncio.run(replay_core(pcm, rate, detector=detector, language="en", on_row=rows.append))
        return rows

    def test_delays_of_the_operating_point(self, tmp_path: Path) -> None:
        file = calibration(tmp_path, [point(0.4, 0.5, 0.8)], model=fake_spec(FakeModel(0.5)).name)
        for probability, delay in ((0.5, 0.5), (0.3, 0.8)):
            rows = self.replay(FakeModel(probability), calibration=file)
            assert [row.delay for row in turns(rows)] == [pytest.approx(delay, abs=0.021)] * 3

    def test_a_falling_delay_that_is_longer_than_the_usual(self, tmp_path: Path) -> None:
        file = calibration(tmp_path, [point(0.5, 0.3, 4.3, exponent=1.0)], model=fake_spec(FakeModel()).name)
        rows = self.replay(FakeModel(0.25), calibration=file)
        assert [row.delay for row in turns(rows)] == [pytest.approx(3.3, abs=0.021)]

    def test_scored_again_as_the_pause_grows(self, tmp_path: Path) -> None:
        """The first score says 0.3 + 3 * 0.8 = 2.7 s; with those at 0.4 and 0.8 s the mean logit says 1.1 s."""
        curve = point(0.5, 0.3, 3.3, exponent=1.0, rescore_every=0.4)
        file = calibration(tmp_path, [curve], model=fake_spec(FakeModel()).name)

        class Scores(FakeModel):
            def predict(self, pcm: Any) -> float:
                if pcm.any():  # which is not so when it is warmed up
                    super().predict(pcm)
                return 0.2 if len(self.calls) % 3 == 1 else 0.9

        model = Scores()
        (turn,) = turns(self.replay(model, calibration=file))
        assert len(model.calls) == 9  # three for each pause
        mean = (math.log(0.2 / 0.8) + 2 * math.log(0.9 / 0.1)) / 3
        assert turn.delay == pytest.approx(0.3 + 3.0 / (1.0 + math.exp(mean)), abs=0.021)

    @needs_smart_turn
    def test_the_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = calibration(tmp_path, [AT_ONCE])
        argv = ["replay", "--json", "--model", "smart-turn-v3.2", "--calibration", str(file)]
        assert main(argv) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["decision"] for row in rows if row["type"] == "pause"] == ["turn_ended"] * 3
        assert [row["delay"] for row in rows if row["type"] == "turn"] == [pytest.approx(0.5, abs=0.03)] * 3

    @needs_smart_turn
    @pytest.mark.parametrize("text", ["quick", "patient", "max_cutoff_rate=0.05", "max_latency=0.3"])
    def test_an_operating_point(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["replay", "--json", "--model", "smart-turn-v3.2", "--operating-point", text]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        name, _, value = text.partition("=")
        meant = OperatingPoint(**{name: float(value)}) if value else OperatingPoint.parse(name)
        assert {row["threshold"] for row in rows if row["type"] == "pause"} == {
            meant.resolve("smart-turn-v3.2", "en").threshold
        }

    @needs_smart_turn
    def test_one_of_the_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        slow = point(0.99, 0.9, 1.1, cutoff_rate=0.01, latency=1.0, value=0.01)
        file = calibration(tmp_path, [AT_ONCE, slow])
        argv = ["replay", "--json", "--model", "smart-turn-v3.2", "--calibration", str(file)]
        assert main([*argv, "--operating-point", "max_cutoff_rate=0.01"]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["delay"] for row in rows if row["type"] == "turn"] == [pytest.approx(1.1, abs=0.03)]

    @needs_smart_turn
    def test_a_file_for_another_model_is_told(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        file = calibration(tmp_path, [AT_ONCE], model="mine")
        assert main(["replay", "--model", "smart-turn-v3.2", "--calibration", str(file)]) == 0
        assert "the calibration file is for mine, and this detector runs smart-turn-v3.2" in caplog.text


BAD = [
    (["--calibration", "NONE"], "calibration {none}: cannot be read: No such file or directory"),
    (["--calibration", "AUDIO"], "calibration {audio}: is no JSON"),
    (["--operating-point", "fast"], "--operating-point must be quick, balanced, patient, max_cutoff_rate="),
    (["--operating-point", "max_latency=x"], "--operating-point must be quick, balanced, patient, max_cutoff_rate="),
    (["--operating-point", "max_latency=-1"], "--operating-point: max_latency must be"),
    (["--operating-point", "max_cutoff_rate=5"], "--operating-point: max_cutoff_rate must be"),
]


@pytest.mark.parametrize("framework", ["core", "livekit", "pipecat", "both"])
@pytest.mark.parametrize(("argv", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_cannot_be_used_is_said_in_one_line(
    argv: list[str], message: str, framework: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"NONE": str(tmp_path / "none.json"), "AUDIO": str(demo_recording())}
    assert main(["replay", "--framework", framework, *(names.get(a, a) for a in argv)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(f"eot replay: {message.format(none=names['NONE'], audio=names['AUDIO'])}")


class TestLiveKit:
    """What is found out in the agent's process is told as it is elsewhere."""

    pytestmark = pytest.mark.skipif(importlib.util.find_spec("livekit.agents") is None, reason="LiveKit Agents")

    @needs_smart_turn
    def test_nothing_was_measured_for_the_model(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        model = write_mean_model(tmp_path / "mine.onnx", ["batch", "samples"])
        said = []
        for framework in ("core", "livekit"):
            argv = ["replay", "--framework", framework, "--model", str(model), "--operating-point", "quick"]
            assert main(argv) == 2
            said.append(capsys.readouterr().err)
        assert said[0].startswith("eot replay: no operating point was measured for mine: ")
        assert said[1] == said[0]

    async def test_a_file_for_another_model_is_told(self, tmp_path: Path) -> None:
        file, said = calibration(tmp_path, [AT_ONCE], model="mine"), []
        silence = np.zeros(8_000, np.int16), 16_000
        await replay_livekit(silence, calibration=file, on_warning=said.append)
        assert ["this detector runs turn-detector-v1-mini" in line for line in said] == [True]


@needs_smart_turn
@pytest.mark.parametrize("framework", ["livekit", "pipecat"])
def test_the_same_turns(framework: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In real time: the recording takes nine seconds."""
    pytest.importorskip("livekit.agents" if framework == "livekit" else "pipecat")
    same_turns_as_the_core(framework, tmp_path, capsys)


def test_livekit_tells_of_the_answers_that_were_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("livekit.agents")
    if not available_models():
        pytest.skip("smart-turn's weights are not installed")
    file = calibration(tmp_path, [NEVER])
    argv = ["replay", "--json", "--framework", "livekit", "--model", "smart-turn-v3.2", "--calibration", str(file)]
    assert main(argv) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    pauses = [row for row in rows if row["type"] == "pause"]
    assert [row["decision"] for row in pauses] == ["listened_through", "listened_through", "turn_ended"]
    assert [(row["source"], row["threshold"]) for row in pauses[:2]] == [("local", 1.0)] * 2
    assert all(0.0 < row["probability"] < 1.0 for row in pauses)


def same_turns_as_the_core(framework: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = calibration(folder, [AT_ONCE])
    told = []
    for name in ("core", framework):
        argv = ["replay", "--json", "--framework", name, "--model", "smart-turn-v3.2", "--calibration", str(file)]
        assert main(argv) == 0
        told.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    core, other = ([row for row in rows if row["type"] == "pause"] for rows in told)
    assert [row["decision"] for row in core] == ["turn_ended"] * 3
    assert [row["decision"] for row in other] == ["turn_ended"] * 3
    for mine, theirs in zip(core, other, strict=True):
        assert theirs["source"] == "local"
        assert theirs["threshold"] == mine["threshold"] == 0.0
