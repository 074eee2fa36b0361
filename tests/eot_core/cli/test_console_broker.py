"""The broker against a real process over a real socket."""

import asyncio
import contextlib
import sys
from pathlib import Path

import numpy as np
import pytest

from eot_core.cli.broker import (
    AudioReceived,
    BrokerError,
    ConsoleBroker,
    EotPredicted,
    MessageAdded,
    PlaybackEnded,
    StopReason,
    UserStateChanged,
    console_command,
)
from eot_core.cli.broker import process as process_module

TOY = Path(__file__).with_name("toy_agent.py")
RECORDING = (np.sin(np.arange(8000) / 5) * 8000).astype(np.int16)  # half a second at 16 kHz


def broker(behaviour: str, **options: object) -> ConsoleBroker:
    command = [sys.executable, str(TOY), behaviour]
    return ConsoleBroker(command, RECORDING, 16_000, **{"answer_timeout": 5.0, **options})  # type: ignore[arg-type]


async def test_a_turn_is_played_answered_and_told() -> None:
    told = []
    result = await broker("answers", on_event=told.append).run()

    assert result.reason is StopReason.ANSWERED
    assert list(result.events) == told
    (prediction,) = (e for e in told if isinstance(e, EotPredicted))
    assert (prediction.probability, prediction.threshold) == (0.75, 0.5)
    assert (prediction.inference_duration, prediction.delay) == pytest.approx((0.012, 0.25))
    user, agent = (e for e in told if isinstance(e, MessageAdded))
    assert (user.role, user.text) == ("user", "Hello there.")
    assert (agent.role, agent.text) == ("assistant", "Very well.")
    (played,) = (e for e in told if isinstance(e, PlaybackEnded))
    assert played.duration == pytest.approx(0.2)
    assert not played.interrupted
    assert sum(e.duration for e in told if isinstance(e, AudioReceived)) == pytest.approx(0.2)


async def test_positions_count_from_the_first_sample_of_the_recording() -> None:
    result = await broker("answers").run()

    speaking, listening = (e for e in result.events if isinstance(e, UserStateChanged))
    # The toy counts frames: it hears the user with the 16th, which is the first of the recording (0.00 to 0.02 s), and
    # 14 frames later no more. A busy machine makes both later, never earlier.
    assert speaking.position >= 0.02 - 0.001
    assert listening.position - speaking.position >= 0.28 - 0.1
    assert speaking.occurred_at is not None
    assert speaking.occurred_at <= speaking.position + 0.001
    (user,) = (e for e in result.events if isinstance(e, MessageAdded) and e.role == "user")
    assert user.committed_at == pytest.approx(user.occurred_at, abs=0.05)
    assert result.duration >= user.position


async def test_a_flush_is_answered_after_what_was_sent_has_been_played() -> None:
    result = await broker("answers").run()

    first = next(e for e in result.events if isinstance(e, AudioReceived))
    (played,) = (e for e in result.events if isinstance(e, PlaybackEnded))
    assert played.position - first.position >= 0.2 - 0.001


async def test_an_agent_that_was_cut_off_still_gets_its_answer() -> None:
    result = await broker("interrupted").run()

    cut, flushed = (e for e in result.events if isinstance(e, PlaybackEnded))
    assert cut.interrupted
    assert not flushed.interrupted
    assert flushed.duration == 0.0
    # The toy says this only after the broker has answered its flush.
    assert [e.text for e in result.events if isinstance(e, MessageAdded)][-1] == "Very well."


async def test_a_turn_that_is_not_answered_times_out() -> None:
    result = await broker("ignores", answer_timeout=0.5).run()

    assert result.reason is StopReason.TIMEOUT


async def test_a_recording_in_which_nobody_is_heard() -> None:
    result = await broker("deaf").run()

    assert result.reason is StopReason.NO_SPEECH


async def test_an_agent_that_hangs_up() -> None:
    result = await broker("hangs_up").run()

    assert result.reason is StopReason.AGENT_LEFT
    assert result.agent_exit_code == 0


async def test_an_agent_that_ends_before_it_connects_is_quoted() -> None:
    with pytest.raises(BrokerError, match=r"(?s)exit code 1.*cannot find my model"):
        await broker("exits").run()


async def test_an_agent_that_does_not_connect() -> None:
    with pytest.raises(BrokerError, match=r"did not connect within 0\.5 s"):
        await broker("never_connects", connect_timeout=0.5).run()


async def test_an_agent_whose_session_never_starts() -> None:
    with pytest.raises(BrokerError, match="not ready within 2 s"):
        await broker("never_ready", connect_timeout=2).run()


async def test_something_that_is_not_the_console_protocol() -> None:
    with pytest.raises(BrokerError, match=r"connection broke.*1073741824 bytes"):
        await broker("garbage").run()


async def test_a_connection_that_is_reset() -> None:
    with pytest.raises(BrokerError, match="connection broke"):
        await broker("breaks off").run()


async def test_only_one_agent_is_let_in() -> None:
    lines: list[str] = []
    result = await broker("brings a friend", on_agent_output=lines.append).run()

    assert result.reason is StopReason.ANSWERED
    assert "friend was sent away" in lines


async def test_a_line_without_end_does_not_stop_the_reading() -> None:
    lines: list[str] = []
    result = await broker("shouts", on_agent_output=lines.append).run()

    assert result.reason is StopReason.ANSWERED
    assert "after the shout" in lines


async def test_a_process_that_was_not_started() -> None:
    agent = process_module.AgentProcess(["agent"], on_output=None)
    await agent.stop()
    assert agent.returncode is None
    with pytest.raises(RuntimeError, match="call start"):
        await agent.wait()


async def test_a_command_that_does_not_exist() -> None:
    with pytest.raises(BrokerError, match="could not be started"):
        await ConsoleBroker(["/nowhere/to/be/found"], RECORDING, 16_000).run()


async def test_a_callback_that_raises_ends_the_session() -> None:
    def refuse(event: object) -> None:
        raise LookupError("no thanks")

    with pytest.raises(LookupError, match="no thanks"):
        await broker("answers", on_event=refuse).run()


async def test_an_agent_that_will_not_go_is_killed_with_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "INTERRUPT_GRACE", 0.2)
    monkeypatch.setattr(process_module, "TERMINATE_GRACE", 0.2)
    lines: list[str] = []
    result = await broker("stubborn", on_agent_output=lines.append).run()

    assert result.agent_exit_code == -9
    for pid in pids_in(lines):
        await gone(pid)


async def test_cancelling_leaves_nothing_behind() -> None:
    lines: list[str] = []
    started = asyncio.Event()

    def note(line: str) -> None:
        lines.append(line)
        if line.startswith("pids"):
            started.set()

    session = asyncio.create_task(broker("stubborn", on_agent_output=note).run())
    await started.wait()
    session.cancel()
    # The agent ignores what it is asked; a second cancellation, as from an impatient Ctrl-C, does not wait for it.
    await asyncio.sleep(0.2)
    session.cancel()
    with pytest.raises(asyncio.CancelledError):
        await session
    for pid in pids_in(lines):
        await gone(pid)


def pids_in(lines: list[str]) -> list[int]:
    return [int(pid) for pid in next(line for line in lines if line.startswith("pids")).split()[1:]]


async def gone(pid: int) -> None:
    """Wait until a process has ended: an orphan is a zombie until its new parent has looked at it."""
    stat = Path(f"/proc/{pid}/stat")
    while await asyncio.to_thread(stat.exists):
        with contextlib.suppress(OSError):
            if (await asyncio.to_thread(stat.read_text)).rsplit(")", 1)[1].split()[0] == "Z":
                return
        await asyncio.sleep(0.02)


async def test_a_broker_holds_one_session() -> None:
    once = broker("exits")
    with pytest.raises(BrokerError):
        await once.run()
    with pytest.raises(RuntimeError, match="one session"):
        await once.run()


def test_the_command_for_an_agents_file() -> None:
    assert console_command("agent.py") == [sys.executable, "-m", "livekit.agents", "console", "agent.py"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"command": []}, "command must not be empty"),
        ({"pcm": np.zeros(0, np.int16)}, "at least one sample"),
        ({"pcm": np.zeros((4, 2), np.int16)}, r"pcm must be int16 of shape \(n,\)"),
        ({"pcm": np.zeros(4, np.float32)}, r"pcm must be int16 of shape \(n,\)"),
        ({"sample_rate": 0}, "sample_rate must be positive"),
        ({"connect_timeout": 0}, "connect_timeout must be positive"),
        ({"answer_timeout": -1}, "answer_timeout must be positive"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"command": ["agent"], "pcm": RECORDING, "sample_rate": 16_000, **change}
    with pytest.raises(ValueError, match=message):
        ConsoleBroker(**arguments)  # type: ignore[arg-type]
