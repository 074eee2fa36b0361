"""``eot console``: what it prints, and how it ends."""

import argparse
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from eot_core.cli import console
from eot_core.cli.broker import (
    AgentError,
    AudioReceived,
    MessageAdded,
    PlaybackEnded,
    UserInputTranscribed,
)

TOY = Path(__file__).with_name("toy_agent.py")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "half a second.wav"
    soundfile.write(path, (np.sin(np.arange(8000) / 5) * 8000).astype(np.int16), 16_000)
    return path


def parse(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    console.add_parser(parser.add_subparsers())
    return parser.parse_args(["console", *map(str, arguments)])


def run(*arguments: object) -> tuple[int, str, str]:
    args = parse(*arguments)
    out, err = io.StringIO(), io.StringIO()
    return args.run(args, out=out, err=err), out.getvalue(), err.getvalue()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Runs a program that speaks the protocol instead of LiveKit: the file's name is its behaviour."""
    monkeypatch.setattr(console, "console_command", lambda agent: [sys.executable, str(TOY), agent.stem])
    return monkeypatch


@pytest.mark.usefixtures("toy")
def test_a_session_is_printed_for_people(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.py").touch()
    code, out, err = run(tmp_path / "answers.py", "--audio", recording)

    assert (code, err) == (console.EXIT_OK, "")
    lines = [line.split(maxsplit=1)[1] for line in out.splitlines()]
    assert lines == [
        "user is speaking",
        "user is listening",
        "end of turn 0.75 >= 0.50  (model 12 ms)",
        "turn ended: Hello there.",
        "agent is speaking",
        "agent said: Very well.",
        "agent is listening",
        "session ended: everything was answered",
    ]


@pytest.mark.usefixtures("toy")
def test_a_session_is_printed_for_programs(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.py").touch()
    code, out, err = run(tmp_path / "answers.py", "--audio", recording, "--json", "--agent-log")

    assert code == console.EXIT_OK
    assert err.startswith("toy agent: answers\n")
    events = [json.loads(line) for line in out.splitlines()]
    (eot,) = (event for event in events if event["event"] == "eot_prediction")
    assert (eot["probability"], eot["threshold"]) == (0.75, 0.5)
    assert all(isinstance(event["position"], float) for event in events)
    assert events[-1]["event"] == "session_ended"
    assert events[-1]["reason"] == "answered"


@pytest.mark.usefixtures("toy")
def test_an_unanswered_turn_has_its_own_exit_code(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "ignores.py").touch()
    code, out, _ = run(tmp_path / "ignores.py", "--audio", recording, "--answer-timeout", "0.5")

    assert code == console.EXIT_UNANSWERED
    assert out.endswith("session ended: the last turn was not answered in time\n")


@pytest.mark.usefixtures("toy")
def test_what_cannot_be_held_is_said_in_a_sentence(recording: Path, tmp_path: Path) -> None:
    agent = tmp_path / "exits.py"
    agent.touch()
    cases = [
        ((tmp_path / "missing.py", "--audio", recording), "missing.py: no such file"),
        ((agent, "--audio", tmp_path / "missing.wav"), "missing.wav: no such file"),
        ((agent, "--audio", recording, "--channel", 3), "channel 3 does not exist"),
        ((agent, "--audio", recording, "--answer-timeout", 0), "answer_timeout must be positive"),
        ((agent, "--audio", recording), "cannot find my model"),
    ]
    for arguments, message in cases:
        code, out, err = run(*arguments)
        assert (code, out) == (console.EXIT_FAILED, "")
        assert err.startswith("eot console: ")
        assert message in err


def test_an_interruption_from_the_keyboard(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "answers.py").touch()

    def interrupted(session: object) -> None:
        session.close()  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(console.asyncio, "run", interrupted)
    assert run(tmp_path / "answers.py", "--audio", recording)[0] == console.EXIT_FAILED


def test_descriptions_of_events() -> None:
    assert console.describe(UserInputTranscribed(0.0, None, "hi", True)) == "heard: hi"
    assert console.describe(UserInputTranscribed(0.0, None, "h", False)) is None
    assert console.describe(MessageAdded(0.0, None, "assistant", "hm", True)) == "agent said: hm (interrupted)"
    assert console.describe(AgentError(0.0, None, "broken")) == "error: broken"
    assert console.describe(PlaybackEnded(0.0, None, 1.0, False)) is None


def test_samples_stay_out_of_json() -> None:
    sound = AudioReceived(1.23456, None, b"\0\0", 48_000, 1, 0.1)
    assert console.to_json(sound) == {
        "event": "audio_output",
        "position": 1.2346,
        "occurred_at": None,
        "sample_rate": 48_000,
        "channels": 1,
        "duration": 0.1,
    }
