"""Copies of recordings: what they change, what they leave alone, and that they can be made again."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("scipy", reason="scipy makes the telephone band")
pytest.importorskip("soundfile", reason="soundfile reads the recordings")
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

import soundfile  # noqa: E402

from training import augment  # noqa: E402
from training.data import RATE, Pause  # noqa: E402
from training.features import (  # noqa: E402
    BABBLE_VOICES,
    EDGES,
    LEAD,
    MOMENT,
    SHORT_TURN,
    Noisy,
    babble,
    plain,
    quiet,
    shortly,
    stretches,
    telephone,
)


def tone(frequency: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def level(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))


def pause(path: Path = Path("x"), source: str = "read") -> Pause:
    return Pause(
        turn="t", source=source, split="train", language="en", speaker="s", audio=path, channel=0, turn_start=0.5,
        speech_start=0.7, onsets=(0.7,), start=2.0, duration=1.0, is_end=True,
    )  # fmt: skip


def test_the_telephone_band_passes_voices_and_stops_the_rest() -> None:
    kept = {f: level(augment.telephone(tone(f))[2000:-2000]) / level(tone(f)) for f in (60, 1000, 2000, 6000)}
    assert kept[1000] == pytest.approx(1.0, abs=0.1)
    assert kept[2000] == pytest.approx(1.0, abs=0.1)
    assert kept[60] < 0.05
    assert kept[6000] < 0.05


@pytest.mark.parametrize("size", [1601, 16_000, 16_001])
def test_the_telephone_band_keeps_the_length(size: int) -> None:
    wave = augment.telephone(tone(500, 2.0)[:size])
    assert wave.shape == (size,)
    assert wave.dtype == np.float32
    assert np.isfinite(wave).all()


def test_silence_stays_silence_in_the_telephone_band() -> None:
    np.testing.assert_array_equal(augment.telephone(np.zeros(8000, dtype=np.float32)), 0.0)


@pytest.mark.parametrize("voices", [[], [tone(300, 0.4), tone(700, 2.0)]], ids=["noise", "voices"])
@pytest.mark.parametrize("snr", [10.0, 25.0])
def test_noise_is_as_far_below_the_speech_as_asked(snr: float, voices: list[np.ndarray]) -> None:
    wave = tone(440)
    noise = augment.noisy(wave, snr, np.random.default_rng(0), voices) - wave
    assert 20 * np.log10(level(wave) / level(noise)) == pytest.approx(snr, abs=0.2)


def test_noise_under_half_silence_goes_by_the_speech() -> None:
    wave = np.concatenate([tone(440), np.zeros(RATE, dtype=np.float32)])
    noise = augment.noisy(wave, 20.0, np.random.default_rng(0)) - wave
    assert 20 * np.log10(level(tone(440)) / level(noise)) == pytest.approx(20.0, abs=0.2)


def spoken() -> np.ndarray:
    """Quiet, 2 s of speech, 0.5 s of quiet, 0.8 s of speech, quiet; shape (n,)."""
    hush = 1e-3 * np.random.default_rng(0).standard_normal(6 * RATE).astype(np.float32)
    for begin, end in ((0.7, 2.7), (3.2, 4.0)):
        hush[round(begin * RATE) : round(end * RATE)] += tone(440, end - begin)
    return hush


def test_a_short_turn_is_the_last_stretch_of_a_longer_one() -> None:
    last = replace(pause(), turn_start=0.0, onsets=(0.7, 3.2), start=4.0)
    lengths = set()
    for n in range(40):
        heard, moment, elapsed = shortly(spoken(), last, np.random.default_rng([0, n]))
        assert moment == MOMENT
        assert 0.15 < elapsed <= SHORT_TURN + 0.15
        assert len(heard) == pytest.approx((LEAD + elapsed + MOMENT) * RATE, abs=2)
        assert level(heard[: round((LEAD - 0.02) * RATE)]) < 2e-3  # nothing of what was said before
        assert level(heard[-round(MOMENT * RATE) :]) < 2e-3
        np.testing.assert_array_equal(heard[-RATE // 2 :], spoken()[round(3.7 * RATE) : round(4.2 * RATE)])
        lengths.add(round(elapsed, 2))
    assert 0.8 in lengths  # begins where speech begins again
    assert len(lengths) > 3  # and, now and then, elsewhere


def test_a_turn_that_is_short_stays_as_it_is() -> None:
    first = replace(pause(), turn_start=0.0, onsets=(0.7,), speech_start=2.55, start=2.7)
    heard, _, elapsed = shortly(spoken(), first, np.random.default_rng(1))
    assert elapsed == pytest.approx(0.15)
    assert len(heard) == pytest.approx((LEAD + 0.15 + MOMENT) * RATE, abs=2)


def test_quiet_is_the_quietest_there_is() -> None:
    assert level(quiet(spoken(), RATE)) < 1.2e-3
    np.testing.assert_array_equal(quiet(np.zeros(100, dtype=np.float32), 50), np.zeros(50, dtype=np.float32))


def test_a_mild_copy_is_made_again_by_the_same_seed_and_hears_the_same_stretch() -> None:
    wave = tone(440, 4.0)
    copy = Noisy([tone(200), tone(300)])
    one, moment, elapsed = copy(wave, pause(), np.random.default_rng([7, 1]))
    again, *_ = copy(wave, pause(), np.random.default_rng([7, 1]))
    other, *_ = copy(wave, pause(), np.random.default_rng([7, 2]))
    heard, of_plain, since = plain(wave, pause(), np.random.default_rng(0))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert one.shape == heard.shape == (round((2.2 - 0.5) * RATE),)
    assert one.dtype == np.float32
    assert (moment, elapsed) == (of_plain, since) == (0.2, pytest.approx(1.3))


def test_mild_means_mild() -> None:
    wave = tone(440, 4.0)
    heard, *_ = plain(wave, pause(), np.random.default_rng(0))
    for seed in range(20):
        copy, *_ = Noisy([tone(200), tone(300)])(wave, pause(), np.random.default_rng(seed))
        assert np.corrcoef(copy, heard)[0, 1] > 0.98  # 15 dB: 0.984
        assert 0.1 * 0.9 < level(copy) / level(heard) < 10**0.2 * 1.1


def test_a_telephone_copy_hears_the_same_stretch() -> None:
    wave = tone(1000, 4.0)
    heard, *_ = plain(wave, pause(), np.random.default_rng(0))
    copy, *_ = telephone(wave, pause(), np.random.default_rng(0))
    np.testing.assert_array_equal(copy, augment.telephone(heard))


def test_voices_come_from_the_read_source_once_each(tmp_path: Path) -> None:
    for n in range(3):
        soundfile.write(tmp_path / f"{n}.flac", tone(200 + n, 0.1 * (n + 1)), RATE)
    rows = [pause(tmp_path / "0.flac", "librispeech")] * 2 + [pause(tmp_path / "1.flac", "librispeech")]
    rows += [pause(tmp_path / "2.flac", "calls")]
    assert [voice.size for voice in babble(rows)] == [1600, 3200]
    assert [voice.size for voice in babble(rows[3:])] == [4800]
    assert len(babble(rows)) <= BABBLE_VOICES


def test_stretches_are_means_from_the_newest_frame() -> None:
    hidden = np.arange(200, dtype=np.float32)[::-1, None].repeat(384, axis=1)  # the newest frame is 0
    means = stretches(hidden)
    assert means.shape == (len(EDGES) - 1, 384)
    np.testing.assert_allclose(means[:3, 0], [2.0, 7.0, 14.5])
    assert means[EDGES.index(110), 0] == pytest.approx((110 + 199) / 2, abs=0.1)
    assert np.isnan(means[EDGES.index(200) :]).all()  # beyond a window of 4 s
