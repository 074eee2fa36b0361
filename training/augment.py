"""Copies of recorded speech as it would have sounded elsewhere. Every draw comes from the generator that is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr
from scipy.signal import butter, sosfiltfilt  # type: ignore[import-untyped]

from training.data import RATE, Wave


def telephone(wave: Wave) -> Wave:
    """300-3,400 Hz at 8 kHz, mu-law, and back to 16 kHz."""
    band = butter(4, (300.0, 3400.0), btype="bandpass", fs=RATE, output="sos")
    narrow = soxr.resample(sosfiltfilt(band, wave).astype(np.float32), RATE, RATE // 2)
    peak = float(np.abs(narrow).max()) + 1e-9
    scaled = narrow / peak * 0.7
    companded = np.sign(scaled) * np.log1p(255.0 * np.abs(scaled)) / np.log(256.0)
    companded = np.round(companded * 127.0) / 127.0
    expanded = np.sign(companded) * np.expm1(np.abs(companded) * np.log(256.0)) / 255.0
    wide = np.asarray(soxr.resample((expanded / 0.7 * peak).astype(np.float32), RATE // 2, RATE), dtype=np.float32)
    return _as_long_as(wide, wave.size)


def noisy(wave: Wave, snr: float, rng: np.random.Generator, babble: Sequence[Wave] = ()) -> Wave:
    """``wave`` with noise at ``snr`` dB below its speech: voices where ``babble`` has any, else coloured noise."""
    if babble:
        noise = np.zeros(wave.size, dtype=np.float32)
        for voice in babble:
            turned = np.roll(voice, int(rng.integers(voice.size)))
            noise += np.resize(turned, wave.size) / (_level(voice) + 1e-9)
    else:
        spectrum = np.fft.rfft(rng.standard_normal(wave.size))
        frequencies = np.maximum(np.fft.rfftfreq(wave.size, 1.0 / RATE), 50.0)
        noise = np.fft.irfft(spectrum * frequencies ** -rng.uniform(0.0, 1.0), wave.size).astype(np.float32)
    gain = _level(wave) * 10.0 ** (-snr / 20.0) / (float(np.sqrt(np.mean(noise**2))) + 1e-9)
    return np.asarray(wave + gain * noise, dtype=np.float32)


def _level(wave: Wave) -> float:
    """Root mean square of the louder half: that of speech, whatever the share of silence."""
    frames = wave[: wave.size // 320 * 320].reshape(-1, 320)
    if not len(frames):
        return 0.0
    power = np.sort(np.mean(frames**2, axis=1))
    return float(np.sqrt(np.mean(power[len(power) // 2 :])))


def _as_long_as(wave: Wave, size: int) -> Wave:
    return wave[:size] if wave.size >= size else np.pad(wave, (0, size - wave.size))
