from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eot_core.models.whisper_features import log_mel

AUDIO = Path(__file__).parents[4] / "shared" / "audio"
reference = pytest.importorskip(
    "pipecat.audio.turn.smart_turn._whisper_features", reason="pipecat-ai, whose features are the reference"
)


def expected(waveform: np.ndarray) -> np.ndarray:
    """What pipecat's analyzer feeds to the model: newest 8 s, left-padded, then the extractor."""
    newest = waveform[-128_000:]
    padded = np.pad(newest, (128_000 - newest.size, 0))
    return np.asarray(reference.compute_whisper_log_mel_features(padded, do_normalize=True))


def assert_equal_features(waveform: np.ndarray) -> None:
    features = log_mel(waveform)
    assert features.dtype == np.float32
    assert features.shape == (80, 800)
    np.testing.assert_allclose(features, expected(waveform), atol=1e-5)


@pytest.mark.parametrize(
    "samples", [1, 100, 159, 160, 199, 200, 201, 400, 16_000, 127_599, 127_799, 127_800, 127_801, 127_960, 128_000]
)
def test_noise_of_any_length_gives_the_reference_features(samples: int) -> None:
    rng = np.random.default_rng(samples)
    assert_equal_features((rng.standard_normal(samples) * 0.1).astype(np.float32))


def test_only_the_newest_window_counts() -> None:
    noise = np.random.default_rng(7).standard_normal(200_000).astype(np.float32)
    np.testing.assert_array_equal(log_mel(noise), log_mel(noise[-128_000:]))
    assert_equal_features(noise)


@pytest.mark.parametrize("level", [0.0, 1.0, 0.5, 20_000 / 32_768, 1e-6])
def test_silence_and_direct_current(level: float) -> None:
    assert_equal_features(np.full(128_000, level, dtype=np.float32))
    assert_equal_features(np.full(30_000, level, dtype=np.float32))


def test_empty_audio_is_silence() -> None:
    np.testing.assert_array_equal(log_mel(np.zeros(0, np.float32)), log_mel(np.zeros(128_000, np.float32)))


def test_a_tone_and_a_click() -> None:
    t = np.arange(90_000) / 16_000
    assert_equal_features((0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32))
    click = np.zeros(128_000, np.float32)
    click[100_000] = 1.0
    assert_equal_features(click)


def test_recorded_speech() -> None:
    soundfile = pytest.importorskip("soundfile")
    recordings = sorted((AUDIO / "alphanumeric").glob("*.flac"))[:4]
    if not recordings:
        pytest.skip("no recorded speech next to the checkout")
    for recording in recordings:
        speech, rate = soundfile.read(recording, dtype="int16")
        assert rate == 16_000
        for end in (5_000, 40_000, len(speech)):
            assert_equal_features(speech[:end].astype(np.float32) / 32_768)


def test_another_window() -> None:
    noise = np.random.default_rng(1).standard_normal(16_000).astype(np.float32)
    assert log_mel(noise, window=1.2).shape == (80, 120)


@pytest.mark.parametrize("window", [0.0, -1.0, 0.005, 1.0001, float("nan")])
def test_a_window_off_the_grid_is_refused(window: float) -> None:
    with pytest.raises(ValueError, match="window"):
        log_mel(np.zeros(10, np.float32), window=window)


def test_stereo_is_refused() -> None:
    with pytest.raises(ValueError, match="waveform"):
        log_mel(np.zeros((10, 2), np.float32))
