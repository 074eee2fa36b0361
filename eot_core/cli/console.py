"""``eot console``: drive any LiveKit agent from a recording, without a LiveKit server or keys."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TextIO

from .audio_file import AudioFileError, mixed_down, read_audio
from .broker import (
    AgentError,
    AgentStateChanged,
    AudioReceived,
    BrokerError,
    ConsoleBroker,
    ConsoleResult,
    EotPredicted,
    Event,
    MessageAdded,
    OtherEvent,
    PlaybackEnded,
    StopReason,
    UsageUpdated,
    UserInputTranscribed,
    UserStateChanged,
    console_command,
)

EXIT_OK: Final = 0
EXIT_UNANSWERED: Final = 1
"""The session was held, but the last turn of the recording was not answered."""
EXIT_FAILED: Final = 2
"""The session could not be held; also what argparse exits with."""


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``argparse.ArgumentParser.add_subparsers`` returned."""
    parser = subparsers.add_parser(
        "console",
        help="drive a LiveKit agent from a recording",
        description="Play a recording, in real time, to any LiveKit agent, and print what happens. The agent runs in a "
        "process of its own and talks over LiveKit's TCP console: no server, no keys. Exit code 0: the last turn was "
        "answered; 1: it was not; 2: the session could not be held.",
    )
    parser.add_argument("agent", type=Path, metavar="AGENT.py", help="file that defines an AgentServer")
    parser.add_argument("--audio", type=Path, required=True, metavar="FILE", help="recording of the user's side")
    parser.add_argument("--channel", type=int, metavar="N", help="channel of the recording, from 0 (default: mix down)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of text")
    parser.add_argument("--agent-log", action="store_true", help="show what the agent writes, on standard error")
    parser.add_argument(
        "--answer-timeout", type=float, default=15.0, metavar="SECONDS", help="wait after the recording (default: 15)"
    )
    parser.add_argument(
        "--connect-timeout", type=float, default=60.0, metavar="SECONDS", help="wait for the agent (default: 60)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, *, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Run ``eot console``; return the exit code: 0 answered, 1 not answered in time, 2 could not be held."""
    out, err = out or sys.stdout, err or sys.stderr
    try:
        if not args.agent.is_file():
            raise BrokerError(f"{args.agent}: no such file")
        said = mixed_down("eot console", args.audio, err)
        pcm, rate = read_audio(args.audio, channel=args.channel, on_mixed=said)
        show = _show_json if args.json else _show_text
        broker = ConsoleBroker(
            console_command(args.agent),
            pcm,
            rate,
            on_event=show(out),
            on_agent_output=_line_to(err) if args.agent_log else None,
            answer_timeout=args.answer_timeout,
            connect_timeout=args.connect_timeout,
        )
        result = asyncio.run(_held(broker))
    except (AudioFileError, BrokerError, ValueError) as e:
        print(f"eot console: {e}", file=err)
        return EXIT_FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_FAILED
    if args.json:
        print(
            json.dumps({"event": "session_ended", "position": round(result.duration, 3), "reason": result.reason}),
            file=out,
        )
    else:
        print(f"{result.duration:8.2f}  session ended: {_REASONS[result.reason]}", file=out)
    return EXIT_OK if result.reason is StopReason.ANSWERED else EXIT_UNANSWERED


async def _held(broker: ConsoleBroker) -> ConsoleResult:
    """The conversation; SIGTERM ends it as Ctrl-C does, so that the agent does not stay behind."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not on Windows, nor in another thread
        loop.add_signal_handler(signal.SIGTERM, this.cancel)
    return await broker.run()


_REASONS: Final = {
    StopReason.ANSWERED: "everything was answered",
    StopReason.TIMEOUT: "the last turn was not answered in time",
    StopReason.NO_SPEECH: "the agent heard nobody speak",
    StopReason.AGENT_LEFT: "the agent hung up",
}


def _line_to(stream: TextIO) -> Callable[[str], None]:
    return lambda line: print(line, file=stream, flush=True)


def _show_text(out: TextIO) -> Callable[[Event], None]:
    def show(event: Event) -> None:
        text = describe(event)
        if text is not None:
            at = event.position if event.occurred_at is None else event.occurred_at
            print(f"{at:8.2f}  {text}", file=out, flush=True)

    return show


def _show_json(out: TextIO) -> Callable[[Event], None]:
    def show(event: Event) -> None:
        if not isinstance(event, AudioReceived):
            print(json.dumps(to_json(event)), file=out, flush=True)

    return show


_NAMES: Final[dict[type[Event], str]] = {
    UserStateChanged: "user_state_changed",
    AgentStateChanged: "agent_state_changed",
    UserInputTranscribed: "user_input_transcribed",
    EotPredicted: "eot_prediction",
    MessageAdded: "conversation_item_added",
    UsageUpdated: "session_usage_updated",
    AudioReceived: "audio_output",
    PlaybackEnded: "audio_playback_finished",
    AgentError: "error",
    OtherEvent: "other",
}


def to_json(event: Event) -> dict[str, object]:
    """An event as what JSON knows; ``event`` holds its name as LiveKit has it, samples are left out."""
    fields = dataclasses.asdict(event)
    fields.pop("pcm", None)
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in fields.items()}
    return {"event": _NAMES[type(event)], **rounded}


def describe(event: Event) -> str | None:
    """An event as a line of text; None for what would only be noise to read."""
    match event:
        case UserStateChanged():
            return f"user is {event.new}"
        case AgentStateChanged():
            return f"agent is {event.new}"
        case UserInputTranscribed(final=True):
            return f"heard: {event.transcript}"
        case EotPredicted():
            sign = ">=" if event.probability >= event.threshold else "<"
            return (
                f"end of turn {event.probability:.2f} {sign} {event.threshold:.2f}"
                f"  (model {event.inference_duration * 1000:.0f} ms)"
            )
        case MessageAdded(role="user"):
            return f"turn ended: {event.text}"
        case MessageAdded(role="assistant"):
            return f"agent said: {event.text}" + (" (interrupted)" if event.interrupted else "")
        case AgentError():
            return f"error: {event.message}"
        case _:
            return None
