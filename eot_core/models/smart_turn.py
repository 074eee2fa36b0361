"""smart-turn v3.2 by Daily (pipecat-ai): a Whisper-tiny encoder with a linear head, int8, 8 s of audio.

The weights are inside the pipecat-ai wheel (BSD-2-Clause) and are read from there; pipecat itself is not imported.
The file is the same in pipecat-ai 1.8.0 and 1.14.0.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np

from .base import Model, ModelSpec, PcmArray
from .session import OnnxSession, shared_session
from .weights import PackagedFile, explicit_weights, packaged_weights
from .whisper_features import log_mel

NAME = "smart-turn-v3.2"
WINDOW = 8.0
"""Seconds that the model sees; fixed in its graph ([batch, 80, 800])."""
SHA256 = "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f"
"""Of smart-turn-v3.2-cpu.onnx, 8,679,182 bytes, as in pipecat-ai 1.8.0 and 1.14.0."""
PRE_SPEECH = 0.7
"""Seconds before the onset of the turn that the model is given. Pipecat's analyzer keeps ``pre_speech_ms`` = 500 before
the moment its VAD reports speech, plus the ``start_secs`` = 0.2 that the VAD needed to be sure
(pipecat/audio/turn/smart_turn/base_smart_turn.py, ``_process_speech_segment``)."""
LANGUAGES = tuple("ar bn da de en es fi fr hi id it ja ko mr nl no pl pt ru tr uk vi zh".split())  # noqa: SIM905
"""The 23 languages in the announcement of smart-turn v3 and in the model card's benchmark of v3.2."""
THRESHOLD = 0.5
"""Fixed in pipecat's analyzer, the same for every language (local_smart_turn_v3.py, ``_predict_endpoint``)."""

_FILE = PackagedFile("pipecat-ai", "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx")
_INSTALL = "pip install 'eot-adapters[pipecat]'"


class SmartTurn:
    """The loaded model."""

    def __init__(self, session: OnnxSession) -> None:
        self._session = session

    def predict(self, pcm: PcmArray) -> float:
        """Probability that the turn has ended; ``pcm`` is int16 mono at 16 kHz, shape (n,), the newest 8 s count."""
        waveform = pcm.astype(np.float32) / 32768.0
        features = log_mel(waveform, window=WINDOW)[np.newaxis]
        # Called "logits" in the graph, but the sigmoid is part of it.
        (probability,) = self._session.run(["logits"], {"input_features": features})
        return float(probability[0, 0])


def smart_turn_spec(*, weights: str | os.PathLike[str] | None = None) -> ModelSpec:
    """smart-turn v3.2 with its weights at a path of your own; the checksum must be the same.

    Args:
        weights: path of smart-turn-v3.2-cpu.onnx; None looks inside the installed pipecat-ai.
    """
    return ModelSpec(
        name=NAME,
        provider="pipecat",
        license="BSD-2-Clause",
        window=WINDOW,
        load=partial(_load, weights),
        default_threshold=THRESHOLD,
        thresholds=dict.fromkeys(LANGUAGES, THRESHOLD),
        pre_speech=PRE_SPEECH,
        sha256=SHA256,
        judges_any_language=True,  # as Pipecat has it judge them
        check=partial(_weights, weights),
    )


def _load(weights: str | os.PathLike[str] | None) -> Model:
    return SmartTurn(shared_session(_weights(weights)))


def _weights(weights: str | os.PathLike[str] | None) -> Path:
    if weights is not None:
        return explicit_weights(weights, sha256=(SHA256,))
    return packaged_weights(NAME, (_FILE,), sha256=(SHA256,), install=_INSTALL)


SMART_TURN_V3_2 = smart_turn_spec()
"""smart-turn v3.2 from the installed pipecat-ai."""
