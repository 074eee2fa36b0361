"""``eot replay --framework core``, on the bundled recording and on what is no recording."""

from __future__ import annotations

import asyncio
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeModel, fake_spec

from eot_core import EndpointingOptions, TurnDetector
from eot_core.cli import main
from eot_core.cli.audio_file import read_audio
from eot_core.cli.replay_core import replay_core
from eot_core.cli.rows import PauseRow, Row, TurnRow
from eot_core.clock import ManualClock
from eot_core.data import demo_recording
from eot_core.models.registry import available_models

needs_smart_turn = pytest.mark.skipif(not available_models(), reason="smart-turn's weights are not installed")


def replay(model: FakeModel, **options: Any) -> list[Row]:
    pcm, rate = read_audio(demo_recording())
    rows: list[Row] = []
    detector = TurnDetector(model=fake_spec(model), clock=ManualClock())
    asyncio.run(replay_core(pcm, rate, detector=detector, on_row=rows.append, **options))
    return rows


@needs_smart_turn
def test_the_bundled_recording(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay"]) == 0
    out = capsys.readouterr().out
    assert out.count("listened through") == 3  # two rows, and the summary
    assert "1 turn ended, 2 pauses listened through" in out


@needs_smart_turn
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(demo_recording()), "--json", "--language", "en-GB", "--model", "smart-turn"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["type"] for row in rows] == ["pause", "pause", "pause", "turn"]
    assert [row["decision"] for row in rows[:3]] == ["listened_through", "listened_through", "turn_ended"]
    assert rows[2]["model"] == "smart-turn-v3.2"
    assert rows[2]["source"] == "local"
    assert rows[2]["probability"] >= rows[2]["threshold"] == 0.5
    assert rows[3]["delay"] == pytest.approx(0.3, abs=0.03)
    for row in rows[:2]:
        assert row["probability"] < row["threshold"]
        assert row["duration"] == pytest.approx(0.9, abs=0.1)


def test_a_model_that_is_always_sure_ends_three_turns() -> None:
    rows = replay(FakeModel(0.9))
    turns = [row for row in rows if isinstance(row, TurnRow)]
    assert len(turns) == 3
    for turn in turns:
        assert turn.delay == pytest.approx(0.3, abs=0.021)


def test_a_model_that_is_never_sure_ends_one_after_the_maximum() -> None:
    rows = replay(FakeModel(0.1), endpointing=EndpointingOptions(0.3, 1.5))
    turns = [row for row in rows if isinstance(row, TurnRow)]
    assert [turn.delay for turn in turns] == [pytest.approx(1.5, abs=0.021)]


def test_a_model_that_throws_gives_defaults() -> None:
    rows = replay(FakeModel(error=ValueError("x")))
    pauses = [row for row in rows if isinstance(row, PauseRow)]
    assert {row.source for row in pauses} == {"default"}
    assert {row.probability for row in pauses} == {1.0}


def test_a_model_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eot_core.cli.replay_core.PATIENCE", 0.01)
    model = FakeModel(hang=True)
    rows = replay(model)
    model.gate.set()
    assert isinstance(rows[0], PauseRow)
    assert rows[0].source == "default"


def test_the_detector_must_live_in_the_recording_s_time() -> None:
    with pytest.raises(ValueError, match="clock=ManualClock"):
        asyncio.run(
            replay_core(
                np.zeros(160, dtype=np.int16), 16_000, detector=TurnDetector(model=fake_spec()), on_row=lambda row: None
            )
        )


def write(path: Path, pcm: np.ndarray[Any, Any], rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.astype("<i2").tobytes())
    return path


@needs_smart_turn
def test_no_speech_is_no_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(write(tmp_path / "silence.wav", np.zeros(16_000)))]) == 1
    assert "0 turns ended, 0 pauses listened through" in capsys.readouterr().out


@needs_smart_turn
def test_a_rate_above_48_khz(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(write(tmp_path / "silence.wav", np.zeros(96_000), 96_000))]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/no/such/file.wav"], "no such file"),
        (["--model", "smarter-turn"], "is unknown: choose one of eot-open-1"),
        (["--framework", "core", "--model", "v1-mini"], "LiveKit Model License"),
        (["--framework", "core", "--model", "turn-detector-v1-mini"], "here. Add --framework livekit"),
        (["--framework", "pipecat", "--model", "turn-detector-v1-mini"], "here. Add --framework livekit"),
        (["--framework", "both", "--model", "turn-detector-v1-mini"], "here. Add --framework livekit"),
        (["--channel", "1"], "channel 1 does not exist: it has 1"),
        (["--framework", "pipecat", "--cloud", "--model", "eot-open-1"], "--cloud plays through turn-detector-v1"),
        (["--model", "/no/such/model.onnx"], "there is no file"),
        (["/no/such/file.wav", "--framework", "livekit"], "no such file"),
    ],
)
def test_what_cannot_be_played(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("eot replay: ")
    assert message in captured.err


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    from eot_core.cli import replay as command

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(command._REPLAYS, "core", interrupt)
    assert main(["replay"]) == 2


def test_side_by_side() -> None:
    import io

    from eot_core.cli.table import SideBySide

    pause = PauseRow(1.0, 0.5, 0.1, 0.5, "listened_through", None, "m", "local")
    end = PauseRow(2.0, None, 0.9, 0.5, "turn_ended", 0.3, "m", "local")
    out = io.StringIO()
    SideBySide(out).print({"livekit": [pause, end, TurnRow(2.3, 0.3, "hi", None)], "pipecat": [pause]})
    lines = out.getvalue().splitlines()
    assert lines[0].split() == ["livekit", "pipecat"]
    assert lines[2].count("listened through") == 2
    assert lines[3].split() == ["2.00", "0.90", "0.50", "turn", "ended", "0.30", "-"]


def test_side_by_side_by_time() -> None:
    """A pause that one of them hears alone moves none of the others."""
    import io

    from eot_core.cli.table import SideBySide

    def pauses(*times: float) -> list[PauseRow]:
        return [PauseRow(time, 1.0, time / 10, 0.5, "listened_through", None, "m", "local") for time in times]

    out = io.StringIO()
    SideBySide(out).print({"livekit": pauses(1.0, 1.6, 3.0, 4.1), "pipecat": pauses(1.03, 3.01, 3.5, 4.0)})
    lines = [
        [line[:7].strip(), *(cell.split()[0] for cell in (line[9:53], line[53:]))]
        for line in out.getvalue().splitlines()[2:7]
    ]
    assert lines == [
        ["1.00", "0.10", "0.10"],
        ["1.60", "0.16", "-"],
        ["3.00", "0.30", "0.30"],
        ["3.50", "-", "0.35"],
        ["4.10", "0.41", "0.40"],
    ]


def test_side_by_side_explains_why_probabilities_differ() -> None:
    import io

    from eot_core.cli.table import SideBySide

    def printed(*probabilities: float) -> str:
        out = io.StringIO()
        rows = [PauseRow(2.0, None, p, 0.5, "turn_ended", 0.3, "m", "local") for p in probabilities]
        SideBySide(out).print({"livekit": rows[:1], "pipecat": rows[1:]})
        return out.getvalue()

    assert "24 kHz" in printed(0.72, 0.91)
    assert "24 kHz" not in printed(0.911, 0.912)


def test_the_table_says_what_was_said() -> None:
    import io

    from eot_core.cli.table import TablePrinter

    out = io.StringIO()
    TablePrinter(out)(TurnRow(2.3, 0.3, "A table, please.", "For how many?"))
    assert "user:   A table, please." in out.getvalue()
    assert "agent:  For how many?" in out.getvalue()


def test_cloud_needs_real_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--cloud"]) == 2
    assert "--cloud needs --framework livekit" in capsys.readouterr().err


@needs_smart_turn
@pytest.mark.parametrize("framework", ["livekit", "pipecat"])
def test_the_gateway_dies_and_no_turn_is_lost(framework: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In real time: the recording takes nine seconds."""
    pytest.importorskip("livekit.agents" if framework == "livekit" else "pipecat")
    assert main(["replay", "--framework", framework, "--cloud", "--json"]) == 0
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    pauses = [row for row in rows if row["type"] == "pause"]
    assert [row["source"] for row in pauses] == ["cloud", "local", "local"]
    assert [row["decision"] for row in pauses] == ["listened_through", "listened_through", "turn_ended"]
    assert pauses[0]["model"] == "turn-detector-v1"
    assert "(the gateway was killed)" in captured.err


async def test_a_gateway_that_cannot_start() -> None:
    from eot_core.cli.local_gateway import LocalGateway, LocalGatewayError

    gateway = LocalGateway("smarter-turn")
    with pytest.raises(RuntimeError, match="was not started"):
        _ = gateway.url
    with pytest.raises(LocalGatewayError, match="is unknown"):
        await gateway.__aenter__()
    gateway.kill()
    assert gateway.api_secret not in repr(gateway)


async def test_what_a_gateway_says_before_it_is_ready_is_not_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from eot_core.cli.local_gateway import LocalGateway

    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # lines on standard error, as warnings would be
    async with LocalGateway() as gateway:
        assert gateway.url.startswith("http://127.0.0.1:")
