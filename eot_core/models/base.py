"""What a local model is: a frozen description (:class:`ModelSpec`) and something that scores audio (:class:`Model`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
"""Sample rate of the audio given to every local model, in Hz."""

PcmArray = npt.NDArray[np.int16]


class ModelError(Exception):
    """A model cannot be used. The message says what to do about it."""


class ModelNotInstalledError(ModelError):
    """The weights, or the package that carries them, are not on this machine."""


class ModelIntegrityError(ModelError):
    """The weights are not the ones this version was measured with (sha256 differs)."""


class ModelLicenseError(ModelError, ValueError):
    """The model's licence does not allow it to run here."""


class Model(Protocol):
    """A loaded model. One instance serves every stream of the process, from several threads."""

    def predict(self, pcm: PcmArray) -> float:
        """Score one pause.

        Args:
            pcm: int16 mono at 16 kHz, shape (n,), 0 < n <= the spec's window; the last sample is the newest.

        Returns:
            Probability that the turn has ended, 0..1.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ModelSpec:
    """Everything about a local model that can be known without loading it."""

    name: str
    """Full name, for example "smart-turn-v3.2"."""
    provider: str
    """Who publishes the weights, for example "pipecat"."""
    license: str
    """SPDX identifier, or the name of the licence."""
    window: float
    """Seconds of audio that the model sees, at most."""
    load: Callable[[], Model]
    """Loads the weights. May block for a second; raises :class:`ModelError` with what to install."""
    default_threshold: float
    """Calibrated threshold for a language that is not in ``thresholds``, 0..1."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Calibrated threshold for each language the model was made for (ISO 639-1 key), 0..1. Empty: any language."""
    pre_speech: float | None = None
    """Seconds before the onset of the turn that belong to the window; None for a rolling window that ignores turns."""
    sha256: str | None = None
    """Checksum of the weights, hex; None where the user brings their own."""
    is_available: Callable[[], bool] = field(default=lambda: True)
    """Cheap check (no load, no import of the framework) that the weights are on this machine."""
