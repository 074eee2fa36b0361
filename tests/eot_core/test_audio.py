from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eot_core.audio import AudioFormatError, AudioWindow, Resampler, SoxrFilter, check_sample_rate, resample, to_pcm
from eot_core.models.base import PcmArray


class TestToPcm:
    def test_int16_is_not_copied(self) -> None:
        pcm = np.arange(5, dtype=np.int16)
        assert to_pcm(pcm) is pcm

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_bytes(self, kind: Any) -> None:
        assert to_pcm(kind(b"\x01\x00\xff\xff")).tolist() == [1, -1]

    def test_a_last_odd_byte_is_dropped(self) -> None:
        assert to_pcm(b"\x01\x00\xff").tolist() == [1]
        assert len(to_pcm(b"\x01")) == 0
        assert len(to_pcm(b"")) == 0

    def test_column(self) -> None:
        assert to_pcm(np.ones((3, 1), dtype=np.int16)).shape == (3,)
        assert to_pcm(np.ones((1, 3), dtype=np.int16)).shape == (3,)

    def test_floats(self) -> None:
        values = np.array([0.0, 0.5, -1.0, 2.0, np.nan, np.inf, -np.inf], dtype=np.float32)
        assert to_pcm(values).tolist() == [0, 16384, -32768, 32767, 0, 32767, -32768]

    def test_big_endian(self) -> None:
        out = to_pcm(np.array([1, 2], dtype=">i2"))
        assert out.tolist() == [1, 2]
        assert out.dtype == np.int16

    @pytest.mark.parametrize(
        ("pcm", "message"),
        [
            (None, "pcm must be an int16 mono ndarray or bytes, got NoneType"),
            ("abc", "got str"),
            ([1, 2], "got list"),
            (np.zeros((2, 160), dtype=np.int16), "mono"),
            (np.zeros((2, 2, 2), dtype=np.int16), "mono"),
            (np.array(5, dtype=np.int16), "mono"),
            (np.zeros(5, dtype=np.int32), "int32"),
            (np.zeros(5, dtype=np.uint16), "uint16"),
            (np.zeros(5, dtype=np.complex64), "complex64"),
            (memoryview(b"abcdef")[::2], "gaps"),
        ],
    )
    def test_what_cannot_be_understood(self, pcm: Any, message: str) -> None:
        with pytest.raises(AudioFormatError, match=message):
            to_pcm(pcm)


class TestSampleRate:
    @pytest.mark.parametrize("rate", [8_000, 16_000.0, np.int64(48_000)])
    def test_good(self, rate: Any) -> None:
        assert check_sample_rate(rate) == rate

    @pytest.mark.parametrize("rate", [0, -1, 7_999, 48_001, 16_000.5, float("nan"), float("inf"), None, "x", "16000"])
    def test_bad(self, rate: Any) -> None:
        with pytest.raises(AudioFormatError, match="sample_rate must be a whole number"):
            check_sample_rate(rate)


class TestAudioWindow:
    @given(st.lists(st.integers(0, 700), max_size=40), st.integers(0, 2_000), st.integers(0, 400))
    def test_is_the_end_of_what_was_written(self, lengths: list[int], since: int, wanted: int) -> None:
        window = AudioWindow(0.02)  # 320 samples
        everything = np.zeros(0, dtype=np.int16)
        for length in lengths:
            pcm = (np.arange(length) + len(everything)).astype(np.int16)
            window.write(pcm)
            everything = np.concatenate((everything, pcm))
        assert window.written == len(everything)
        assert len(window) == min(len(everything), 320)
        expected = everything[max(0, len(everything) - 320) :]
        assert window.snapshot().tolist() == expected.tolist()
        later = everything[max(len(everything) - 320, since, 0) :]
        got = window.snapshot(wanted / 16_000, since=since)
        assert got.tolist() == later[max(0, len(later) - wanted) :].tolist()

    def test_a_snapshot_is_a_read_only_copy(self) -> None:
        window = AudioWindow(1.0)
        window.write(np.ones(10, dtype=np.int16))
        snapshot = window.snapshot()
        window.write(np.full(10, 2, dtype=np.int16))
        assert snapshot.tolist() == [1] * 10
        with pytest.raises(ValueError, match="read-only"):
            snapshot[0] = 5

    @pytest.mark.parametrize("seconds", [0, -1, 3601, float("nan")])
    def test_seconds(self, seconds: float) -> None:
        with pytest.raises(ValueError, match="seconds"):
            AudioWindow(seconds)


class TestResampler:
    @pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
    @pytest.mark.parametrize("quality", ["HQ", "QQ"])
    def test_the_same_audio_is_the_same_every_time(self, rate: int, quality: str) -> None:
        """With int16, soxr adds dither whose seed is the clock: half of the samples of a quiet room were others."""
        pcm = np.random.default_rng(0).integers(-8, 9, rate, dtype=np.int16)

        def resampled() -> PcmArray:
            stream = SoxrFilter(rate, 16_000, quality)
            pieces = [stream.push(pcm[i : i + rate // 50]) for i in range(0, rate, rate // 50)]
            return np.concatenate([*pieces, stream.push(pcm[:0], last=True)])

        first = resampled()
        assert len(first) == pytest.approx(16_000, abs=2)
        assert all(np.array_equal(first, resampled()) for _ in range(3))

    def test_so_is_a_whole_recording(self) -> None:
        """Another run of `eot bench` on a telephone call gave other scores."""
        pcm = np.random.default_rng(0).integers(-8, 9, 8_000, dtype=np.int16)
        first = resample(pcm, 8_000)
        assert (first.dtype, len(first)) == (np.int16, 16_000)
        assert all(np.array_equal(first, resample(pcm, 8_000)) for _ in range(3))

    def test_what_is_too_loud_is_clipped(self) -> None:
        square = np.tile(np.repeat(np.array([32767, -32768], dtype=np.int16), 50), 200)
        out = SoxrFilter(48_000, 16_000, "HQ").push(square)
        assert out.max() == 32767
        assert out.min() == -32768

    @pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 24_000, 32_000, 44_100, 48_000])
    def test_a_tone_stays_a_tone_whatever_the_frames(self, rate: int) -> None:
        t = np.arange(rate) / rate
        pcm = (10_000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)
        rng = np.random.default_rng(1)
        resampler = Resampler()
        pieces, at = [], 0
        while at < len(pcm):
            n = int(rng.integers(0, 1_500))
            pieces.append(resampler.push(pcm[at : at + n], rate))
            at += n
        pieces.append(resampler.drain())
        out = np.concatenate(pieces).astype(float)
        assert len(out) == pytest.approx(16_000, abs=2)
        expected = 10_000 * np.sin(2 * np.pi * 440 * np.arange(len(out)) / 16_000)
        assert np.abs(out - expected)[400:-400].max() < 60

    def test_rate_changes_in_mid_stream_lose_nothing(self) -> None:
        resampler = Resampler()
        total = sum(
            len(resampler.push(np.zeros(rate // 10, dtype=np.int16), rate))
            for rate in (8_000, 48_000, 16_000, 24_000, 24_000, 8_000)
        )
        assert total + len(resampler.drain()) == pytest.approx(6 * 1_600, abs=6)

    def test_drains_do_not_drift(self) -> None:
        resampler = Resampler()
        total = 0
        for _ in range(200):
            total += len(resampler.push(np.zeros(480, dtype=np.int16), 48_000)) + len(resampler.drain())
        assert total == 200 * 160
        assert len(resampler.drain()) == 0

    def test_other_output_rate(self) -> None:
        resampler = Resampler(8_000)
        out = len(resampler.push(np.zeros(16_000, dtype=np.int16), 16_000)) + len(resampler.drain())
        assert out == 8_000
