"""What gives a pause its score: one of our models, a user's ONNX file, nothing (VAD only), or the time so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ..models.base import Model, ModelError, ModelSpec
from ..models.registry import resolve_model
from ..models.weights import sha256_of
from .items import Item
from .recording import Recording

VAD = "vad"
ELAPSED = "elapsed"
ELAPSED_HALF = 5.0
"""Seconds into the turn at which the elapsed-time score is one half; only its order matters to AUC."""


class Scorer(Protocol):
    """Scores pauses. One at a time."""

    @property
    def name(self) -> str:
        """For tables and files."""
        ...

    @property
    def fingerprint(self) -> str | None:
        """Changes whenever the scores could; None where keeping them is not worth it, or not safe."""
        ...

    def prepare(self) -> None:
        """Load what is needed. Raises ModelError; the message says what to do."""
        ...

    def score(self, item: Item, recording: Recording, at: float) -> float:
        """Probability, 0..1, that the turn has ended, from what was to be heard until ``at`` seconds.

        Raises:
            ModelError: the model failed on this audio.
            AudioFileError: the audio cannot be decoded.
        """
        ...


class ModelScorer:
    """A local model, given what it is given in a call: at most its window, and nothing from before the turn."""

    def __init__(self, spec: ModelSpec, fingerprint: str | None = None) -> None:
        """
        Args:
            spec: the model.
            fingerprint: checksum of what it runs; None takes the spec's.
        """
        self.spec = spec
        self.name = spec.name
        sha256 = fingerprint or spec.sha256
        self.fingerprint = None if sha256 is None else f"{spec.name}-{sha256}-{spec.window:g}"
        self._model: Model | None = None

    def prepare(self) -> None:
        """See :class:`Scorer`."""
        from ..models.handle import model_handle

        self._model = model_handle(self.spec).get()

    def score(self, item: Item, recording: Recording, at: float) -> float:
        """See :class:`Scorer`."""
        if self._model is None:
            raise ModelError(f"{self.name} is not loaded: call prepare() first")
        pcm = recording.read_16k(max(item.turn_start, at - self.spec.window), at)
        if len(pcm) == 0:
            raise ModelError(f"{self.name}: there is no audio before {at:.2f} s")
        value = float(self._model.predict(pcm))
        if not math.isfinite(value) or not 0.0 <= value <= 1.0:
            raise ModelError(f"{self.name}: said {value!r} at {at:.2f} s, which is no probability")
        return value


class VadScorer:
    """Silence alone: no score, only a delay."""

    name = VAD
    fingerprint = None

    def prepare(self) -> None:
        """Nothing to load."""

    def score(self, item: Item, recording: Recording, at: float) -> float:
        """The same for every pause."""
        return 0.5


class ElapsedScorer:
    """The time since the turn began: what can be guessed without listening. Rises with time, below 1."""

    name = ELAPSED
    fingerprint = None

    def prepare(self) -> None:
        """Nothing to load."""

    def score(self, item: Item, recording: Recording, at: float) -> float:
        """See :class:`Scorer`."""
        elapsed = at - item.turn_start
        return elapsed / (elapsed + ELAPSED_HALF)


def make_scorers(names: Sequence[str]) -> list[Scorer]:
    """Scorers by name.

    Args:
        names: "vad", "elapsed", names of local models, paths of ONNX files.

    Raises:
        ModelLicenseError: a model may not run here; the message names the licence.
        ValueError: a name is unknown, or given twice.
    """
    scorers: list[Scorer] = []
    for name in names:
        scorer: Scorer
        if name == VAD:
            scorer = VadScorer()
        elif name == ELAPSED:
            scorer = ElapsedScorer()
        else:
            spec = resolve_model(name)
            path = Path(name).expanduser()
            scorer = ModelScorer(spec, sha256_of(path) if spec.sha256 is None and path.is_file() else None)
        if any(other.name == scorer.name for other in scorers):
            raise ValueError(f"model {scorer.name!r} is given twice")
        scorers.append(scorer)
    if not scorers:
        raise ValueError("no model is given: name at least one")
    return scorers
