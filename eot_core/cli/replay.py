"""``eot replay``: a recording through the detector; a line for each pause and each turn."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from ..cloud import CLOUD_MODEL
from .audio_file import AudioFileError, Pcm, mixed_down, read_audio
from .detector_arguments import add_arguments, detector_options
from .local_gateway import LocalGateway, LocalGatewayError
from .rows import PauseRow, Row, TurnRow
from .table import JsonPrinter, SideBySide, TablePrinter

FRAMEWORKS = ("core", "livekit", "pipecat", "both")
EXIT_OK = 0
EXIT_NO_TURN = 1
"""The recording was played, and no turn ended."""
EXIT_FAILED = 2

OnRow = Callable[[Row], None]
Recording = tuple[Pcm, int]
"""int16 mono samples of shape (n,), and their rate in Hz."""


class ReplayFailed(Exception):
    """What to tell the user."""


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
        help="core: as fast as the machine can; livekit: in real time, through an AgentSession; pipecat: through a "
        "pipeline; both: side by side, with the same model (default: core; livekit where only its own model is "
        "installed, or is named)",
    )
    parser.add_argument("--channel", type=int, metavar="N", help="channel of the recording, from 0 (default: mix down)")
    parser.add_argument("--model", help="full name of the model, or path of an ONNX file (default: the framework's)")
    add_arguments(parser)
    parser.add_argument(
        "--language", metavar="TAG", help='BCP-47 tag of the speech, for example "pt-BR" (default: English)'
    )
    parser.add_argument(
        "--cloud",
        action="store_true",
        help="through a gateway on this machine, which is killed after the first pause (livekit, pipecat, both)",
    )
    parser.add_argument("--json", action="store_true", help="a JSON object per line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, *, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Run ``eot replay``; returns the exit code."""
    out, err = out or sys.stdout, err or sys.stderr
    try:
        return asyncio.run(_run(args, out, err))
    except (ReplayFailed, AudioFileError, LocalGatewayError, FileNotFoundError) as error:
        print(f"eot replay: {error}", file=err)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED


async def _run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    framework = _framework(args, err)
    if args.cloud and framework == "core":
        raise ReplayFailed("--cloud needs --framework livekit, pipecat or both: the core's replay has no real time")
    if args.cloud and args.model is not None:
        raise ReplayFailed(f"--cloud plays through {CLOUD_MODEL} until it is gone: leave out --model")
    _options(args)
    names = ("livekit", "pipecat") if framework == "both" else (framework,)
    if len(names) > 1:
        if args.model is None and not args.cloud:
            args.model = _default_model()  # the same on both
        _check_both(args)  # before one of them takes its time
    recording = await asyncio.to_thread(_recording, args, err)
    tables: dict[str, list[Row]] = {}
    for name in names:
        rows = tables[name] = []
        if not args.json and len(names) > 1:
            print(f"{name}:", file=out)
        show = JsonPrinter(out, framework=name if len(names) > 1 else None) if args.json else TablePrinter(out)
        await _play(name, args, recording, rows, show, out, err)
        if not args.json:
            print(f"\n{_summary(rows)}\n", file=out)
    if len(names) > 1 and not args.json:
        SideBySide(out).print(tables)
    return EXIT_OK if all(any(isinstance(row, TurnRow) for row in rows) for rows in tables.values()) else EXIT_NO_TURN


def _framework(args: argparse.Namespace, err: TextIO) -> str:
    """The one that was named; else the core, unless LiveKit is all that can run. What is not the default is said."""
    from ..models import v1_mini

    if args.framework is not None:
        return str(args.framework)
    if args.model in (v1_mini.NAME, "v1-mini"):
        print(f"eot replay: --framework livekit, which {args.model} runs on only", file=err)
        return "livekit"
    asks_for_more = any((args.model, args.calibration, args.operating_point, args.cloud))
    if not asks_for_more and _only_livekit():
        print(
            f"eot replay: --framework livekit, with {v1_mini.NAME}: no other local model is installed "
            "(pip install 'eot-adapters[open]')",
            file=err,
        )
        return "livekit"
    return "core"


def _only_livekit() -> bool:
    """Whether LiveKit's model is installed and no other is. One whose weights are damaged is: the core says so."""
    from ..models.base import ModelError, ModelNotInstalledError
    from ..models.registry import default_model
    from .replay_livekit import can_run

    try:
        default_model().check()
    except ModelNotInstalledError:
        return can_run()
    except ModelError:
        return False
    return False


def _check_both(args: argparse.Namespace) -> None:
    """That both can run.

    Raises:
        ReplayFailed: one of the frameworks, or the model that is to run on both, is not there or may not run.
    """
    from ..models.base import ModelError
    from ..models.registry import resolve_model
    from .replay_livekit import ReplayError, agent_file

    try:
        agent_file()
        _check_pipecat()
        if args.model is not None:
            resolve_model(args.model).check()
    except (ReplayError, ModelError, ValueError) as error:
        raise _refused(error) from error


def _check_pipecat() -> None:
    if importlib.util.find_spec("pipecat") is None:
        raise ReplayFailed("Pipecat is not installed: pip install 'eot-adapters[pipecat]'")


def _recording(args: argparse.Namespace, err: TextIO) -> Recording:
    from ..data import demo_recording

    said = mixed_down("eot replay", args.audio, err)
    return read_audio(args.audio or demo_recording(), channel=args.channel, on_mixed=said)


def _refused(error: Exception) -> ReplayFailed:
    from ..models.base import ModelLicenseError

    return ReplayFailed(f"{error}. Add --framework livekit" if isinstance(error, ModelLicenseError) else error)


async def _play(
    name: str,
    args: argparse.Namespace,
    recording: Recording,
    rows: list[Row],
    show: OnRow,
    out: TextIO,
    err: TextIO,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(LocalGateway()) if args.cloud else None

        def on_row(row: Row) -> None:
            rows.append(row)
            show(row)
            if gateway is not None and len(rows) == 1:
                gateway.kill()
                print(f"{'':9}(the gateway was killed)", file=err if args.json else out, flush=True)

        await _REPLAYS[name](args, recording, gateway, on_row, err)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    try:
        return detector_options(args)
    except ValueError as error:
        raise ReplayFailed(error) from error


def _default_model() -> str:
    """Name of the local model that runs on both frameworks; given by name, no cloud is looked for."""
    from ..models.registry import default_model

    return default_model().name


def _summary(rows: list[Row]) -> str:
    turns = sum(isinstance(row, TurnRow) for row in rows)
    pauses = sum(isinstance(row, PauseRow) and row.decision == "listened_through" for row in rows)
    return f"{turns} turn{'s' * (turns != 1)} ended, {pauses} pause{'s' * (pauses != 1)} listened through"


async def _core(
    args: argparse.Namespace, recording: Recording, gateway: LocalGateway | None, on_row: OnRow, err: TextIO
) -> None:
    from ..clock import ManualClock
    from ..detector import TurnDetector
    from ..models.base import ModelError
    from .replay_core import replay_core

    pcm, rate = recording
    try:
        if rate > 48_000:
            import soxr

            pcm, rate = soxr.resample(pcm, rate, 48_000), 48_000
        detector = TurnDetector(model=args.model or _default_model(), clock=ManualClock(), **_options(args))
        detector.warm_up()
        await replay_core(pcm, rate, detector=detector, language=args.language or "en", on_row=on_row)
    except (ModelError, ValueError) as error:
        raise _refused(error) from error


async def _livekit(
    args: argparse.Namespace, recording: Recording, gateway: LocalGateway | None, on_row: OnRow, err: TextIO
) -> None:
    from .replay_livekit import ReplayError, replay_livekit

    try:
        result = await replay_livekit(
            None if args.audio is None else recording,  # of the bundled one it is known what is said
            model=args.model,
            language=args.language,
            gateway=gateway,
            operating_point=args.operating_point,
            calibration=args.calibration,
            on_row=on_row,
            on_warning=lambda message: print(f"eot replay: {message}", file=err),
        )
    except ReplayError as error:
        raise ReplayFailed(error) from error
    for message in result.errors:
        print(f"eot replay: the agent reported: {message}", file=err)


async def _pipecat(
    args: argparse.Namespace, recording: Recording, gateway: LocalGateway | None, on_row: OnRow, err: TextIO
) -> None:
    from ..data import demo_transcript
    from ..detector import TurnDetector
    from ..models.base import ModelError

    _check_pipecat()
    from loguru import logger

    logger.remove()
    logger.add(err, level="WARNING", format="{level}: {message}")
    from adapters.pipecat.replay import replay

    try:
        options = _options(args)
        if gateway is None:
            detector = TurnDetector(model=args.model or _default_model(), **options)
        else:
            detector = TurnDetector(
                version="v1",
                base_url=gateway.url,
                api_key=gateway.api_key,
                api_secret=gateway.api_secret,
                **options,
            )
        lines = [] if args.audio else demo_transcript().read_text(encoding="utf-8").splitlines()
        await asyncio.to_thread(detector.warm_up)
        await replay(*recording, detector=detector, lines=lines, language=args.language, on_row=on_row)
    except (ModelError, ValueError) as error:
        raise _refused(error) from error


_REPLAYS = {"core": _core, "livekit": _livekit, "pipecat": _pipecat}
