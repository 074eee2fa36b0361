"""Recordings from disk, the good and the bad."""

import struct
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eot_core.cli.audio_file import AudioFileError, read_audio
from eot_core.data import demo_recording, demo_transcript

TONE = (np.sin(np.arange(1600) / 7) * 12000).astype(np.int16)


def write_wav(path: Path, frames: bytes, *, width: int = 2, channels: int = 1, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(frames)
    return path


def test_sixteen_bits_come_back_unchanged(tmp_path: Path) -> None:
    pcm, rate = read_audio(write_wav(tmp_path / "a.wav", TONE.tobytes(), rate=44_100))

    assert rate == 44_100
    assert pcm.dtype == np.int16
    np.testing.assert_array_equal(pcm, TONE)


@pytest.mark.parametrize(
    ("width", "frames"),
    [
        (1, ((TONE >> 8) + 128).astype(np.uint8).tobytes()),
        (3, b"".join(struct.pack("<i", int(s) * 256)[:3] for s in TONE)),
        (4, (TONE.astype("<i4") * 65536).tobytes()),
    ],
)
def test_other_widths_are_scaled(tmp_path: Path, width: int, frames: bytes) -> None:
    pcm, _ = read_audio(write_wav(tmp_path / "a.wav", frames, width=width))

    np.testing.assert_allclose(pcm, TONE, atol=256 if width == 1 else 1)


def test_channels_are_mixed_down_or_chosen(tmp_path: Path) -> None:
    stereo = np.stack([TONE, np.zeros_like(TONE)], axis=1)
    path = write_wav(tmp_path / "a.wav", stereo.tobytes(), channels=2)

    np.testing.assert_allclose(read_audio(path)[0], TONE / 2, atol=1)
    np.testing.assert_array_equal(read_audio(path, channel=0)[0], TONE)
    assert not read_audio(path, channel=1)[0].any()
    mixed: list[int] = []
    read_audio(path, channel=0, on_mixed=mixed.append)
    read_audio(write_wav(tmp_path / "mono.wav", TONE.tobytes()), on_mixed=mixed.append)
    assert mixed == []
    read_audio(path, on_mixed=mixed.append)
    assert mixed == [2]
    for channel in (2, -1):
        with pytest.raises(AudioFileError, match=rf"channel {channel} does not exist: it has 2"):
            read_audio(path, channel=channel)


@pytest.mark.parametrize(
    ("suffix", "subtype"), [("flac", "PCM_16"), ("ogg", "VORBIS"), ("wav", "FLOAT"), ("mp3", None)]
)
def test_other_formats_are_read_through_soundfile(tmp_path: Path, suffix: str, subtype: str | None) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.tile(TONE, 5) / 32768, 16_000, subtype=subtype)

    pcm, rate = read_audio(path)

    assert rate == 16_000
    loudness = np.sqrt(np.mean(pcm.astype(float) ** 2))
    assert loudness == pytest.approx(np.sqrt(np.mean(TONE.astype(float) ** 2)), rel=0.1)


def test_what_is_not_a_number_becomes_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([np.nan, np.inf, -np.inf, 2.0, 0.5]), 16_000, subtype="FLOAT")

    assert read_audio(path)[0].tolist() == [0, 32767, -32768, 32767, 16384]


def test_without_soundfile_the_error_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, TONE, 16_000)
    monkeypatch.setitem(sys.modules, "soundfile", None)

    with pytest.raises(AudioFileError, match=r"pip install 'eot-adapters\[cli\]'"):
        read_audio(path)
    # WAV needs nothing.
    assert read_audio(write_wav(tmp_path / "a.wav", TONE.tobytes()))[0].size == TONE.size


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    text = tmp_path / "a.wav"
    text.write_text("not audio at all")
    nothing = tmp_path / "b.wav"
    nothing.write_bytes(b"")
    cases = {
        tmp_path / "missing.wav": "no such file",
        tmp_path: "not a file",
        text: "not a recording that can be read",
        nothing: "not a recording that can be read",
        write_wav(tmp_path / "c.wav", b""): "holds no audio",
        write_wav(tmp_path / "d.wav", TONE.tobytes(), rate=4000): "sample rate 4000 Hz is outside",
    }
    for path, message in cases.items():
        with pytest.raises(AudioFileError, match=message) as caught:
            read_audio(path)
        assert str(path) in str(caught.value)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wav(tmp_path / "a.wav", TONE.tobytes())

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(wave, "open", refuse)  # root may read everything
    with pytest.raises(AudioFileError, match="Permission denied"):
        read_audio(path)


def test_a_file_cut_short_gives_what_is_whole(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.stack([TONE, TONE], axis=1).tobytes(), channels=2)
    path.write_bytes(path.read_bytes()[:-3])

    np.testing.assert_array_equal(read_audio(path)[0], TONE[:-1])


@given(damage=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_gives_audio_or_the_one_error(tmp_path: Path, damage: list[tuple[int, int]]) -> None:
    path = write_wav(tmp_path / "a.wav", TONE[:40].tobytes())
    data = bytearray(path.read_bytes())
    for at, value in damage:
        data[at] = value
    path.write_bytes(data)

    try:
        pcm, rate = read_audio(path)
    except AudioFileError:
        return
    assert pcm.ndim == 1
    assert pcm.dtype == np.int16
    assert pcm.size > 0
    assert rate > 0


def test_the_bundled_recording() -> None:
    pcm, rate = read_audio(demo_recording())

    assert rate == 16_000
    assert demo_recording().stat().st_size < 400_000
    assert 5 < pcm.size / rate < 12
    # No digital silence: a microphone gives none, and models that normalise their input are thrown off by it.
    assert np.abs(pcm.reshape(-1)[: rate // 4]).max() > 0
    assert len(demo_transcript().read_text(encoding="utf-8").splitlines()) == 3
