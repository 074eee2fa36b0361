"""A user's own end-of-turn model: an ONNX file by path, with a declared window.

``TurnDetector(model="mine.onnx")`` declares 8 s and a threshold of 0.5; to declare others::

    TurnDetector(model=onnx_file("mine.onnx", window=2.0, threshold=0.4))

The graph has one input and says itself what it wants:

- float32 ``[batch, 80, frames]``: Whisper log-mel features as smart-turn takes them, 100 frames a second;
- float32 ``[batch, samples]``: the waveform at 16 kHz, -1..1.

Either is left-padded with silence to the window. The first output holds one probability per item, 0..1. A graph that
ends in a logit instead says so in its metadata (``eot.output`` = ``logit``), and a sigmoid is applied here.
"""

from __future__ import annotations

import math
import os
import re
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import SAMPLE_RATE, Model, ModelError, ModelSpec, PcmArray
from .session import OnnxSession, shared_session
from .weights import explicit_weights
from .whisper_features import FRAMES_PER_SECOND, MEL_BANDS, log_mel

MAX_WINDOW = 30.0
"""Seconds; what a Whisper encoder takes at most."""
OUTPUT_METADATA = "eot.output"
"""Key of the graph's metadata: "probability" (the default) or "logit"."""

_SLACK = 1e-4
"""How far a quantised sigmoid may lie outside 0..1 before it is taken for something else."""


def onnx_file(
    path: str | os.PathLike[str],
    *,
    window: float = 8.0,
    name: str | None = None,
    threshold: float = 0.5,
    pre_speech: float | None = None,
    sha256: str | None = None,
) -> ModelSpec:
    """Describe a model in an ONNX file. The file is looked at when the model is loaded, not here.

    The same arguments give the same spec, so that one loaded model serves them all.

    Args:
        path: the file; its name ends in ".onnx".
        window: seconds of audio that the model sees, more than 0, at most 30, in steps of 10 ms.
        name: full model name; None takes the file's name without ".onnx".
        threshold: calibrated threshold for every language, 0..1.
        pre_speech: seconds before the onset of the turn that belong to the window, from 0 to ``window``; None for a
            rolling window that ignores turns.
        sha256: checksum of the file, 64 hex digits; None accepts any.

    Raises:
        ValueError: an argument is out of range.
        TypeError: ``path`` is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or a path, got {type(path).__name__}")
    file = Path(os.path.abspath(os.path.expanduser(os.fspath(path))))
    if file.suffix.lower() != ".onnx":
        raise ValueError(f'path must end in ".onnx", got {str(path)!r}')
    _check_number("window", window, 0.01, MAX_WINDOW)
    if abs(window * FRAMES_PER_SECOND - round(window * FRAMES_PER_SECOND)) > 1e-6:
        raise ValueError(f"window must be a multiple of 0.01 s, got {window!r}")
    _check_number("threshold", threshold, 0.0, 1.0)
    if pre_speech is not None:
        _check_number("pre_speech", pre_speech, 0.0, window)
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise ValueError(f"name must be a non-empty string, got {name!r}: leave it out to use the file's name")
    if sha256 is not None and (not isinstance(sha256, str) or not re.fullmatch("[0-9a-fA-F]{64}", sha256)):
        raise ValueError(f"sha256 must be 64 hex digits, got {sha256!r}: see `sha256sum {file.name}`")
    return _spec(file, float(window), name or file.stem, float(threshold), pre_speech, sha256 and sha256.lower())


def _check_number(argument: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{argument} must be a number from {low:g} to {high:g}, got {value!r}")


@lru_cache(maxsize=64)
def _spec(
    file: Path, window: float, name: str, threshold: float, pre_speech: float | None, sha256: str | None
) -> ModelSpec:
    return ModelSpec(
        name=name,
        provider="user",
        license="as stated by its owner",
        window=window,
        load=partial(_load, file, window, sha256),
        default_threshold=threshold,
        pre_speech=pre_speech,
        sha256=sha256,
        file=file,
        check=partial(_weights, file, sha256),
    )


def _weights(file: Path, sha256: str | None) -> Path:
    return explicit_weights(file, sha256=(sha256,) if sha256 else (), argument="path")


def _load(file: Path, window: float, sha256: str | None) -> Model:
    model = OnnxFileModel(shared_session(_weights(file, sha256)), window=window, name=file.name)
    # A logit may fall within 0..1 on silence; noise makes it likelier to show.
    samples = round(window * SAMPLE_RATE)
    model.predict(np.zeros(samples, dtype=np.int16))
    model.predict(np.random.default_rng(0).integers(-8000, 8000, samples, dtype=np.int16))
    return model


class OnnxFileModel:
    """The loaded model."""

    def __init__(self, session: OnnxSession, *, window: float, name: str) -> None:
        """
        Raises:
            ModelError: the graph is not of a form described above, or does not fit ``window``.
        """
        self._session = session
        self._name = name
        self._window = window
        inputs = session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(f"{name}: the graph must have one input, it has {len(inputs)}")
        self._input, shape = inputs[0].name, list(inputs[0].shape)
        if inputs[0].type != "tensor(float)":
            raise ModelError(f"{name}: input {self._input!r} must be float32, it is {inputs[0].type}")
        if len(shape) == 3 and shape[1] == MEL_BANDS:
            self._takes_features = True
            self._check_length(shape[2], FRAMES_PER_SECOND, "frames")
        elif len(shape) == 2:
            self._takes_features = False
            self._check_length(shape[1], SAMPLE_RATE, "samples")
        else:
            raise ModelError(
                f"{name}: input {self._input!r} has shape {shape}; expected [batch, {MEL_BANDS}, frames] for log-mel "
                "features or [batch, samples] for a waveform"
            )
        if isinstance(shape[0], int) and shape[0] != 1:
            raise ModelError(f"{name}: the batch axis is fixed to {shape[0]}: export it symbolic, or as 1")
        self._output = session.get_outputs()[0].name
        kind = session.get_modelmeta().custom_metadata_map.get(OUTPUT_METADATA, "probability")
        if kind not in ("probability", "logit"):
            raise ModelError(f'{name}: metadata {OUTPUT_METADATA} must be "probability" or "logit", it is {kind!r}')
        self._is_logit = kind == "logit"

    def _check_length(self, length: Any, per_second: int, unit: str) -> None:
        """A symbolic axis (a string or None) takes any window."""
        if isinstance(length, int) and length != round(self._window * per_second):
            raise ModelError(
                f"{self._name}: the graph takes {length} {unit}, which is a window of {length / per_second:g} s, "
                f"not {self._window:g} s: pass window={length / per_second:g} (model=onnx_file(path, window=...), from "
                "eot_core.models.onnx_file)"
            )

    def predict(self, pcm: PcmArray) -> float:
        """Probability that the turn has ended; ``pcm`` is int16 mono at 16 kHz, shape (n,).

        Raises:
            ModelError: the output is not one number from 0 to 1.
        """
        waveform = pcm.astype(np.float32) / 32768.0
        features = log_mel(waveform, window=self._window) if self._takes_features else self._padded(waveform)
        output = np.asarray(self._session.run([self._output], {self._input: features[np.newaxis]})[0])
        if output.size != 1:
            raise ModelError(f"{self._name}: output {self._output!r} has shape {output.shape}; expected one number")
        value = float(output.reshape(()))
        if math.isnan(value):
            return value  # the session judges: it counts as a failed request
        if self._is_logit:
            return 0.5 + 0.5 * math.tanh(value / 2.0)  # the sigmoid, without its overflow
        if not -_SLACK <= value <= 1.0 + _SLACK:
            raise ModelError(
                f"{self._name}: output {self._output!r} is {value:.4g}, outside 0..1: end the graph in a sigmoid, "
                f'or set its metadata {OUTPUT_METADATA} to "logit"'
            )
        return max(0.0, min(1.0, value))

    def _padded(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        window = np.zeros(round(self._window * SAMPLE_RATE), dtype=np.float32)
        newest = waveform[-window.size :]
        window[window.size - newest.size :] = newest
        return window
