from __future__ import annotations

import numpy as np
import pytest

from eot_core.models.spoken import brevity, spoken_seconds

RATE = 16_000


def voice(seconds: float, level: float = 0.3) -> np.ndarray:
    """A buzz whose loudness moves as syllables do, shape (n,)."""
    t = np.arange(round(seconds * RATE)) / RATE
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * t)
    return (level * syllables * np.sign(np.sin(2 * np.pi * 120 * t))).astype(np.float32)


def heard(speech: np.ndarray, lead: float = 0.7, tail: float = 0.2, noise: float = 0.0) -> np.ndarray:
    parts = np.concatenate([np.zeros(round(lead * RATE)), speech, np.zeros(round(tail * RATE))])
    return (parts + noise * np.random.default_rng(0).standard_normal(len(parts))).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("noise", [0.0, 0.001, 0.03])  # none, a room, 17 dB below the speech
def test_the_time_from_the_first_sound_to_the_last(seconds: float, noise: float) -> None:
    assert spoken_seconds(heard(voice(seconds), noise=noise)) == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("tail", [0.0, 0.2, 1.0, 3.0])
def test_the_silence_around_it_does_not_count(tail: float) -> None:
    assert spoken_seconds(heard(voice(0.5), tail=tail)) == pytest.approx(0.5, abs=0.1)
    assert spoken_seconds(heard(voice(0.5), lead=4.0, tail=tail)) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("gain", [1e-3, 0.1, 3.0])
def test_level_does_not_matter(gain: float) -> None:
    loud = heard(voice(0.8), noise=0.001)
    assert spoken_seconds(gain * loud) == pytest.approx(spoken_seconds(loud), abs=0.02)


def test_a_pause_inside_counts() -> None:
    two = np.concatenate([voice(0.4), np.zeros(RATE, dtype=np.float32), voice(0.4)])
    assert spoken_seconds(heard(two)) == pytest.approx(1.8, abs=0.1)


def test_a_click_long_before_is_no_speech() -> None:
    wave = heard(voice(0.4), lead=3.0)
    wave[1000:1020] = 1.0
    assert spoken_seconds(wave) == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("samples", [0, 1, 159, 1600])
def test_too_little_to_tell(samples: int) -> None:
    assert spoken_seconds(np.zeros(samples, dtype=np.float32)) <= 0.1


def test_silence_is_finite_whatever_it_is() -> None:
    assert 0.0 <= spoken_seconds(np.zeros(8 * RATE, dtype=np.float32)) <= 8.0


def test_brevity_falls_from_one_to_zero() -> None:
    assert [brevity(s, 0.5, 1.5) for s in (0.0, 0.5, 1.0, 1.5, 8.0)] == [1.0, 1.0, 0.5, 0.0, 0.0]
