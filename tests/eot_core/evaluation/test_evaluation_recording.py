from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from known_set import RATE, write_wav

from eot_core.cli.audio_file import AudioFileError
from eot_core.evaluation.cache import ScoreCache, default_cache
from eot_core.evaluation.recording import WHOLE, AudioRef

RAMP = np.arange(-16_000, 16_000, dtype=np.int16)


class TestReading:
    def test_parts(self, tmp_path: Path) -> None:
        recording = AudioRef(path=write_wav(tmp_path / "r.wav", RAMP)).open()
        assert (recording.duration, recording.channels, recording.rate) == (2.0, 1, RATE)
        assert np.array_equal(recording.read(0.5, 1.0), RAMP[8000:16_000])
        assert np.array_equal(recording.read(-1.0, 99.0), RAMP)
        assert len(recording.read(1.0, 1.0)) == len(recording.read_16k(3.0, 4.0)) == 0
        # The sample at the end is not heard: 0.7 s are 11,200 samples, whatever the binary fraction says.
        assert len(recording.read(0.0, 0.7)) == 11_200

    def test_long_recordings_are_decoded_piece_by_piece(self, tmp_path: Path) -> None:
        pytest.importorskip("soundfile")
        long = np.tile(RAMP, round(WHOLE / 2) + 1)
        recording = AudioRef(path=write_wav(tmp_path / "r.wav", long)).open()
        assert recording._pcm is None
        assert np.array_equal(recording.read(100.5, 101.0), RAMP[8000:16_000])
        recording.close()

    @pytest.mark.parametrize("seconds", [2, 2 * WHOLE + 1])
    def test_what_cannot_be_sought_in(self, tmp_path: Path, seconds: float) -> None:
        """GSM 6.10, in which telephone exchanges record."""
        soundfile = pytest.importorskip("soundfile")
        tone = 8000 * np.sin(2 * np.pi * 200 * np.arange(int(seconds * 8000)) / 8000)
        soundfile.write(tmp_path / "r.wav", tone.astype(np.int16), 8000, subtype="GSM610")
        recording = AudioRef(path=tmp_path / "r.wav").open()
        whole, _ = soundfile.read(tmp_path / "r.wav", dtype="int16")
        assert recording.duration >= seconds
        for begin in (seconds - 1, 0.5):
            heard = recording.read(begin, begin + 0.5)
            assert np.abs(heard - whole[int(begin * 8000) :][: len(heard)]).max() <= 1
            assert np.abs(heard).max() > 7000
        recording.close()

    def test_resampled(self, tmp_path: Path) -> None:
        tone = (8000 * np.sin(2 * np.pi * 200 * np.arange(8000) / 8000)).astype(np.int16)
        recording = AudioRef(path=write_wav(tmp_path / "r.wav", tone, rate=8000)).open()
        heard = recording.read_16k(0.0, 0.5)
        assert len(heard) == 8000
        assert abs(int(np.abs(heard).max()) - 8000) < 200

    def test_an_array(self) -> None:
        ref = AudioRef(pcm=RAMP, sample_rate=RATE)
        assert np.array_equal(ref.open().read(0, 9), RAMP)
        assert ref.checksum() != AudioRef(pcm=RAMP, sample_rate=8000).checksum()

    def test_without_soundfile(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "soundfile", None)
        path = write_wav(tmp_path / "r.wav", RAMP)
        assert np.array_equal(AudioRef(path=path).open().read(0, 9), RAMP)
        with pytest.raises(AudioFileError, match=r"needs soundfile: pip install 'eot-adapters\[cli\]'"):
            AudioRef(encoded=path.read_bytes()).open()


class TestWhatCannotBeRead:
    def test_files(self, tmp_path: Path) -> None:
        pytest.importorskip("soundfile")
        with pytest.raises(AudioFileError, match="no such file"):
            AudioRef(path=tmp_path / "none.wav").open()
        with pytest.raises(AudioFileError, match="cannot be read"):
            AudioRef(path=tmp_path / "none.wav").checksum()
        with pytest.raises(AudioFileError, match="holds no bytes"):
            AudioRef(encoded=b"").open()
        with pytest.raises(AudioFileError, match="holds no audio"):
            AudioRef(path=write_wav(tmp_path / "e.wav", RAMP[:0])).open()
        with pytest.raises(AudioFileError, match="sample rate 4000 Hz is outside"):
            AudioRef(path=write_wav(tmp_path / "s.wav", RAMP, rate=4000)).open()
        unknown = r"audio: not a recording that can be read: its format is not known: convert it to WAV, FLAC, Ogg or"
        with pytest.raises(AudioFileError, match=unknown):
            AudioRef(encoded=b"nothing that anybody knows").open()
        (tmp_path / "x.wav").write_bytes(b"nothing that anybody knows")
        with pytest.raises(AudioFileError) as raised:
            AudioRef(path=tmp_path / "x.wav").open()
        assert str(raised.value).count(str(tmp_path)) == 1
        with pytest.raises(AudioFileError, match="is no file"):
            AudioRef(path=tmp_path).open()


class TestCache:
    def test_where_it_is(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert default_cache() == tmp_path / "eot-adapters" / "bench"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert default_cache() == Path.home() / ".cache" / "eot-adapters" / "bench"

    def test_lines_that_are_none(self, tmp_path: Path) -> None:
        cache = ScoreCache(tmp_path, "m")
        cache.put("k", "item", {0.7: 0.25})
        cache.put("k", "item", {})
        cache.close()
        cache.close()
        (file,) = tmp_path.iterdir()
        file.write_text('{"key": 1}\nno json\n[]\n' + file.read_text() + '{"key": "k", "at": [1.0], "scores": []}\n{"k')
        again = ScoreCache(tmp_path, "m")
        assert again.get("k", [0.7000000001, 1.0]) == [0.25, None]
        again.put("k", "item", {1.0: 0.5})  # on a line of its own
        again.close()
        assert ScoreCache(tmp_path, "m").get("k", [0.7, 1.0]) == [0.25, 0.5]

    def test_an_empty_file(self, tmp_path: Path) -> None:
        cache = ScoreCache(tmp_path, "m")
        cache.put("k", "item", {0.7: 0.25})
        cache.close()
        (file,) = tmp_path.iterdir()
        file.write_bytes(b"")
        cache = ScoreCache(tmp_path, "m")
        assert cache.get("k", [0.7]) == [None]
        cache.put("k", "item", {0.7: 0.5})
        cache.close()
        assert ScoreCache(tmp_path, "m").get("k", [0.7]) == [0.5]

    def test_nothing_is_kept_without_a_folder(self, tmp_path: Path) -> None:
        cache = ScoreCache(None, "m")
        cache.put("k", "item", {0.7: 0.25})
        assert cache.get("k", [0.7]) == [0.25]
        assert list(tmp_path.iterdir()) == []
