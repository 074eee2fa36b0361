"""Heads of one's own: the package's head, corrected for the calls of one deployment, by language.

A head comes in a calibration file (``eot tune``), whole, in the form that :mod:`.eot_open_head` describes, so that the
file is all that is deployed. It sees what the package's head sees: one pass of the encoder scores a pause with all of
them. Those of another encoder, or of another version of its layers, are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from . import graph, smart_turn
from .base import Model, ModelError, ModelIntegrityError, ModelSpec, PcmArray
from .eot_open import EOT_OPEN, EotOpen, packaged_document, packaged_head
from .eot_open_head import Head, decode_vector, encode_vector, parse_head

REVISION = "graph_revision"
"""Key in ``provenance``: which version of the encoder's edited graph the head was fitted on."""

Vector = npt.NDArray[np.float64]

_specs: dict[tuple[str, tuple[tuple[str, str], ...]], ModelSpec] = {}


class EotOpenWithHeads:
    """A loaded model, and heads of one's own for it; see :class:`~.base.ModelWithHeads`."""

    def __init__(self, model: EotOpen, heads: Mapping[str, Head]) -> None:
        self._model = model
        self._heads = heads

    def predict(self, pcm: PcmArray) -> float:
        """What the package's head says."""
        return self._model.predict(pcm)

    def predict_each(self, pcm: PcmArray) -> Mapping[str | None, float]:
        """What each head says, by language key; the package's under None."""
        features = self._model.features(pcm)
        return {None: self._model.head.score(features), **{key: h.score(features) for key, h in self._heads.items()}}


def takes_heads(spec: ModelSpec) -> bool:
    """Whether heads of one's own can be fitted for the model: it is one of ours."""
    return any(spec is ours for ours in EOT_OPEN)


def checksum(document: Mapping[str, Any]) -> str:
    """Of a head and the encoder that it belongs to: a score is known by both."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(smart_turn.SHA256.encode() + text.encode()).hexdigest()


def read_own_head(name: str, document: Mapping[str, Any]) -> Head:
    """The head that a calibration file has for the model called ``name``.

    Raises:
        ModelIntegrityError: it was fitted on another encoder, or for another version of the model.
        ModelError: it is not of the form; the message names the field.
    """
    ours = packaged_head(name)
    head = parse_head(document, encoder_sha256=smart_turn.SHA256, where=f"of the calibration file for {name}")
    revision = head.provenance.get(REVISION)
    if (head.inputs, head.window, head.model, revision) != (ours.inputs, ours.window, name, graph.REVISION):
        raise ModelIntegrityError(
            f"the head of the calibration file for {name} belongs to another version of the model: run eot tune again"
        )
    return head


def with_heads(spec: ModelSpec, documents: Mapping[str, Mapping[str, Any]]) -> ModelSpec:
    """The model with heads of one's own. The same heads give the same spec, so that a process loads them once.

    Args:
        spec: one of :data:`~.eot_open.EOT_OPEN`.
        documents: by language key.

    Raises:
        ModelIntegrityError: a head was fitted on another encoder, or for another version of the model.
        ModelError: a head is not of the form, or the model takes none.
    """
    if not takes_heads(spec):
        raise ModelError(f"{spec.name} takes no head of one's own: only {', '.join(s.name for s in EOT_OPEN)} do")
    heads = {language: read_own_head(spec.name, document) for language, document in documents.items()}
    sums = {language: checksum(document) for language, document in documents.items()}
    key = (spec.name, tuple(sorted(sums.items())))
    if key not in _specs:
        _specs[key] = replace(spec, load=partial(_load, spec, heads), heads=sums)
    return _specs[key]


def _load(spec: ModelSpec, heads: Mapping[str, Head]) -> Model:
    return EotOpenWithHeads(cast(EotOpen, spec.load()), heads)


def corrected(name: str, weights: Vector, centre: Vector, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The package's head with ``weights . (standardised features - centre)`` added to its logit, as a document.

    Args:
        name: of the model.
        weights: of the features as the package's head standardises them, shape (n,).
        centre: of the standardised features, shape (n,).
        provenance: how and on what it was fitted; for people.
    """
    document = dict(packaged_document(name))
    slope, offset = (float(document["calibration"][key]) for key in ("slope", "offset"))
    size = len(weights)
    summed = decode_vector("weights", document["weights"], size) + weights / slope
    document["weights"] = encode_vector(summed)
    kept = decode_vector("weights", document["weights"], size)
    # What float16 rounds away must not move the mean: the features' centre is where most pauses are.
    lost = float((kept - summed) @ centre) * slope
    document["calibration"] = {"slope": slope, "offset": offset - float(weights @ centre) - lost}
    document["licence"] = f"{document['licence']} (the head that was corrected)"
    document["provenance"] = {**provenance, REVISION: graph.REVISION, "corrects": checksum(packaged_document(name))}
    return document


def standardisation(name: str) -> tuple[Vector, Vector]:
    """Mean and scale of the features of the package's head, each of shape (n,)."""
    document, size = packaged_document(name), len(packaged_head(name).weights)
    mean, scale = (decode_vector(key, document[key], size) for key in ("mean", "scale"))
    return mean, scale
