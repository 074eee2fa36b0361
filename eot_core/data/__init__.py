"""The recording that comes with the package: a synthesised request with two pauses in the middle of the turn."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def demo_recording() -> Path:
    """Path of the recording: WAV, int16 mono at 16 kHz. Raises FileNotFoundError when it was not installed."""
    return _file("demo.wav")


def demo_transcript() -> Path:
    """Path of what is said in it: UTF-8, one line for each stretch of speech between two pauses."""
    return _file("demo.txt")


def _file(name: str) -> Path:
    # A wheel is unpacked on installation, so that the resource is a file; from a zip it would not be.
    path = Path(str(resources.files(__name__) / name))
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: install eot-adapters again, unpacked")
    return path
