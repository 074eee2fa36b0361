"""``eot doctor``: what would run here, and why. Dials nobody, prints no secrets."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any, TextIO

_PACKAGES = ("eot-adapters", "livekit-agents", "livekit-local-inference", "pipecat-ai", "onnxruntime", "numpy", "soxr")
_VARIABLES = (
    "LIVEKIT_REMOTE_EOT_URL",
    "LIVEKIT_DEV_MODE",
    "LIVEKIT_URL",
    "LIVEKIT_INFERENCE_URL",
    "LIVEKIT_INFERENCE_API_KEY",
    "LIVEKIT_INFERENCE_API_SECRET",
    "LIVEKIT_API_KEY",
    "LIVEKIT_API_SECRET",
)


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``argparse.ArgumentParser.add_subparsers`` returned."""
    parser = subparsers.add_parser(
        "doctor",
        help="what would run here, and why",
        description="Print which turn detector would be chosen in this environment and why, which models and which VAD "
        "weights are installed. Nothing is dialled; of keys and URLs only whether they are set.",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, *, out: TextIO | None = None) -> int:
    """Run ``eot doctor``; returns 0 where a detector can run here, 1 where none can."""
    from ..models.registry import available_models

    out = out or sys.stdout
    for line in [*_versions(), *_choice(), *_models(), *_vad()]:
        print(line, file=out)
    return 0 if _can_choose() and (available_models() or _v1_mini_installed()) else 1


def _versions() -> Iterator[str]:
    yield f"python {platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in _PACKAGES:
        yield f"  {name:<24} {_version(name) or 'not installed'}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _v1_mini_installed() -> bool:
    return _version("livekit-agents") is not None and _version("livekit-local-inference") is not None


def _can_choose() -> bool:
    from ..cloud import select

    try:
        select(version=None, base_url=None, api_key=None, api_secret=None)
    except ValueError:
        return False
    return True


def _choice() -> Iterator[str]:
    from ..cloud import CLOUD_MODEL, select
    from ..models.registry import default_model

    yield ""
    yield "turn detector"
    try:
        selection = select(version=None, base_url=None, api_key=None, api_secret=None)
    except ValueError as error:
        yield f"  none can be made: {str(error).partition(', got ')[0]}"  # what follows is the URL
        return
    if selection.cloud:
        yield f"  chosen on both frameworks: {CLOUD_MODEL}, a local model when it fails"
    else:
        yield f"  chosen on LiveKit Agents:  {'turn-detector-v1-mini' if _v1_mini_installed() else 'none (see below)'}"
        yield f"  chosen elsewhere:          {default_model().name}"
    yield f"  because: {selection.reason}"
    for name in _VARIABLES:
        value = os.environ.get(name)
        yield f"  {name:<30} {'not set' if value is None else 'set' if value else 'set, empty'}"


def _models() -> Iterator[str]:
    from ..models.registry import available_models

    yield ""
    yield "local models"
    found = available_models()
    for spec in found:
        yield f"  {spec.name:<24} {spec.license}, {spec.window:g} s, from {spec.provider}"
    names = {spec.name for spec in found}
    for name, extra in (("eot-open-1", "open"), ("smart-turn-v3.2", "pipecat")):
        if name not in names:
            yield f"  {name:<24} not installed: pip install 'eot-adapters[{extra}]'"
    if _v1_mini_installed():
        yield "  turn-detector-v1-mini    LiveKit Model License, 1.2 s: inside LiveKit Agents only"
    else:
        yield "  turn-detector-v1-mini    not installed: pip install 'eot-adapters[livekit]'"


def _vad() -> Iterator[str]:
    from ..models.base import ModelError
    from ..vad.silero import weights_path

    yield ""
    try:
        weights_path()
    except ModelError as error:
        yield f"voice activity detection: {error}"
    else:
        yield "voice activity detection: Silero, weights found and checked"
