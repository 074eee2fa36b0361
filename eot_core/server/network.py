"""The VAD's network for several sessions in one run: at eight together, a window costs half of what it costs alone."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..models.base import SAMPLE_RATE
from ..models.session import OnnxSession
from ..vad.hysteresis import WINDOW_SAMPLES
from ..vad.silero import SileroVAD

CONTEXT_SAMPLES = 64
"""End of the previous window that the network sees again."""

Floats = npt.NDArray[np.float32]


class SpeechNetwork(Protocol):
    """Scores a window of each of n sessions."""

    def score(self, windows: Floats, state: Floats) -> tuple[Floats, Floats]:
        """One step.

        Args:
            windows: context and window, -1..1, shape (n, ``CONTEXT_SAMPLES`` + ``WINDOW_SAMPLES``).
            state: what the step before gave, zeros at first; shape (2, n, 128).

        Returns:
            Probability of speech, 0..1, shape (n,), and the new state.
        """
        ...


class SileroSteps:
    """Silero, with the weights and the one ONNX session that a :class:`SileroVAD` has."""

    def __init__(self, vad: SileroVAD | None = None) -> None:
        """
        Args:
            vad: None: with the weights of an installed package.
        """
        self._vad = vad or SileroVAD()
        self._session: OnnxSession | None = None
        self._rate = np.array(SAMPLE_RATE, dtype=np.int64)

    def warm_up(self) -> None:
        """Load the network and score a window.

        Raises:
            ModelError: it cannot be loaded; the message says what to install.
        """
        self.score(
            np.zeros((1, CONTEXT_SAMPLES + WINDOW_SAMPLES), dtype=np.float32), np.zeros((2, 1, 128), dtype=np.float32)
        )

    def score(self, windows: Floats, state: Floats) -> tuple[Floats, Floats]:
        """See :class:`SpeechNetwork`."""
        if self._session is None:
            self._session = self._vad._load()
        output, state = self._session.run(["output", "stateN"], {"input": windows, "state": state, "sr": self._rate})
        probabilities: Floats = output[:, 0]
        return probabilities, state
