"""turn-detector-v1-mini, through LiveKit's own package: its licence lets it run inside LiveKit Agents only.

The weights are one object of the whole process inside ``livekit.local_inference`` (some 244 MB of memory), shared with
LiveKit's own detector and with what ``livekit.agents.ipc._preload`` loads: nothing is loaded twice.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import numpy as np

from eot_core.models import registry
from eot_core.models.base import Model, ModelError, ModelNotInstalledError, ModelSpec, PcmArray
from eot_core.models.v1_mini import NAME, v1_mini_spec

_INSTALL = "pip install 'eot-adapters[livekit]'"


class V1Mini:
    """The loaded model. Calls from several threads take turns inside the native library, which has one of it."""

    def __init__(self, eot: Any, max_samples: int) -> None:
        self._eot = eot
        self._max_samples = max_samples

    def predict(self, pcm: PcmArray) -> float:
        """Probability that the turn has ended; ``pcm`` is int16 mono at 16 kHz, shape (n,), the newest 1.2 s count."""
        return float(self._eot.predict(np.ascontiguousarray(pcm[-self._max_samples :])))


def _load() -> Model:
    try:
        from livekit.local_inference import EOT, EOT_MAX_SAMPLES
    except ImportError as error:
        raise ModelNotInstalledError(f"{NAME} needs livekit-local-inference ({error}): {_INSTALL}") from error
    try:
        return V1Mini(EOT(), EOT_MAX_SAMPLES)
    except Exception as error:
        raise ModelError(f"livekit-local-inference cannot load {NAME} ({error}): {_INSTALL}") from error


def _check() -> None:
    try:
        installed = importlib.util.find_spec("livekit.local_inference") is not None
    except ImportError:  # the parent package is missing
        installed = False
    if not installed:
        raise ModelNotInstalledError(f"{NAME} needs livekit-local-inference: {_INSTALL}")


V1_MINI = v1_mini_spec(_load, _check)
"""turn-detector-v1-mini: 1.2 s of audio, 14 languages with a calibrated threshold each."""


def resolve_model(model: str | os.PathLike[str] | ModelSpec) -> ModelSpec:
    """As :func:`eot_core.models.registry.resolve_model`, and v1-mini besides.

    Raises:
        ValueError: the name is unknown; the message lists those that are known.
        TypeError: ``model`` is no name, path or :class:`eot_core.ModelSpec`.
    """
    if isinstance(model, str) and model in (NAME, "v1-mini"):
        return V1_MINI
    if isinstance(model, ModelSpec):
        return model
    try:
        return registry.resolve_model(model)
    except ValueError as error:
        if isinstance(model, str) and not model.lower().endswith(".onnx"):
            raise ValueError(f"{error}; or {NAME}") from None
        raise
