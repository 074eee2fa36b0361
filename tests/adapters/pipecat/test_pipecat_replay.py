"""A recording through a real pipeline: rows, the scripted services, and the example."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from call import Script
from pipecat_speech import RATE, silence, word

from adapters.pipecat.replay import replay, replay_pipecat
from adapters.pipecat.replay_rows import RowBuilder
from eot_core import EndpointingOptions, Outcome, Prediction, TurnDecision, TurnDetector
from eot_core.cli.audio_file import AudioFileError
from eot_core.cli.rows import PauseRow, Row, TurnRow
from eot_core.events import DecisionReason

ROOT = Path(__file__).parents[3]


class Alternating(Script):
    """Unlikely, likely, and so on."""

    def predict(self, pcm: np.ndarray) -> float:
        if pcm.any():
            self.probability = 0.9 if len(self.seen) % 2 else 0.2
        return super().predict(pcm)


async def test_a_recording_with_a_pause_in_the_middle_of_the_turn() -> None:
    script = Alternating()
    shown: list[Row] = []
    pcm = np.concatenate((silence(0.4), word(), silence(0.3), word(), silence(0.3)))
    rows = await replay(
        pcm,
        RATE,
        detector=TurnDetector(model=script.spec()),
        lines=["I am", "ready"],
        language="de",
        endpointing=EndpointingOptions(max_delay=1.5),
        on_row=shown.append,
    )
    assert list(rows) == shown
    through, ended, turn = rows
    assert isinstance(through, PauseRow)
    assert isinstance(ended, PauseRow)
    assert isinstance(turn, TurnRow)
    assert (through.decision, through.probability, through.threshold) == ("listened_through", 0.2, 0.5)
    assert through.time == pytest.approx(0.4 + 0.46, abs=0.1)  # where the word ends in the recording
    assert through.duration == pytest.approx(0.73 + 0.3 - 0.4, abs=0.2)
    assert through.delay is None
    assert (ended.decision, ended.probability, ended.duration) == ("turn_ended", 0.9, None)
    assert ended.delay == pytest.approx(turn.delay)
    assert turn.delay > 0.29
    assert turn.time == pytest.approx(ended.time + turn.delay)
    assert turn.transcript == "I am ready"
    assert turn.reply == "You said: I am ready"
    assert ended.model == "scripted"
    assert ended.source == "local"


async def test_what_cannot_be_replayed(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="no such file"):
        await replay_pipecat(tmp_path / "missing.wav")
    with pytest.raises(ValueError, match="LiveKit Model License"):
        await replay_pipecat(model="turn-detector-v1-mini")
    with pytest.raises(OSError, match=r"missing\.txt"):
        await replay_pipecat(transcript=tmp_path / "missing.txt")


def test_the_example_runs(tmp_path: Path) -> None:
    path = tmp_path / "ready.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.concatenate((silence(0.4), word())).tobytes())
    done = subprocess.run(
        [sys.executable, ROOT / "examples/pipecat_bot.py", path],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"LOGURU_LEVEL": "WARNING", "PYTHONPATH": os.pathsep.join((*sys.path, str(ROOT)))},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "threshold=0.50" in done.stdout
    assert "bot:  You said: (" in done.stdout


def prediction(probability: float, outcome: Outcome = Outcome.ANSWERED) -> Prediction:
    source: Any = "local" if outcome is Outcome.ANSWERED else "default"
    return Prediction(probability, outcome, None, "m", source, "id")


def decision(threshold: float, *, ends_turn: bool = True) -> TurnDecision:
    return TurnDecision(ends_turn, DecisionReason.LIKELY, 1.0, 1.3, 0.9, threshold, "m", "local")


def test_a_pause_too_short_to_be_scored() -> None:
    builder = RowBuilder("model")
    assert builder.speech_started(0.5) == []
    builder.speech_ended(1.0)
    (row,) = builder.speech_started(1.2)
    assert row == PauseRow(1.0, pytest.approx(0.2), None, None, "listened_through", None, "model", "default")
    assert builder.finish() == []


def test_a_turn_that_nobody_answers() -> None:
    builder = RowBuilder("model")
    builder.speech_ended(1.0)
    builder.predicted(prediction(1.0, Outcome.DEFAULT))
    builder.decided(decision(0.5))
    builder.decided(decision(0.9, ends_turn=False))
    (pause,) = builder.turn_ended(1.3, "hello")
    assert (pause.threshold, pause.source, pause.delay) == (0.5, "default", pytest.approx(0.3))
    assert builder.speech_started(2.0) == []
    assert builder.finish() == [TurnRow(1.3, pytest.approx(0.3), "hello", None)]


def test_a_reply_to_nothing_and_a_turn_without_a_pause() -> None:
    builder = RowBuilder("model")
    assert builder.replied("hello?") == []
    assert builder.turn_ended(2.0, None) == []
    assert builder.turn_ended(3.0, "two") == [TurnRow(2.0, 0.0, None, None)]
    assert builder.replied("yes") == [TurnRow(3.0, 0.0, "two", "yes")]


def test_a_pause_that_is_open_at_the_end() -> None:
    builder = RowBuilder("model")
    builder.speech_ended(1.0)
    builder.predicted(prediction(0.1))
    (row,) = builder.finish()
    assert (row.decision, row.duration, row.probability, row.source) == ("listened_through", None, 0.1, "local")
