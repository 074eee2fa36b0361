"""Whisper's log-mel features, in numpy alone.

The recipe is that of Whisper's feature extractor as smart-turn v3 was trained with it: 16 kHz, 400-sample periodic Hann
window, hop of 160 samples, 80 Slaney mel bands from 0 to 8 kHz, the waveform brought to zero mean and unit variance
first (padding included), log10, clipped 8 decades below the loudest bin, then ``(x + 4) / 4``. Equal to the extractor
that pipecat-ai ships to better than 1e-5 (measured by the tests on speech, noise and silence).

Audio shorter than the window is left-padded with silence. The frames that lie wholly in that padding are all the same,
so one of them is computed and repeated: a short turn costs a fraction of a full window.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import SAMPLE_RATE

FRAME = 400
"""Samples in one analysis frame (25 ms)."""
HOP = 160
"""Samples from one frame to the next (10 ms)."""
MEL_BANDS = 80
FRAMES_PER_SECOND = SAMPLE_RATE // HOP

_HALF = FRAME // 2
_VARIANCE_FLOOR = 1e-7
_POWER_FLOOR = 1e-10
_DECADES = 8.0

FloatArray = npt.NDArray[np.float32]


def log_mel(waveform: npt.NDArray[Any], *, window: float = 8.0) -> FloatArray:
    """Log-mel features of the newest ``window`` seconds.

    Args:
        waveform: float, shape (n,), 16 kHz mono, usually -1..1 (the scale drops out in the normalising). Fewer than
            ``window`` seconds are left-padded with zeros; of more, the newest are kept.
        window: seconds that the features cover; a multiple of 10 ms.

    Returns:
        float32, shape (80, 100 * window), the newest frame last.

    Raises:
        ValueError: ``waveform`` is not one-dimensional, or ``window`` is no positive multiple of 10 ms.
    """
    if waveform.ndim != 1:
        raise ValueError(f"waveform must have one dimension, got shape {waveform.shape}: mix it down to mono")
    frames = round(window * FRAMES_PER_SECOND) if math.isfinite(window) else 0
    if frames <= 0 or abs(frames - window * FRAMES_PER_SECOND) > 1e-6:
        raise ValueError(f"window must be a positive multiple of 0.01 s, got {window!r}")
    samples = frames * HOP

    padding = max(0, samples - waveform.size)
    audio = np.zeros(samples, dtype=np.float32)
    audio[padding:] = waveform[waveform.size - (samples - padding) :]
    # float32 on purpose, padding included: the model was trained on features normalised that way, and on near-silence
    # the rounding of the mean is most of what is left.
    audio = (audio - audio.mean()) / np.sqrt(audio.var() + _VARIANCE_FLOOR)

    # Frame i is centred on sample i * HOP; it ends at i * HOP + _HALF, so it is pure padding up to that point.
    constant = max(0, (padding - _HALF) // HOP + 1) if padding >= _HALF else 0
    first = max(0, constant - 1)
    mirrored = np.pad(audio.astype(np.float64), _HALF, mode="reflect")
    # One frame fewer than a centred spectrogram has: the last, centred on the very end, is dropped as Whisper does.
    views = np.lib.stride_tricks.sliding_window_view(mirrored, FRAME)[first * HOP : frames * HOP : HOP]
    spectrum = np.fft.rfft(views * _hann(), axis=-1)
    power = spectrum.real**2 + spectrum.imag**2
    loudness = np.log10(np.maximum(power @ _mel_filters(), _POWER_FLOOR))

    # The peak is taken over the frames that are kept.
    loudness = np.maximum(loudness, loudness.max() - _DECADES)
    features = np.empty((MEL_BANDS, frames), dtype=np.float32)
    features[:, first:] = ((loudness + 4.0) / 4.0).T
    features[:, :first] = features[:, first : first + 1]
    return features


@cache
def _hann() -> npt.NDArray[np.float64]:
    """Periodic Hann window, shape (FRAME,)."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(FRAME) / FRAME)


@cache
def _mel_filters() -> npt.NDArray[np.float64]:
    """Triangular Slaney mel filters of equal area, shape (FRAME // 2 + 1, MEL_BANDS)."""
    edges = _slaney_hertz(np.linspace(0.0, _slaney_mel(SAMPLE_RATE / 2), MEL_BANDS + 2))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    bins = np.linspace(0.0, SAMPLE_RATE / 2, FRAME // 2 + 1)[:, None]
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (high - low)), dtype=np.float64)


# Slaney's scale (Auditory Toolbox, 1998): linear below 1 kHz at 200/3 Hz per mel, then 27 mels per factor of 6.4.
_LINEAR_STEP = 200.0 / 3.0
_BREAK_HERTZ = 1000.0
_BREAK_MEL = _BREAK_HERTZ / _LINEAR_STEP
_LOG_STEP = np.log(6.4) / 27.0


def _slaney_mel(hertz: float) -> float:
    """``hertz`` (at least 1 kHz) in mels."""
    return float(_BREAK_MEL + np.log(hertz / _BREAK_HERTZ) / _LOG_STEP)


def _slaney_hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    bent = _BREAK_HERTZ * np.exp(_LOG_STEP * (np.maximum(mels, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, mels * _LINEAR_STEP, bent)
