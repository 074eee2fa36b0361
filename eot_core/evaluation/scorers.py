"""What gives a pause its score: one of our models, a user's ONNX file, nothing (VAD only), or the time so far."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Protocol

from ..models.base import SAMPLE_RATE, Model, ModelError, ModelSpec
from ..models.onnx_file import onnx_file
from ..models.registry import resolve_model
from ..models.session import shared_session
from ..models.weights import sha256_of
from ..models.whisper_features import FRAMES_PER_SECOND
from ..vad import SileroVAD, SpeechStarted
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


_PIECE = 1.0
"""Seconds that are listened to at a time for the onset of a turn."""


class ModelScorer:
    """A local model, given what it is given in a call: at most its window, and nothing from before the turn.

    A model that scores turns is given them from ``pre_speech`` seconds before the VAD heard their onset, as in a call.
    """

    def __init__(self, spec: ModelSpec, fingerprint: str | None = None, name: str | None = None) -> None:
        """
        Args:
            spec: the model.
            fingerprint: checksum of what it runs; None takes the spec's.
            name: for tables and files; None takes the spec's. What was kept of its scores does not depend on it.
        """
        self.spec = spec
        self.name = name or spec.name
        sha256 = fingerprint or spec.sha256
        onset = "" if spec.pre_speech is None else f"-onset2-{spec.pre_speech:g}"
        self.fingerprint = None if sha256 is None else f"{spec.name}-{sha256}-{spec.window:g}{onset}"
        self._model: Model | None = None
        self._vad = SileroVAD()
        self._begun: tuple[Item, float | None] | None = None

    def prepare(self) -> None:
        """See :class:`Scorer`."""
        from ..models.handle import model_handle

        self._model = model_handle(self.spec).get()

    def score(self, item: Item, recording: Recording, at: float) -> float:
        """See :class:`Scorer`."""
        if self._model is None:
            raise ModelError(f"{self.name} is not loaded: call prepare() first")
        pcm = recording.read_16k(max(self._begin(item, recording, at), at - self.spec.window), at)
        if len(pcm) == 0:
            raise ModelError(f"{self.name}: there is no audio before {at:.2f} s")
        value = float(self._model.predict(pcm))
        if not math.isfinite(value) or not 0.0 <= value <= 1.0:
            raise ModelError(f"{self.name}: said {value!r} at {at:.2f} s, which is no probability")
        return value

    def _begin(self, item: Item, recording: Recording, at: float) -> float:
        """Seconds into the recording from which the model may hear this turn, asked ``at`` seconds."""
        if self.spec.pre_speech is None or item.is_excerpt:
            return item.turn_start
        if self._begun is None or self._begun[0] is not item:
            self._begun = item, self._onset(item, recording)
        onset = self._begun[1]
        return item.turn_start if onset is None or onset >= at else max(item.turn_start, onset - self.spec.pre_speech)

    def _onset(self, item: Item, recording: Recording) -> float | None:
        """When a detector is told that the turn has begun, in seconds: what is labelled is no matter, a silence before
        the first word neither. None where no speech is heard before the end of the turn."""
        stream = self._vad.stream()
        start, until = item.turn_start, item.spans[-1].start
        while start < until:
            for event in stream.push(recording.read_16k(start, min(until, start + _PIECE)), SAMPLE_RATE):
                if isinstance(event, SpeechStarted):
                    return item.turn_start + event.at
            start += _PIECE
        return None


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
        names: "vad", "elapsed", names of local models, paths of ONNX files (their window is what the graph fixes, else
            8 s).

    Raises:
        ModelLicenseError: a model may not run here; the message names the licence.
        ValueError: a name is unknown, or given twice.
    """
    scorers: list[Scorer] = []
    specs = {name: resolve_model(name) for name in names if name not in (VAD, ELAPSED)}
    paths = {name: path for name in specs if (path := Path(name).expanduser()).suffix.lower() == ".onnx"}
    specs |= {name: _as_the_graph_says(path, specs[name]) for name, path in paths.items()}
    given = Counter(paths[n].resolve() if n in paths else specs[n].name if n in specs else n for n in names)
    if (twice := given.most_common(1)) and twice[0][1] > 1:
        raise ValueError(f"model '{twice[0][0]}' is given twice")
    called = _file_names(paths, {VAD, ELAPSED, *(spec.name for name, spec in specs.items() if name not in paths)})
    for name in names:
        if name == VAD:
            scorers.append(VadScorer())
        elif name == ELAPSED:
            scorers.append(ElapsedScorer())
        elif name in paths:
            sha256 = sha256_of(paths[name]) if paths[name].is_file() else None
            scorers.append(ModelScorer(specs[name], sha256, called[name]))
        else:
            scorers.append(ModelScorer(specs[name]))
    if not scorers:
        raise ValueError("no model is given: name at least one")
    return scorers


def _as_the_graph_says(path: Path, spec: ModelSpec) -> ModelSpec:
    """The spec of a file with the window that its graph fixes; ``spec`` where it fixes none, or none that can be, or
    cannot be loaded, which is told when it is."""
    try:
        *_, length = shape = list(shared_session(path).get_inputs()[0].shape)
        window = length / (FRAMES_PER_SECOND if len(shape) == 3 else SAMPLE_RATE)
        return onnx_file(path, window=window, name=spec.name)
    except (ModelError, ValueError, TypeError, IndexError):  # TypeError: an axis of any length has a name
        return spec


def _file_names(paths: Mapping[str, Path], taken: Set[str]) -> dict[str, str]:
    """What each file is called: as the file, with as many of its folders before it as tell it from the others."""
    parts = {name: (*Path(os.path.abspath(path)).parts[1:-1], path.stem) for name, path in paths.items()}
    depth = dict.fromkeys(paths, 1)
    while True:
        called = {name: "-".join(parts[name][-depth[name] :]) for name in paths}
        often = Counter(called.values())
        alike = [n for n, c in called.items() if (often[c] > 1 or c in taken) and depth[n] < len(parts[n])]
        if not alike:
            # Nothing is left to tell them apart by: the file's ending does it for names that are taken.
            return {name: f"{c}.onnx" if c in taken else c for name, c in called.items()}
        for name in alike:
            depth[name] += 1
