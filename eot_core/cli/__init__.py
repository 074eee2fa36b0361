"""The command ``eot``. One file for each of its commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import cast


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``eot``; returns the exit code."""
    from . import bench, console, doctor, replay, serve, tune

    parser = argparse.ArgumentParser(
        prog="eot", description="When has the user finished speaking? The same answer on LiveKit Agents and on Pipecat."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (replay, bench, tune, console, serve, doctor):
        command.add_parser(commands)
    args = parser.parse_args(argv)
    try:
        code = cast(int, args.run(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads the output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed at exit
        return 1
