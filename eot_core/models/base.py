"""What a local model is: a frozen description (:class:`ModelSpec`) and something that scores audio (:class:`Model`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..languages import language_key
from ..options import check_seconds

SAMPLE_RATE = 16_000
"""Sample rate of the audio given to every local model, in Hz."""

MAX_WINDOW = 3600.0
"""Seconds that a model may ask to see; each stream keeps so much audio."""

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


class ModelWithHeads(Model, Protocol):
    """A model with heads of one's own (:attr:`ModelSpec.heads`). ``predict`` is what it says without them."""

    def predict_each(self, pcm: PcmArray) -> Mapping[str | None, float]:
        """Score one pause with every head: one pass over the audio, as ``predict``.

        Returns:
            Probabilities by language key; the model's own is under None.
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
    file: Path | None = None
    """The weights, where they are a file of the user's own."""
    judges_any_language: bool = False
    """What becomes of a language that is not in ``thresholds``. True: the model hears more than words, and judges it
    too, by ``default_threshold``. False: it is not asked, and pauses end after the minimum delay."""
    hears_all: bool = False
    """True: the model is given all the silence that there has been when it is asked. False: as much of it as it was
    measured with, on whatever framework (:data:`~eot_core.endpointing.FIRST_HEARS`): 50 ms more change a score."""
    check: Callable[[], object] = field(default=lambda: None)
    """Raises :class:`ModelError`, with what to install, where ``load`` would for want of the weights: they are not on
    this machine, or not those that were measured. Loads nothing and imports no framework; may read a file once, for its
    checksum (10 ms). What it returns does not count."""
    heads: Mapping[str, str] = field(default_factory=dict)
    """Heads that were fitted on one's own calls: language key -> sha256. ``load`` then gives a
    :class:`ModelWithHeads`."""

    def is_available(self) -> bool:
        """Whether :attr:`check` finds nothing wrong."""
        try:
            self.check()
        except ModelError:
            return False
        return True

    def name_with_head(self, language: str | None) -> str:
        """What a score is reported under: the name and, for a head of one's own, which: "eot-open-1+de-1a2b3c4d"."""
        sha256 = None if language is None else self.heads.get(language)
        return self.name if sha256 is None else f"{self.name}+{language}-{sha256[:8]}"

    def sha256_of(self, reported: str) -> str | None:
        """Checksum of what gave a score that is reported under this name; None where it is not known."""
        own = {self.name_with_head(language): sha256 for language, sha256 in self.heads.items()}
        return self.sha256 if reported == self.name else own.get(reported)

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a figure is out of range, a name is empty, or a key of ``thresholds`` or ``heads`` is no
                language key.
            TypeError: ``load`` or ``check`` cannot be called.
        """
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"name must be a non-empty string, got {self.name!r}")
        check_seconds(self.window, "window", positive=True)
        if self.window > MAX_WINDOW:
            raise ValueError(f"window must be at most {MAX_WINDOW:g} seconds, got {self.window!r}")
        if self.pre_speech is not None:
            check_seconds(self.pre_speech, "pre_speech")
        _check_threshold(self.default_threshold, "default_threshold")
        for key, threshold in self.thresholds.items():
            if language_key(key) != key:
                raise ValueError(f"thresholds has the key {key!r}: use language keys such as 'en' or 'pt'")
            _check_threshold(threshold, f"thresholds[{key!r}]")
        for key in self.heads:
            if language_key(key) != key:
                raise ValueError(f"heads has the key {key!r}: use language keys such as 'en' or 'pt'")
        for name in ("load", "check"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name} must be callable, got {type(getattr(self, name)).__name__}")


def _check_threshold(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}")
