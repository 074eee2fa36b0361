"""The command ``eot``. One file for each of its commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import cast


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``eot``; returns the exit code."""
    from . import bench, console, doctor, replay, serve, tune

    parser = argparse.ArgumentParser(
        prog="eot", description="When has the user finished speaking? The same answer on LiveKit Agents and on Pipecat."
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (replay, bench, tune, console, serve, doctor):
        command.add_parser(commands)
    args = parser.parse_args(argv)
    try:
        code = cast(int, args.run(args))
        if sys.stdout is not None:  # as with ">&-"
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads the output has enough
        _say_no_more()
        return 1
    except OSError as error:  # a full disk, as a rule: what commands read they look after themselves
        _say_no_more()
        print(f"eot: {error}", file=sys.stderr)
        return 2


def _version() -> str:
    try:
        return f"eot-adapters {metadata.version('eot-adapters')}"
    except metadata.PackageNotFoundError:  # run where it lies
        return "eot-adapters, not installed"


def _say_no_more() -> None:
    """What is left of the output is flushed at exit, and would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
