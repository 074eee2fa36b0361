"""``eot replay``: a recording through the detector; a line for each pause and each turn."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from .audio_file import AudioFileError, read_audio
from .rows import PauseRow, Row, TurnRow
from .table import JsonPrinter, TablePrinter

FRAMEWORKS = ("core", "livekit")
EXIT_OK = 0
EXIT_NO_TURN = 1
"""The recording was played, and no turn ended."""
EXIT_FAILED = 2


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``argparse.ArgumentParser.add_subparsers`` returned."""
    parser = subparsers.add_parser(
        "replay",
        help="a recording through the detector",
        description="Play a recording to the turn detector and print a line for each pause and each turn: when, the "
        "probability, the threshold, what was decided, and the delay from the true end of speech. Exit code 0: a turn "
        "ended; 1: none did; 2: the recording could not be played.",
    )
    parser.add_argument("audio", nargs="?", type=Path, help="WAV, FLAC, Ogg, MP3 (default: the bundled recording)")
    parser.add_argument(
        "--framework",
        choices=FRAMEWORKS,
        default="core",
        help="core: as fast as the machine can; livekit: in real time, through an AgentSession (default: core)",
    )
    parser.add_argument("--model", help="full name of the model, or path of an ONNX file (default: the framework's)")
    parser.add_argument("--language", metavar="TAG", help='BCP-47 tag of the speech, for example "pt-BR"')
    parser.add_argument("--json", action="store_true", help="a JSON object per line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, *, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Run ``eot replay``; returns the exit code."""
    out, err = out or sys.stdout, err or sys.stderr
    show = JsonPrinter(out) if args.json else TablePrinter(out)
    turns = pauses = 0

    def on_row(row: Row) -> None:
        nonlocal turns, pauses
        turns += isinstance(row, TurnRow)
        pauses += isinstance(row, PauseRow) and row.decision == "listened_through"
        show(row)

    try:
        _REPLAYS[args.framework](args, on_row, err)
    except _Failed as error:
        print(f"eot replay: {error}", file=err)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED
    if not args.json:
        print(
            f"\n{turns} turn{'s' * (turns != 1)} ended, {pauses} pause{'s' * (pauses != 1)} listened through", file=out
        )
    return EXIT_OK if turns else EXIT_NO_TURN


class _Failed(Exception):
    """What to tell the user."""


def _core(args: argparse.Namespace, on_row: Callable[[Row], None], err: TextIO) -> None:
    from ..clock import ManualClock
    from ..data import demo_recording
    from ..detector import TurnDetector
    from ..models.base import ModelError
    from .replay_core import replay_core

    try:
        pcm, rate = read_audio(args.audio or demo_recording())
        if rate > 48_000:
            import soxr

            pcm, rate = soxr.resample(pcm, rate, 48_000), 48_000
        detector = TurnDetector(model=args.model or "smart-turn-v3.2", clock=ManualClock())
        detector.warm_up()
        asyncio.run(replay_core(pcm, rate, detector=detector, language=args.language, on_row=on_row))
    except (AudioFileError, ModelError, ValueError, FileNotFoundError) as error:
        raise _Failed(error) from error


def _livekit(args: argparse.Namespace, on_row: Callable[[Row], None], err: TextIO) -> None:
    from .replay_livekit import ReplayError, replay_livekit

    try:
        result = asyncio.run(replay_livekit(args.audio, model=args.model, language=args.language, on_row=on_row))
    except (AudioFileError, ReplayError, FileNotFoundError) as error:
        raise _Failed(error) from error
    for message in result.errors:
        print(f"eot replay: the agent reported: {message}", file=err)


_REPLAYS: dict[str, Callable[[argparse.Namespace, Callable[[Row], None], TextIO], None]] = {
    "core": _core,
    "livekit": _livekit,
}
