"""What ``eot replay`` takes where nobody says: the framework that can run, and all channels of a recording."""

from __future__ import annotations

import importlib.util
import json
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eot_core.cli import main
from eot_core.cli import replay as command
from eot_core.cli.audio_file import read_audio
from eot_core.data import demo_recording
from eot_core.models.registry import available_models
from eot_core.models.weights import PackagedFile

needs_a_model = pytest.mark.skipif(not available_models(), reason="no local model is installed")

Taken = list[str]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """Which framework was taken; nothing is played."""
    names: Taken = []

    def play(name: str) -> Callable[..., object]:
        async def one(*args: object) -> None:
            names.append(name)

        return one

    for name in command._REPLAYS:
        monkeypatch.setitem(command._REPLAYS, name, play(name))
    return names


@pytest.fixture
def livekit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after ``pip install 'eot-adapters[livekit]'``: the weights that pipecat-ai carries are not there."""
    pytest.importorskip("livekit.agents")
    locate = PackagedFile.locate
    monkeypatch.setattr(
        PackagedFile, "locate", lambda self: None if self.distribution == "pipecat-ai" else locate(self)
    )


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith(package) else find(name))


class TestFramework:
    @needs_a_model
    def test_the_core_where_a_model_is_there(self, taken: Taken, capsys: pytest.CaptureFixture[str]) -> None:
        main(["replay"])
        assert taken == ["core"]
        assert capsys.readouterr().err == ""

    @pytest.mark.usefixtures("livekit_alone")
    def test_livekit_where_nothing_else_can_run(self, taken: Taken, capsys: pytest.CaptureFixture[str]) -> None:
        main(["replay"])
        assert taken == ["livekit"]
        assert capsys.readouterr().err == (
            "eot replay: --framework livekit, with turn-detector-v1-mini: no other local model is installed "
            "(pip install 'eot-adapters[open]')\n"
        )

    @pytest.mark.usefixtures("livekit_alone")
    @pytest.mark.parametrize("framework", ["core", "livekit", "pipecat"])
    def test_what_is_named_is_taken(self, framework: str, taken: Taken, capsys: pytest.CaptureFixture[str]) -> None:
        main(["replay", "--framework", framework])
        assert taken == [framework]
        assert capsys.readouterr().err == ""

    @pytest.mark.usefixtures("livekit_alone")
    @pytest.mark.parametrize("argv", [["--model", "smart-turn"], ["--operating-point", "quick"]], ids=" ".join)
    def test_what_livekit_would_not_do_is_the_core_s(self, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["replay", *argv]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line == "eot replay: smart-turn-v3.2 is not installed: pip install 'eot-adapters[pipecat]'"

    @pytest.mark.usefixtures("livekit_alone")
    @pytest.mark.parametrize("missing", ["livekit.agents", "livekit.local_inference"])
    def test_nothing_can_run(
        self, missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        without(monkeypatch, missing)
        assert main(["replay"]) == 2
        assert capsys.readouterr().err == (
            "eot replay: smart-turn-v3.2 is not installed: pip install 'eot-adapters[pipecat]'\n"
        )

    @needs_a_model
    def test_weights_that_are_damaged_are_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """LiveKit's model does not step in for them without a word."""
        damaged = tmp_path / "smart-turn.onnx"
        damaged.write_bytes(b"x")
        locate = PackagedFile.locate
        monkeypatch.setattr(PackagedFile, "locate", lambda self: damaged if "smart_turn" in self.path else locate(self))
        assert main(["replay"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("eot replay: sha256 is ")
        assert str(damaged) in line

    @pytest.mark.parametrize("name", ["turn-detector-v1-mini", "v1-mini"])
    def test_a_model_that_runs_on_livekit_only(
        self, name: str, taken: Taken, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["replay", "--model", name])
        assert taken == ["livekit"]
        assert capsys.readouterr().err == f"eot replay: --framework livekit, which {name} runs on only\n"

    @pytest.mark.usefixtures("livekit_alone")
    def test_it_plays(self, capsys: pytest.CaptureFixture[str]) -> None:
        """In real time: the recording takes nine seconds."""
        assert main(["replay", "--json", "--model", "v1-mini"]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["type"] for row in rows] == ["pause", "pause", "pause", "turn"]
        assert {row["model"] for row in rows[:3]} == {"turn-detector-v1-mini"}

    @pytest.mark.parametrize(("missing", "package"), [("livekit.agents", "LiveKit Agents"), ("pipecat", "Pipecat")])
    def test_both_are_there_before_one_is_played(
        self, missing: str, package: str, taken: Taken, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        without(monkeypatch, missing)
        assert main(["replay", "--framework", "both"]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(f"eot replay: {package} is not installed: pip install 'eot-adapters[")
        assert captured.out == ""
        assert taken == []


@needs_a_model
class TestChannels:
    @pytest.fixture
    def call(self, tmp_path: Path) -> Path:
        """Nobody on channel 0, the recording on 1."""
        pcm, rate = read_audio(demo_recording())
        path = tmp_path / "call.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(np.stack([np.zeros_like(pcm), pcm], axis=1).astype("<i2").tobytes())
        return path

    @pytest.mark.parametrize(("channel", "pauses"), [(0, 0), (1, 3)])
    def test_one(self, channel: int, pauses: int, call: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["replay", "--json", "--channel", str(channel), str(call)]) == (0 if pauses else 1)
        captured = capsys.readouterr()
        assert captured.out.count('"type": "pause"') == pauses
        assert captured.err == ""

    def test_all_are_mixed_and_it_says_so(self, call: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["replay", "--json", str(call)]) == 0
        assert (
            capsys.readouterr().err
            == f"eot replay: {call}: 2 channels are mixed into one: --channel N, from 0, takes one\n"
        )

    @pytest.mark.parametrize("framework", ["livekit", "pipecat"])
    def test_in_real_time_too(self, framework: str, call: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("livekit.agents" if framework == "livekit" else "pipecat")
        assert main(["replay", "--json", "--framework", framework, "--channel", "0", str(call)]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "channels" not in captured.err

    def test_both_say_it_once(self, call: Path, taken: Taken, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("livekit.agents")
        pytest.importorskip("pipecat")
        main(["replay", "--json", "--framework", "both", str(call)])
        assert taken == ["livekit", "pipecat"]
        assert capsys.readouterr().err.count("channels are mixed") == 1
