"""What ``eot bench`` and ``eot tune`` share: both score pauses, keep the scores, and draw by chance."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument("--no-check", action="store_true", help="do not let Silero VAD look at labels")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where scores are kept (default: user's cache)")
    parser.add_argument("--no-cache", action="store_true", help="keep no scores")
    parser.add_argument("--seed", type=int, default=0, help="of resamples and halves (default: %(default)s)")
    parser.add_argument("--resamples", type=int, default=1000, help="for the intervals (default: %(default)s)")


def check_numbers(args: argparse.Namespace, more: Iterable[tuple[str, int | None, int]] = ()) -> None:
    """What :mod:`argparse` does not look at.

    Args:
        args: with those that are shared.
        more: arguments of the command's own: name, value, the least that it may be.

    Raises:
        ValueError: one is too small; the message names the argument.
    """
    for name, value, least in (("--resamples", args.resamples, 0), ("--seed", args.seed, 0), *more):
        if value is not None and value < least:
            raise ValueError(f"{name} must be {least} or more, got {value}")
