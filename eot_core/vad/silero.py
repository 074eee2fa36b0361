"""Silero VAD (MIT) over onnxruntime: its weights, and one window at a time through the network."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np

from ..models.base import ModelError, PcmArray
from ..models.session import OnnxSession, shared_session
from ..models.weights import PackagedFile, explicit_weights, packaged_weights
from .hysteresis import WINDOW_SAMPLES
from .options import VADOptions
from .stream import VADStream

logger = logging.getLogger(__name__)

SHA256 = "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"
"""Of silero_vad.onnx, 2,327,524 bytes: the same file in silero-vad 6.2.3, livekit-plugins-silero 1.7.0 and 1.8.9, and
pipecat-ai 1.14.0, and the same network as in livekit-local-inference."""
OLDER_SHA256 = "597d30b3ec076608d059477bb14cfeffdf951bf5cae370d38f65d33bbfe82004"
"""Of the file in pipecat-ai 1.8.0: an earlier training, whose windows differ by up to 0.8. Taken where there is no
other."""

_FILES = (
    PackagedFile("silero-vad", "silero_vad/data/silero_vad.onnx"),
    PackagedFile("livekit-plugins-silero", "livekit/plugins/silero/resources/silero_vad.onnx"),
    PackagedFile("pipecat-ai", "pipecat/audio/vad/data/silero_vad.onnx"),
)
_INSTALL = "pip install 'eot-adapters[livekit]', 'eot-adapters[pipecat]' or 'eot-adapters[silero]'"
_NAME = "the Silero VAD"

_CONTEXT_SAMPLES = 64
"""End of the previous window that the network sees again, at 16 kHz."""
_SAMPLE_RATE = np.array(16_000, dtype=np.int64)


def weights_path(weights: str | os.PathLike[str] | None = None) -> Path:
    """Where the weights are: at ``weights``, or in the first of silero-vad, livekit-plugins-silero and pipecat-ai that
    is installed. Imports none of them.

    Raises:
        ModelNotInstalledError: they are nowhere; the message says what to install.
        ModelIntegrityError: the checksum is not that of the file this was measured with.
    """
    if weights is not None:
        return explicit_weights(weights, sha256=(SHA256, OLDER_SHA256))
    try:
        return packaged_weights(_NAME, _FILES, sha256=(SHA256,), install=_INSTALL)
    except ModelError:
        path = packaged_weights(_NAME, _FILES, sha256=(SHA256, OLDER_SHA256), install=_INSTALL)
    logger.warning(
        "%s holds an older Silero VAD: pauses may begin and end a little elsewhere than on LiveKit; upgrade pipecat-ai",
        path,
    )
    return path


class SileroNetwork:
    """The network with the state of one stream: an LSTM, and the end of the window before."""

    def __init__(self, session: OnnxSession) -> None:
        self._session = session
        self._input = np.zeros((1, _CONTEXT_SAMPLES + WINDOW_SAMPLES), dtype=np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._input[:] = 0.0
        self._state = np.zeros((2, 1, 128), dtype=np.float32)

    def score(self, window: PcmArray) -> float:
        """Probability of speech, 0..1, in the next ``WINDOW_SAMPLES`` samples: int16 mono at 16 kHz."""
        self._input[:, :_CONTEXT_SAMPLES] = self._input[:, -_CONTEXT_SAMPLES:]
        np.divide(window, 32_768.0, out=self._input[0, _CONTEXT_SAMPLES:], dtype=np.float32)
        output, self._state = self._session.run(
            ["output", "stateN"], {"input": self._input, "state": self._state, "sr": _SAMPLE_RATE}
        )
        return float(output[0, 0])


class SileroVAD:
    """Makes streams that share one network per process. Nothing is loaded until the first of them."""

    def __init__(self, options: VADOptions | None = None, *, weights: str | os.PathLike[str] | None = None) -> None:
        """
        Args:
            options: thresholds and durations; None takes the defaults.
            weights: path of silero_vad.onnx; None looks inside the installed packages (:func:`weights_path`).

        Raises:
            TypeError: ``options`` are no :class:`VADOptions`.
        """
        if options is not None and not isinstance(options, VADOptions):
            raise TypeError(f"options must be VADOptions, got {type(options).__name__}")
        self.options = VADOptions() if options is None else options
        self._weights = weights
        self._session: OnnxSession | None = None

    def warm_up(self) -> None:
        """Load the network and score a window.

        Raises:
            ModelError: it cannot be loaded; the message says what to install.
        """
        SileroNetwork(self._load()).score(np.zeros(WINDOW_SAMPLES, dtype=np.int16))

    def stream(self, options: VADOptions | None = None) -> VADStream:
        """A new stream; the first one loads the network, which takes some 20 ms.

        Args:
            options: for this stream alone; None takes those of the factory.

        Raises:
            ModelError: the network cannot be loaded; the message says what to install.
        """
        return VADStream(SileroNetwork(self._load()), self.options if options is None else options)

    def _load(self) -> OnnxSession:
        if self._session is None:  # two threads may both come here; they get the same session
            self._session = shared_session(weights_path(self._weights))
        return self._session
