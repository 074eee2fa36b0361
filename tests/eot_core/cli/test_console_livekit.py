"""The bundled recording through a real AgentSession, in real time: real VAD, real model, scripted STT, LLM and TTS."""

import argparse
import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from eot_core.cli import console, replay_livekit
from eot_core.cli.audio_file import read_audio
from eot_core.cli.broker import StopReason
from eot_core.cli.replay_livekit import ReplayError, ReplayResult, speech_in
from eot_core.cli.rows import PauseRow, Row, TurnRow
from eot_core.data import demo_recording, demo_transcript
from eot_core.models.base import ModelNotInstalledError
from eot_core.vad import SileroVAD

EXAMPLE = Path(__file__).parents[3] / "examples" / "livekit_agent.py"
SAID = demo_transcript().read_text(encoding="utf-8").splitlines()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replayed() -> tuple[ReplayResult, list[Row]]:
    rows: list[Row] = []
    return await replay_livekit.replay_livekit(on_row=rows.append), rows


@pytest.mark.asyncio(loop_scope="module")
async def test_two_pauses_are_listened_through_and_the_turn_is_answered(
    replayed: tuple[ReplayResult, list[Row]],
) -> None:
    result, told = replayed

    assert result.reason is StopReason.ANSWERED
    assert result.errors == ()
    assert list(result.rows) == told
    first, second, last, turn = told
    for pause in (first, second):
        assert isinstance(pause, PauseRow)
        assert pause.decision == "listened_through"
        assert pause.probability is not None
        assert pause.threshold == pytest.approx(0.36)
        assert pause.probability < pause.threshold
        assert pause.duration is not None
        assert 0.6 < pause.duration < 1.2
    assert isinstance(last, PauseRow)
    assert last.decision == "turn_ended"
    assert last.probability is not None
    assert last.probability >= 0.36
    assert (last.model, last.source) == ("turn-detector-v1-mini", "local")
    assert isinstance(turn, TurnRow)
    assert turn.transcript == " ".join(SAID)
    assert turn.reply == f"You said: {' '.join(SAID)}"
    assert turn.delay == last.delay
    # The detector's minimum delay is 0.3 s; how much later it is on a busy machine, nobody knows.
    assert turn.delay >= 0.25


@pytest.mark.asyncio(loop_scope="module")
async def test_the_session_counts_our_detector(replayed: tuple[ReplayResult, list[Row]]) -> None:
    (eot,) = (usage for usage in replayed[0].usage if usage.kind == "eot")
    assert eot.model == "turn-detector-v1-mini"
    assert eot.requests == 3


def test_the_example_agent_is_driven_by_eot_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EOT_TRANSCRIPT", str(demo_transcript()))
    parser = argparse.ArgumentParser()
    console.add_parser(parser.add_subparsers())
    args = parser.parse_args(["console", "--json", "--audio", str(demo_recording()), str(EXAMPLE)])
    out = io.StringIO()

    assert console.run(args, out=out) == console.EXIT_OK
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    predictions = [event for event in events if event["event"] == "eot_prediction"]
    assert [event["probability"] >= event["threshold"] for event in predictions] == [False, False, True]
    said = [event["text"] for event in events if event["event"] == "conversation_item_added"]
    assert said == [" ".join(SAID), f"You said: {' '.join(SAID)}"]


async def test_a_model_that_is_not_to_be_had_is_said_at_once() -> None:
    with pytest.raises(ReplayError, match=r"^model 'no-such-model' is unknown"):
        await replay_livekit.replay_livekit(model="no-such-model")


async def test_a_transcript_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"missing\.txt: no such file"):
        await replay_livekit.replay_livekit(transcript=tmp_path / "missing.txt")


@pytest.mark.parametrize(
    ("missing", "message"),
    [("livekit.agents", r"pip install 'eot-adapters\[livekit\]'"), ("adapters", "install eot-adapters again")],
)
async def test_packages_that_are_not_there(monkeypatch: pytest.MonkeyPatch, missing: str, message: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(ReplayError, match=message):
        await replay_livekit.replay_livekit()


async def test_a_parent_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(ReplayError, match="LiveKit Agents is not installed"):
        await replay_livekit.replay_livekit()


async def test_weights_of_the_vad_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: SileroVAD) -> None:
        raise ModelNotInstalledError("no Silero VAD found: pip install 'eot-adapters[silero]'")

    monkeypatch.setattr(SileroVAD, "stream", refuse)
    with pytest.raises(ReplayError, match="no Silero VAD found"):
        await replay_livekit.replay_livekit()


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
def test_speech_is_found_at_any_rate(rate: int) -> None:
    import soxr

    pcm, original = read_audio(demo_recording())
    speech = speech_in(soxr.resample(pcm, original, rate), rate)

    ends = [stretch.end for stretch in speech]
    np.testing.assert_allclose(ends, [2.11, 5.09, 8.77], atol=0.1)
    assert all(stretch.start < stretch.end for stretch in speech)


def test_speech_that_lasts_to_the_very_end_ends_there() -> None:
    pcm, rate = read_audio(demo_recording())
    (speech,) = speech_in(pcm[: int(1.8 * rate)], rate)
    assert speech.end == pytest.approx(1.8, abs=0.1)
