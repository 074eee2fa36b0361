"""eot-open-1: our head on the layers of smart-turn's encoder, which the installed pipecat-ai carries (BSD-2-Clause).

Four models, one spec each (docs/models/ holds their cards):

- ``eot-open-1``: all four layers, 8 s; our head, in which smart-turn's own logit is one of the features.
- ``eot-open-1-fast``, ``eot-open-1-fast-6s``, ``eot-open-1-fast-4s``: two layers, 8, 6 or 4 s; our head alone.

The graph is cut and edited with the ``onnx`` package when a model is first loaded on a machine, and kept
(:mod:`.graph_cache`); after that ``onnx`` is not needed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from . import graph, smart_turn
from .base import SAMPLE_RATE, Model, ModelNotInstalledError, ModelSpec, PcmArray
from .eot_open_head import SPOKEN, Head, Vector, parse_head, read_document
from .graph_cache import cache_file, cached_graph
from .session import OnnxSession, shared_session
from .spoken import spoken_seconds
from .weights import packaged_weights
from .whisper_features import log_mel

LICENSE = "Apache-2.0 (head), BSD-2-Clause (encoder)"
HEADS = Path(__file__).with_name("heads")


class EotOpen:
    """The loaded model."""

    def __init__(self, session: OnnxSession, head: Head) -> None:
        self._session = session
        self._head = head
        self._tensors = head.tensors

    @property
    def head(self) -> Head:
        """The head of the package."""
        return self._head

    def features(self, pcm: PcmArray) -> Vector:
        """What the head sees of ``pcm``: float32, shape (n,). All the work of a prediction is in here."""
        waveform = pcm.astype(np.float32) / 32768.0
        features = log_mel(waveform, window=self._head.window)[np.newaxis]
        values = self._session.run(self._tensors, {graph.INPUT: features})
        outputs = {name: value[0] for name, value in zip(self._tensors, values, strict=True)}
        outputs[SPOKEN] = np.float32(spoken_seconds(waveform[-round(self._head.window * SAMPLE_RATE) :]))
        return self._head.features(outputs)

    def predict(self, pcm: PcmArray) -> float:
        """Probability that the turn has ended; ``pcm``: int16 mono at 16 kHz, shape (n,), the newest window counts."""
        return self._head.score(self.features(pcm))


@cache
def packaged_document(name: str) -> Mapping[str, Any]:
    """The file of :func:`packaged_head`, as it is.

    Raises:
        ModelError: it cannot be read.
    """
    document: Mapping[str, Any] = read_document(HEADS / f"{name}.json")
    return document


@cache
def packaged_head(name: str) -> Head:
    """The head of the model called ``name``, from this package.

    Raises:
        ModelError: it is missing, or belongs to another encoder.
    """
    return parse_head(packaged_document(name), encoder_sha256=smart_turn.SHA256, where=f"{name}.json")


def encoder_graph(head: Head) -> bytes:
    """The edited graph that ``head`` needs, from the cache or made now.

    Raises:
        ModelNotInstalledError: pipecat-ai is missing; or ``onnx`` is, and the graph is not in the cache.
        ModelIntegrityError: the weights in pipecat-ai are not those of smart-turn v3.2.
    """
    weights = _weights(head.model)

    def make() -> bytes:
        return graph.edited(weights.read_bytes(), outputs=head.tensors, window=head.window, newest=head.newest)

    return cached_graph(_cache_file(head), make)


def _cache_file(head: Head) -> Path:
    identity = json.dumps([head.encoder_sha256, graph.REVISION, head.window, head.tensors, head.newest])
    return cache_file(f"smart-turn-v3.2-{head.window:g}s", identity)


def _load(name: str) -> Model:
    head = packaged_head(name)
    return EotOpen(shared_session(encoder_graph(head)), head)


def _weights(name: str) -> Path:
    return packaged_weights(name, (smart_turn._FILE,), sha256=(smart_turn.SHA256,), install=graph.INSTALL)


def _check(name: str) -> None:
    _weights(name)
    if importlib.util.find_spec("onnx") is None and not _cache_file(packaged_head(name)).is_file():
        raise ModelNotInstalledError(graph.NO_ONNX)


def _checksum(name: str) -> str:
    """Of the encoder's weights and the head: a score is known by both."""
    return hashlib.sha256(smart_turn.SHA256.encode() + (HEADS / f"{name}.json").read_bytes()).hexdigest()


def _spec(name: str) -> ModelSpec:
    head = packaged_head(name)
    return ModelSpec(
        name=name,
        provider="eot-adapters",
        license=LICENSE,
        window=head.window,
        load=partial(_load, name),
        default_threshold=head.default_threshold,
        thresholds=head.thresholds,
        pre_speech=smart_turn.PRE_SPEECH,
        sha256=_checksum(name),
        judges_any_language=True,
        check=partial(_check, name),
    )


EOT_OPEN_1 = _spec("eot-open-1")
"""All layers and smart-turn's own logit, 8 s."""
EOT_OPEN_1_FAST = _spec("eot-open-1-fast")
"""Two layers, 8 s."""
EOT_OPEN_1_FAST_6S = _spec("eot-open-1-fast-6s")
"""Two layers, 6 s."""
EOT_OPEN_1_FAST_4S = _spec("eot-open-1-fast-4s")
"""Two layers, 4 s."""
EOT_OPEN = (EOT_OPEN_1, EOT_OPEN_1_FAST, EOT_OPEN_1_FAST_6S, EOT_OPEN_1_FAST_4S)
