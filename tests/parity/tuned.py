"""Calibration files, made by ``eot tune`` from two-channel calls that are put together here."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "eot_core"), str(Path(__file__).parents[1] / "eot_core/evaluation")]

from own_head_files import write_own_heads  # noqa: E402
from two_channel import demo_calls  # noqa: E402

from eot_core.cli import tune  # noqa: E402
from eot_core.models.eot_open import EOT_OPEN_1  # noqa: E402
from eot_core.models.smart_turn import SMART_TURN_V3_2  # noqa: E402

CURVES = ("step", "continuous")


def files(folder: Path) -> dict[str, Path]:
    """By curve: for smart-turn, English and German. German calls are of telephones."""
    demo_calls(folder / "calls/en", 6, 7)
    demo_calls(folder / "calls/de", 6, 7, rate=8_000)
    return {curve: _tuned(folder, curve) for curve in CURVES}


def with_head(folder: Path) -> Path:
    """For eot-open-1, with a head for English and none for German. It is the package's, its logit moved: what counts is
    that it is used on both frameworks, not what it was fitted on."""
    return write_own_heads(folder / "head.json", {"en": 1.5}, EOT_OPEN_1.name, languages=("de",))


def _tuned(folder: Path, curve: str) -> Path:
    path = folder / f"{curve}.json"
    parser = argparse.ArgumentParser()
    tune.add_parser(parser.add_subparsers())
    arguments = ["tune", folder / "calls", "-o", path, "--cache", folder / "cache", "--resamples", 20, "--curve", curve]
    out, err = io.StringIO(), io.StringIO()
    given = parser.parse_args([*map(str, arguments), "--model", SMART_TURN_V3_2.name])
    code = tune.run(given, out=out, err=err)
    if code:
        raise RuntimeError(f"eot tune gave {code}: {err.getvalue()[-2000:]}")
    return path
