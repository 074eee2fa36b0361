"""Audio for the tests: recordings where the checkout has them beside it, else something like speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

AUDIO = Path(__file__).parents[3] / "shared" / "audio"

Pcm = npt.NDArray[np.int16]


def recordings(count: int) -> list[Pcm]:
    """Recorded speech at 16 kHz with hesitations in it; skips the test where there is none."""
    soundfile = pytest.importorskip("soundfile")
    found = []
    for path in sorted((AUDIO / "alphanumeric").glob("addresses-*.flac"))[:count]:
        samples, rate = soundfile.read(path, dtype="int16")
        assert rate == 16_000
        # Real pauses and a second turn: the recording, silence with a little noise, and the recording again.
        hush = np.random.default_rng(0).integers(-8, 9, 20_000, dtype=np.int16)
        found.append(np.concatenate((hush, samples, hush, samples, hush)))
    if not found:
        pytest.skip("no recorded speech next to the checkout")
    return found


def vowels(seconds: float, *, rate: int = 16_000, pitch: float = 120.0) -> Pcm:
    """A buzz with the formants of an open vowel, which Silero takes for speech."""
    t = np.arange(round(seconds * rate)) / rate
    wobble = pitch * (1 + 0.04 * np.sin(2 * np.pi * 4 * t))
    phase = 2 * np.pi * np.cumsum(wobble) / rate
    sound = np.zeros_like(t)
    for harmonic in range(1, 30):
        hertz = pitch * harmonic
        gain = sum(np.exp(-(((hertz - formant) / 120.0) ** 2)) for formant in (700.0, 1_200.0, 2_500.0))
        sound += (gain + 0.02) * np.sin(harmonic * phase)
    syllables = 0.3 + 0.7 * np.abs(np.sin(2 * np.pi * 2.5 * t))
    sound *= syllables
    return np.asarray(sound / np.abs(sound).max() * 12_000, dtype=np.int16)
