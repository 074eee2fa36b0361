"""Recordings of a dataset: any rate, any number of channels, hours long. Only what is asked for is decoded."""

from __future__ import annotations

import errno
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import resample
from ..cli.audio_file import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioFileError, read_audio
from ..models.base import SAMPLE_RATE, PcmArray

WHOLE = 120.0
"""Seconds; shorter recordings are decoded once, longer ones piece by piece."""


@dataclass(frozen=True, slots=True, eq=False)
class AudioRef:
    """Where the audio of an item is: one of the three."""

    path: Path | None = None
    encoded: bytes | Callable[[], bytes] | None = None
    """A file's content (WAV, FLAC, Ogg, MP3), or what reads it: thousands of recordings in a parquet file are not to be
    in memory at once."""
    pcm: PcmArray | None = None
    """int16 mono, with ``sample_rate``."""
    sample_rate: int = 0

    def checksum(self) -> str:
        """sha256 of the content, hex; for the cache.

        Raises:
            AudioFileError: the file cannot be read.
        """
        digest = hashlib.sha256()
        if self.path is not None:
            try:
                stat = self.path.stat()
                return _checksum(self.path, stat.st_size, stat.st_mtime_ns)
            except OSError as error:
                raise AudioFileError(f"{self.path}: cannot be read ({error.strerror})") from error
        encoded = self._encoded()
        if encoded is not None:
            digest.update(encoded)
        elif self.pcm is not None:
            digest.update(self.pcm.tobytes() + str(self.sample_rate).encode())
        return digest.hexdigest()

    def open(self, channel: int | None = None) -> Recording:
        """Open it.

        Args:
            channel: which channel to take, from 0; None mixes all of them down to their mean.

        Raises:
            AudioFileError: it cannot be used; the message says why and what to do.
        """
        if self.pcm is not None:
            return Recording(None, self.pcm, self.sample_rate, len(self.pcm), 1)
        name = str(self.path) if self.path is not None else "audio"
        encoded = self._encoded()
        if encoded is not None and not encoded:
            raise AudioFileError(f"{name}: holds no bytes")
        soundfile = _soundfile()
        if soundfile is None:
            if self.path is None:
                raise AudioFileError(f"{name}: needs soundfile: pip install 'eot-adapters[cli]'")
            pcm, rate = read_audio(self.path, channel=channel)
            return Recording(None, pcm, rate, len(pcm), 1)
        if self.path is not None:
            _check_file(self.path)
        try:
            file = soundfile.SoundFile(io.BytesIO(encoded) if encoded is not None else str(self.path))
        except (RuntimeError, OSError, TypeError, ValueError) as error:
            raise AudioFileError(f"{name}: not a recording that can be read: {_why(error)}") from error
        if not MIN_SAMPLE_RATE <= file.samplerate <= MAX_SAMPLE_RATE:
            raise AudioFileError(f"{name}: sample rate {file.samplerate} Hz is outside {MIN_SAMPLE_RATE} to 192000 Hz")
        if file.frames <= 0:
            raise AudioFileError(f"{name}: holds no audio")
        if channel is not None and not 0 <= channel < file.channels:
            raise AudioFileError(f"{name}: channel {channel} does not exist: it has {file.channels}, counted from 0")
        return Recording(file, None, file.samplerate, file.frames, file.channels, channel, name)

    def _encoded(self) -> bytes | None:
        if not callable(self.encoded):
            return self.encoded
        try:
            return self.encoded()
        except (OSError, ValueError) as error:
            raise AudioFileError(f"audio: cannot be read: {error}") from error


@lru_cache(maxsize=256)
def _checksum(path: Path, size: int, changed: int) -> str:
    """Of a file as it is; the turns of a long call share theirs."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _why(error: Exception) -> str:
    """What libsndfile says, without the path that is named before it."""
    said = str(getattr(error, "error_string", error)).strip().rstrip(".")
    if "does not exist" in said:  # of an MP3 file that is none
        return "its content is no audio"
    if "not recognised" in said:
        return "its format is not known: convert it to WAV, FLAC, Ogg or MP3 (ffmpeg -i RECORDING RECORDING.wav)"
    return said


def _check_file(path: Path) -> None:
    try:
        if not path.is_file():
            raise AudioFileError(f"{path}: {'is no file' if path.exists() else 'no such file'}")
        if path.stat().st_size == 0:
            raise AudioFileError(f"{path}: is empty")
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise AudioFileError(f"{path.name[:60]}...: no such file, and too long for a path") from error
        raise AudioFileError(f"{path}: cannot be read ({error.strerror})") from error


class Recording:
    """An open recording, as one channel."""

    def __init__(
        self,
        file: Any,
        pcm: PcmArray | None,
        rate: int,
        frames: int,
        channels: int,
        channel: int | None = None,
        name: str = "audio",
    ) -> None:
        self._file = file
        self._pcm = pcm
        self.rate = rate
        self.frames = frames
        self.channels = channels
        self.name = name
        self._channel = channel
        if pcm is None and (self.duration <= WHOLE or not file.seekable()):
            self._pcm = self._whole()

    @property
    def duration(self) -> float:
        """Seconds, as the file says."""
        return self.frames / self.rate

    def read(self, begin: float, end: float) -> PcmArray:
        """int16 mono at the recording's own rate, from ``begin`` to ``end`` seconds without the sample at ``end``.

        Raises:
            AudioFileError: that part cannot be decoded.
        """
        first, last = max(0, round(begin * self.rate)), min(self.frames, int(end * self.rate + 1e-6))
        if last <= first:
            return np.zeros(0, dtype=np.int16)
        return self._decode(first, last) if self._pcm is None else self._pcm[first:last]

    def read_16k(self, begin: float, end: float) -> PcmArray:
        """:meth:`read`, at 16 kHz. What comes after ``end`` is not heard, not even by the resampling filter."""
        pcm = self.read(begin, end)
        if self.rate == SAMPLE_RATE or len(pcm) == 0:
            return pcm
        return resample(pcm, self.rate)

    def close(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _whole(self) -> PcmArray:
        step = int(WHOLE * self.rate)
        pieces = [self._decode(first, min(self.frames, first + step)) for first in range(0, self.frames, step)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _decode(self, first: int, last: int) -> PcmArray:
        try:
            if self._file.seekable():  # GSM 6.10, which telephone exchanges record, is not
                self._file.seek(first)
            samples = self._file.read(last - first, dtype="float32", always_2d=True)
        except (RuntimeError, OSError) as error:
            raise AudioFileError(f"{self.name}: cannot be decoded at {first / self.rate:.1f} s: {error}") from error
        if len(samples) < last - first:
            there = (first + len(samples)) / self.rate
            raise AudioFileError(f"{self.name}: is cut short: {there:.2f} s of {self.duration:.2f} s are there")
        mono = samples.mean(axis=1) if self._channel is None else samples[:, self._channel]
        scaled = np.nan_to_num(mono * 32768.0, nan=0.0, posinf=32767.0, neginf=-32768.0)
        return np.asarray(np.clip(np.round(scaled), -32768, 32767), dtype=np.int16)


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package is there, its libsndfile is not
        return None
    return soundfile
