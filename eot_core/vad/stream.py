"""Audio of any rate and frame length to the events of a VAD."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..audio import SoxrFilter, check_sample_rate, to_pcm
from ..models.base import SAMPLE_RATE, PcmArray
from .events import VADEvent
from .hysteresis import WINDOW_SAMPLES, Hysteresis
from .options import VADOptions

_EMPTY: PcmArray = np.zeros(0, dtype=np.int16)

_RESAMPLING = "QQ"
"""soxr's quick cubic interpolation, as LiveKit's VAD uses. It holds nothing back, where "HQ" delays a decision by up to
100 ms, and the probabilities are as near to those of the original at 16 kHz (mean difference on speech below 0.007 from
24 to 48 kHz, for either quality)."""


class Network(Protocol):
    """What gives probabilities, one window after another."""

    def score(self, window: PcmArray) -> float:
        """Probability of speech, 0..1, in the next ``WINDOW_SAMPLES`` samples: int16 mono at 16 kHz."""
        ...

    def reset(self) -> None:
        """Forget what was heard."""
        ...


class VADStream:
    """One speaker's audio. Not for use by several threads at a time; memory does not grow with the audio."""

    def __init__(self, network: Network, options: VADOptions) -> None:
        self._network = network
        self._hysteresis = Hysteresis(options)
        self._sample_rate = SAMPLE_RATE
        self._resampler: SoxrFilter | None = None
        self._rest = _EMPTY

    @property
    def options(self) -> VADOptions:
        """May be set at any time; counts from the next window."""
        return self._hysteresis.options

    @options.setter
    def options(self, options: VADOptions) -> None:
        self._hysteresis.options = options

    @property
    def speaking(self) -> bool:
        """Whether speech has started, and not ended."""
        return self._hysteresis.speaking

    def push(self, pcm: Any, sample_rate: int) -> list[VADEvent]:
        """Hear audio; takes some 0.2 ms of one core for each window that it completes.

        Args:
            pcm: int16 mono, shape (n,), or bytes of little-endian int16 (see :func:`eot_core.audio.to_pcm`); any n.
            sample_rate: of ``pcm``, 8,000 to 48,000 Hz; may change from one call to the next.

        Returns:
            The events of the windows that are complete now, in order; often none.

        Raises:
            AudioFormatError: (a ValueError) ``pcm`` or ``sample_rate`` cannot be understood.
        """
        rate = check_sample_rate(sample_rate)
        samples = self._at_16_khz(to_pcm(pcm), rate)
        if len(self._rest):
            samples = np.concatenate((self._rest, samples))
        events: list[VADEvent] = []
        whole = len(samples) - len(samples) % WINDOW_SAMPLES
        for start in range(0, whole, WINDOW_SAMPLES):
            probability = self._network.score(samples[start : start + WINDOW_SAMPLES])
            events += self._hysteresis.update(probability)
        self._rest = samples[whole:].copy()  # a view would keep the caller's whole frame alive
        return events

    def reset(self) -> None:
        """Begin anew, in silence at 0 s; what was heard is forgotten."""
        self._network.reset()
        self._hysteresis.reset()
        self._resampler = None
        self._sample_rate = SAMPLE_RATE
        self._rest = _EMPTY

    def _at_16_khz(self, pcm: PcmArray, rate: int) -> PcmArray:
        held = _EMPTY
        if rate != self._sample_rate:
            if self._resampler is not None:
                held = self._resampler.push(_EMPTY, last=True)
            self._sample_rate = rate
            self._resampler = None
            if rate != SAMPLE_RATE:
                self._resampler = SoxrFilter(rate, SAMPLE_RATE, _RESAMPLING)
        if self._resampler is not None and len(pcm):
            pcm = self._resampler.push(pcm)
        return np.concatenate((held, pcm)) if len(held) else pcm
