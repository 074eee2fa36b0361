"""Our head: a linear function of an encoder's hidden states, averaged over stretches of time. A small JSON file.

``p = sigmoid(slope * (weights . (features - mean) / scale + bias) + offset)``. ``features`` are the ``inputs`` of the
file one after another: the mean of a hidden layer over some of the newest frames, the pooled embedding, the encoder's
own logit, or how short the turn has been so far. The file names the encoder that it belongs to by its sha256; with
another it is refused.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import graph
from .base import ModelError, ModelIntegrityError
from .spoken import brevity

FORMAT = "eot-open-head/1"
HIDDEN_SIZE = 384
SPOKEN = "spoken"
"""Beside the encoder's tensors: seconds of speech in the window, shape (), see :mod:`.spoken`."""

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeadInput:
    """One stretch of what the encoder gives."""

    tensor: str
    """One of :data:`graph.HIDDEN`, :data:`graph.EMBEDDING`, :data:`graph.LOGIT` or :data:`SPOKEN`."""
    newest: int = 0
    """Of a hidden layer: frames to leave out at the new end (50 a second)."""
    oldest: int = 0
    """Of a hidden layer: the mean is over the frames from ``newest`` to before this one, counted from the new end."""
    full: float = 0.0
    """Of the seconds spoken: up to so many the feature is 1."""
    none: float = 0.0
    """From so many on it is 0."""

    @property
    def size(self) -> int:
        """How many features this gives."""
        return 1 if self.tensor in (graph.LOGIT, SPOKEN) else HIDDEN_SIZE

    def of(self, output: npt.NDArray[np.float32]) -> Vector:
        """The features, shape (size,), from the tensor for one item: shape (frames, 384), (384,), (1,) or ()."""
        if self.tensor == SPOKEN:
            return np.array([brevity(float(output), self.full, self.none)], dtype=np.float32)
        if self.tensor not in graph.HIDDEN:
            return np.asarray(output, dtype=np.float32).reshape(self.size)
        stop = len(output) - self.newest
        return np.asarray(output[len(output) - self.oldest : stop].mean(axis=0), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A checked head."""

    model: str
    """Name of the model that it makes of the encoder, for example "eot-open-1"."""
    license: str
    """SPDX identifier of the head itself."""
    encoder_sha256: str
    window: float
    """Seconds of audio that it was fitted with."""
    inputs: tuple[HeadInput, ...]
    weights: Vector
    """Of the standardised features, calibration included: shape (n,)."""
    bias: float
    default_threshold: float
    thresholds: Mapping[str, float]
    """For each language that it was fitted on or measured on (ISO 639-1 key), 0..1."""
    provenance: Mapping[str, Any]
    """How and on what it was fitted; for people."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """What the encoder must give, each once."""
        return tuple(dict.fromkeys(item.tensor for item in self.inputs if item.tensor != SPOKEN))

    @property
    def newest(self) -> int | None:
        """How many of the newest frames of its last layer are enough; None where it sees what is behind the layers."""
        if not set(self.tensors) <= set(graph.HIDDEN):
            return None
        last = max(self.tensors, key=graph.HIDDEN.index)
        return max(item.oldest for item in self.inputs if item.tensor == last)

    def features(self, outputs: Mapping[str, npt.NDArray[np.float32]]) -> Vector:
        """What the head sees, shape (n,), from the encoder's tensors for one item, without the batch axis, and
        :data:`SPOKEN`."""
        return np.concatenate([item.of(outputs[item.tensor]) for item in self.inputs])

    def score(self, features: Vector) -> float:
        """Probability that the turn has ended, from :meth:`features`. NaN where there is any in them."""
        return sigmoid(float(self.weights @ features) + self.bias)

    def probability(self, outputs: Mapping[str, npt.NDArray[np.float32]]) -> float:
        """Probability that the turn has ended, from what :meth:`features` takes.

        NaN where the encoder gave any.
        """
        return self.score(self.features(outputs))


def sigmoid(logit: float) -> float:
    """Without the overflow of the usual way to write it."""
    return 0.5 + 0.5 * math.tanh(logit / 2.0)


def read_head(path: Path, *, encoder_sha256: str) -> Head:
    """Read and check a head.

    Args:
        path: the JSON file.
        encoder_sha256: checksum of the encoder that it is meant for, hex.

    Raises:
        ModelIntegrityError: it was fitted on another encoder.
        ModelError: it cannot be read, or is not of the form described here; the message names the field.
    """
    return parse_head(read_document(path), encoder_sha256=encoder_sha256, where=path.name)


def read_document(path: Path) -> Any:
    """What is in the JSON file; not looked at.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the head {path}: {error}") from error


def parse_head(document: Any, *, encoder_sha256: str, where: str) -> Head:
    """Check a head that was read; ``where`` it came from is for messages. Raises as :func:`read_head`."""
    try:
        return _parse(document, encoder_sha256)
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"the head {where} is not valid: {what}") from error
    except ModelIntegrityError as error:
        raise ModelIntegrityError(f"the head {where} {error}") from error


def encode_vector(values: npt.ArrayLike) -> str:
    """Little-endian float16 as base64, as the file holds it."""
    return base64.b64encode(np.asarray(values, dtype="<f2").tobytes()).decode()


def _parse(raw: Any, encoder_sha256: str) -> Head:
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ValueError(f"format must be {FORMAT!r}")
    encoder = raw["encoder"]
    if encoder["sha256"] != encoder_sha256:
        raise ModelIntegrityError(
            f"was fitted on an encoder with sha256 {str(encoder['sha256'])[:12]}…, not {encoder_sha256[:12]}…: "
            "fit it again (training/fit.py; one of your own: eot tune)"
        )
    window = _number("encoder.window", encoder["window"], 0.02, graph.FULL_WINDOW)
    frames = round(window * graph.FRAMES_PER_SECOND)
    inputs = tuple(_input(item, frames) for item in encoder["inputs"])
    if not inputs:
        raise ValueError("encoder.inputs must not be empty")
    size = sum(item.size for item in inputs)
    mean, scale, weights = (decode_vector(name, raw[name], size) for name in ("mean", "scale", "weights"))
    if not (scale > 0).all():
        raise ValueError("scale must be positive")
    slope = _number("calibration.slope", raw["calibration"]["slope"], 1e-3, 1e3)
    offset = _number("calibration.offset", raw["calibration"]["offset"], -1e3, 1e3)
    bias = _number("bias", raw["bias"], -1e3, 1e3)
    folded = slope * weights / scale
    thresholds = raw["thresholds"]
    if not isinstance(thresholds, dict):
        raise ValueError("thresholds must be an object")
    return Head(
        model=_text("model", raw["model"]),
        license=_text("licence", raw["licence"]),
        encoder_sha256=encoder_sha256,
        window=window,
        inputs=inputs,
        weights=folded.astype(np.float32),
        bias=float(slope * (bias - weights @ (mean / scale)) + offset),
        default_threshold=_number("default_threshold", raw["default_threshold"], 0.0, 1.0),
        thresholds={key: _number(f"thresholds.{key}", value, 0.0, 1.0) for key, value in thresholds.items()},
        provenance=dict(raw["provenance"]),
    )


def _input(raw: Mapping[str, Any], frames: int) -> HeadInput:
    tensor = raw["tensor"]
    if tensor in (graph.EMBEDDING, graph.LOGIT):
        return HeadInput(tensor)
    if tensor == SPOKEN:
        full, none = (_number(f"encoder.inputs: {key}", raw[key], 0.0, graph.FULL_WINDOW) for key in ("full", "none"))
        if full >= none:
            raise ValueError(f"encoder.inputs: full ({full:g}) must be less than none ({none:g})")
        return HeadInput(SPOKEN, full=full, none=none)
    if tensor not in graph.HIDDEN:
        raise ValueError(f"encoder.inputs: unknown tensor {tensor!r}")
    newest, oldest = raw["newest"], raw["oldest"]
    if not (isinstance(newest, int) and isinstance(oldest, int) and 0 <= newest < oldest <= frames):
        raise ValueError(f"encoder.inputs: {newest!r} to {oldest!r} is no stretch of {frames} frames")
    return HeadInput(tensor, newest, oldest)


def decode_vector(name: str, raw: Any, size: int) -> npt.NDArray[np.float64]:
    """What :func:`encode_vector` made.

    Raises:
        ValueError: it is none, not of ``size`` numbers, or not finite; the message begins with ``name``.
    """
    data = base64.b64decode(_text(name, raw), validate=True)
    if len(data) != 2 * size:
        raise ValueError(f"{name} must hold {size} numbers, it holds {len(data) / 2:g}")
    values = np.frombuffer(data, dtype="<f2").astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite")
    return values


def _number(name: str, raw: Any, low: float, high: float) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not low <= raw <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, got {raw!r}")
    return float(raw)


def _text(name: str, raw: Any) -> str:
    if not isinstance(raw, str) or not raw:
        raise ValueError(f"{name} must be a non-empty string, got {raw!r}")
    return raw
