"""``eot doctor``: what would run here, and why. Dials nobody, prints no secrets."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any, NamedTuple, TextIO

_PACKAGES = (
    "eot-adapters",
    "livekit-agents",
    "livekit-local-inference",
    "pipecat-ai",
    "onnxruntime",
    "onnx",
    "numpy",
    "soxr",
)
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

_NAMED = ("eot-open-1", "smart-turn-v3.2")
"""Models whose absence is told; what else is missing is missing with them."""
_NONE = "none (see below)"


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``argparse.ArgumentParser.add_subparsers`` returned."""
    parser = subparsers.add_parser(
        "doctor",
        help="what would run here, and why",
        description="Print which turn detector would be chosen in this environment and why, which models and which VAD "
        "weights are installed, and whether they are what they should be. Nothing is dialled; of keys and URLs only "
        "whether they are set. Exit code 0: a detector can run here; 1: none can, or weights are damaged.",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, *, out: TextIO | None = None) -> int:
    """Run ``eot doctor``; returns 0 where a detector can run here, 1 where none can, or where weights are damaged."""
    from ..models.registry import available_models

    out = out or sys.stdout
    models, vad = _models(), _vad()
    for line in [*_versions(), *_choice(), *models.lines, *vad.lines]:
        print(line, file=out)
    runs = _can_choose() and (available_models() or _v1_mini_installed())
    return 0 if runs and not models.damaged and not vad.damaged else 1


class _Found(NamedTuple):
    lines: list[str]
    damaged: bool


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
    from ..models.registry import available_models, default_model
    from ..transports.proxy import proxy_of
    from ..transports.websocket import eot_url

    yield ""
    yield "turn detector"
    try:
        selection = select(version=None, base_url=None, api_key=None, api_secret=None)
    except ValueError as error:
        yield f"  none can be made: {str(error).partition(', got ')[0]}"  # what follows is the URL
        return
    if selection.cloud:
        local = "a local model when it fails"
        if not available_models() and not _v1_mini_installed():
            local = "and no local model when it fails (see below)"
        yield f"  chosen on both frameworks: {CLOUD_MODEL}, {local}"
        if proxy_of(eot_url(str(selection.base_url))) is not None:
            yield "  by way of:                 the HTTP proxy that the environment names"
    else:
        elsewhere = default_model()
        yield f"  chosen on LiveKit Agents:  {'turn-detector-v1-mini' if _v1_mini_installed() else _NONE}"
        yield f"  chosen elsewhere:          {elsewhere.name if elsewhere.is_available() else _NONE}"
    yield f"  because: {selection.reason}"
    for name in _VARIABLES:
        value = os.environ.get(name)
        yield f"  {name:<30} {'not set' if value is None else 'set' if value else 'set, empty'}"


def _models() -> _Found:
    from ..models.base import ModelError, ModelIntegrityError
    from ..models.registry import known_models

    lines, missing, damaged = ["", "local models"], [], False
    for spec in known_models():
        try:
            spec.check()
        except ModelIntegrityError as error:
            lines.append(f"  {spec.name:<24} {error}")
            damaged = True
        except ModelError as error:
            if spec.name in _NAMED:
                missing.append(f"  {spec.name:<24} {str(error).removeprefix(f'{spec.name} is ')}")
        else:
            lines.append(f"  {spec.name:<24} {spec.license}, {spec.window:g} s, from {spec.provider}")
    mini = "LiveKit Model License, 1.2 s: inside LiveKit Agents only"
    if not _v1_mini_installed():
        mini = "not installed: pip install 'eot-adapters[livekit]'"
    return _Found([*lines, *missing, f"  turn-detector-v1-mini    {mini}"], damaged)


def _vad() -> _Found:
    from ..models.base import ModelError, ModelIntegrityError
    from ..vad.silero import weights_path

    try:
        weights_path()
    except ModelError as error:
        return _Found(["", f"voice activity detection: {error}"], isinstance(error, ModelIntegrityError))
    return _Found(["", "voice activity detection: Silero, weights found and checked"], False)
