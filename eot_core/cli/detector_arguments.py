"""``--calibration`` and ``--operating-point``: what a detector is given from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

if TYPE_CHECKING:
    from ..operating_points import OperatingPoint

_BUDGETS: Final = ("max_cutoff_rate", "max_latency")
"""Fields of an :class:`~eot_core.operating_points.OperatingPoint` that are numbers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help='that eot tune wrote, as TurnDetector(calibration="FILE") takes it; alone it means "balanced", for the '
        "models that it has",
    )
    parser.add_argument(
        "--operating-point",
        metavar="POINT",
        help="quick, balanced or patient; max_cutoff_rate=0.05: at most 5 %% of the pauses inside turns are taken for "
        "their end; max_latency=0.3: 0.3 s on average (default: the model's threshold, the framework's delays)",
    )


def detector_options(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of :class:`~eot_core.detector.TurnDetector`, the same on every framework.

    Raises:
        ValueError: there is no such operating point, or the file is no calibration file; the message says which.
    """
    from ..policy_table import PolicyTable

    if args.calibration is not None:
        PolicyTable.load(args.calibration)  # said before anything is started
    point = None if args.operating_point is None else parse_point(args.operating_point)
    return {"operating_point": point, "calibration": args.calibration}


def parse_point(text: str) -> OperatingPoint:
    """An operating point: a name, or ``max_cutoff_rate=0.05``, ``max_latency=0.3``.

    Raises:
        ValueError: it is none, or its number is out of range.
    """
    from ..operating_points import Name, OperatingPoint

    names = get_args(Name)
    if text in names:
        return OperatingPoint.parse(text)
    kind, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        kind = ""
    if kind not in _BUDGETS:
        expected = f"{', '.join(names)}, {_BUDGETS[0]}=0.05 or {_BUDGETS[1]}=0.3"
        raise ValueError(f"--operating-point must be {expected}, got {text!r}")
    try:
        return OperatingPoint(**{kind: value})  # type: ignore[arg-type]  # one of the two that are numbers
    except ValueError as error:
        raise ValueError(f"--operating-point: {error}") from error
