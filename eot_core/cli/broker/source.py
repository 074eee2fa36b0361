"""The user's side of the line: the recording at 48 kHz, in frames of 20 ms, with faint noise before and after it."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from .protocol import WIRE_SAMPLE_RATE

FRAME_DURATION: Final = 0.02
"""Seconds per frame, as a telephone or a browser sends them."""
FRAME_SAMPLES: Final = 960
"""Samples per frame at 48 kHz."""
NOISE_DBFS: Final = -70.0
"""Level of the noise around the recording: far below any VAD, but not digital silence, which no microphone gives."""

_FULL_SCALE = 32768.0


class RecordingSource:
    """Endless frames: ``lead`` frames of noise, the recording, then noise for as long as one asks.

    Args:
        pcm: int16 mono, shape (n,), n > 0.
        sample_rate: of ``pcm``, in Hz.
        lead: frames of noise before the recording.
        noise_dbfs: RMS level of that noise in dB below full scale, or None for digital silence.
    """

    def __init__(
        self, pcm: npt.NDArray[np.int16], sample_rate: int, *, lead: int = 0, noise_dbfs: float | None = NOISE_DBFS
    ) -> None:
        if pcm.ndim != 1 or pcm.dtype != np.int16:
            raise ValueError(
                f"pcm must be int16 of shape (n,), got {pcm.dtype} of shape {pcm.shape}: mix it down first"
            )
        if pcm.size == 0:
            raise ValueError("pcm must hold at least one sample: the recording is empty")
        if sample_rate <= 0:
            raise ValueError(f"sample_rate must be positive (Hz), got {sample_rate}")
        if lead < 0:
            raise ValueError(f"lead must not be negative (frames), got {lead}")
        self._pcm = _resample(pcm, sample_rate)
        self._lead = lead
        # One second, looped: a fixed seed makes two runs alike, and nobody can hear the loop at this level.
        amplitude = 0.0 if noise_dbfs is None else _FULL_SCALE * 10 ** (noise_dbfs / 20)
        noise = np.random.default_rng(0).normal(0.0, 1.0, WIRE_SAMPLE_RATE) * amplitude
        self._noise = (
            np.clip(np.round(noise), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16).reshape(-1, FRAME_SAMPLES)
        )
        self.duration = pcm.size / sample_rate
        """Seconds of the recording."""

    def frame(self, index: int) -> bytes:
        """Frame ``index`` (from 0, the lead included), int16 little-endian mono at 48 kHz."""
        start = (index - self._lead) * FRAME_SAMPLES
        frame = self._noise[index % len(self._noise)]
        if 0 <= start < self._pcm.size:
            frame = frame.copy()
            voice = self._pcm[start : start + FRAME_SAMPLES]
            frame[: voice.size] = voice
        data: bytes = frame.astype("<i2").tobytes()
        return data


def _resample(pcm: npt.NDArray[np.int16], sample_rate: int) -> npt.NDArray[np.int16]:
    if sample_rate == WIRE_SAMPLE_RATE:
        return pcm
    import soxr

    out = soxr.resample(pcm.astype(np.float32), sample_rate, WIRE_SAMPLE_RATE, quality="HQ")
    return _to_int16(out)


def _to_int16(samples: npt.NDArray[np.floating]) -> npt.NDArray[np.int16]:
    return np.clip(np.round(samples), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
