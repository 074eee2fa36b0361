"""Our models on livekit/eot-bench's leaderboard: a class with the interface of its batch adapters.

With eot-bench checked out and this package installed next to it::

    eot-harness predict --path livekit/eot-bench-data --name en --adapter eot_core.evaluation.eot_bench:EotBenchAdapter

Which model runs is in the environment variable ``EOT_BENCH_MODEL`` (a name, or a path to an ONNX file); the harness
makes an adapter without arguments.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..audio import check_sample_rate, resample, to_pcm
from ..languages import language_key
from ..models.base import SAMPLE_RATE, ModelError, ModelSpec, PcmArray
from ..models.handle import model_handle
from ..models.registry import resolve_model
from ..vad import SileroVAD, SpeechStarted
from .pauses import SCORE_AT

MODEL_VARIABLE = "EOT_BENCH_MODEL"
DEFAULT_MODEL = "smart-turn-v3.2"


class EotBenchAdapter:
    """What eot-bench's harness asks of a model (eot_harness/adapters.py), ``adapter_id`` and ``predict_batch``; what
    it uses where it is there, ``display_name``, ``score_point``, ``max_audio_sec``, ``supports_language``.
    """

    score_point = SCORE_AT
    """Seconds into a silence at which eot-bench takes the score."""

    def __init__(self, model: str | os.PathLike[str] | ModelSpec | None = None) -> None:
        """
        Args:
            model: a name, a path to an ONNX file, or a spec; None takes :data:`MODEL_VARIABLE`, then
                :data:`DEFAULT_MODEL`.

        Raises:
            ModelLicenseError: the model may not run here; the message names the licence.
            ModelError: it cannot be loaded; the message says what to install.
            ValueError: there is no such model.
        """
        self.spec = resolve_model(os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL if model is None else model)
        self._model = model_handle(self.spec).get()
        self._vad = SileroVAD()
        self.adapter_id = f"eot-adapters-{self.spec.name}" + (f"-{self.spec.sha256[:12]}" if self.spec.sha256 else "")
        self.display_name = self.spec.name
        # The harness gives no more than that: a model that scores turns needs to know where the turn began.
        self.max_audio_sec = self.spec.window if self.spec.pre_speech is None else None

    def supports_language(self, lang_code: str) -> bool:
        """Whether the model was made for the language; one that names no languages takes any."""
        return not self.spec.thresholds or language_key(lang_code) in self.spec.thresholds

    def predict_batch(self, batch: Sequence[Mapping[str, Any]]) -> list[float]:
        """Probabilities that the turn has ended, in the order of ``batch``.

        Args:
            batch: each with ``audio``: {"array": float or int16 of shape (n,), "sampling_rate": Hz}, cut by the harness
                at the moment of scoring. ``language`` and ``messages`` are not used.

        Raises:
            AudioFormatError: an array cannot be understood, or its sampling rate is none.
            ModelError: the model said what is no probability.
        """
        scores = [float(self._model.predict(self._pcm(item["audio"]))) for item in batch]
        for score in scores:
            if not 0.0 <= score <= 1.0:
                raise ModelError(f"{self.spec.name} said {score!r}, which is no probability")
        return scores

    def _pcm(self, audio: Mapping[str, Any]) -> PcmArray:
        array, rate = np.asarray(audio["array"]), check_sample_rate(audio["sampling_rate"])
        begin = max(len(array) - round(self.spec.window * rate), self._begin(array, rate))
        pcm = to_pcm(array[begin:])
        if rate != SAMPLE_RATE and len(pcm):
            pcm = resample(pcm, rate)
        # The harness also asks at the very start of a recording.
        return pcm if len(pcm) else np.zeros(1, dtype=np.int16)

    def _begin(self, array: npt.NDArray[Any], rate: int) -> int:
        """Sample from which a model that scores turns hears this one: as in a call, a little before its onset."""
        if self.spec.pre_speech is None:
            return 0
        stream = self._vad.stream()
        for start in range(0, len(array), rate):
            for event in stream.push(to_pcm(array[start : start + rate]), rate):
                if isinstance(event, SpeechStarted):
                    return max(0, round((event.at - self.spec.pre_speech) * rate))
        return 0
