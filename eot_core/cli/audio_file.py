"""Recordings from disk: WAV with what Python brings, everything else through ``soundfile``."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

import numpy as np
import numpy.typing as npt

MIN_SAMPLE_RATE: Final = 8_000
MAX_SAMPLE_RATE: Final = 192_000
"""Hz. Below, speech loses what the models need; above, the header is more likely wrong than right."""
_MAX_CHANNELS: Final = 64

Pcm = npt.NDArray[np.int16]


class AudioFileError(Exception):
    """A recording cannot be read. The message names the file and says what to do."""


def mixed_down(command: str, path: str | Path, err: TextIO) -> Callable[[int], None]:
    """What to give :func:`read_audio` as ``on_mixed``: a line for whoever ran ``command``."""

    def say(channels: int) -> None:
        print(f"{command}: {path}: {channels} channels are mixed into one: --channel N, from 0, takes one", file=err)

    return say


def read_audio(
    path: str | Path, *, channel: int | None = None, on_mixed: Callable[[int], None] | None = None
) -> tuple[Pcm, int]:
    """Read a recording.

    Args:
        path: WAV (PCM of 8, 16, 24 or 32 bits) is read without further packages; FLAC, Ogg, Opus, MP3 and other kinds
            of WAV need ``soundfile`` (extra ``cli``).
        channel: which channel to take, from 0; None mixes all of them down to their mean. In a recorded call the caller
            often has a channel of their own.
        on_mixed: called with the number of channels where several are mixed down.

    Returns:
        int16 mono samples of shape (n,), n > 0, and their rate in Hz.

    Raises:
        AudioFileError: for every file that cannot be used, whatever is wrong with it.
    """
    path = Path(path)
    if not path.exists():
        raise AudioFileError(f"{path}: no such file")
    if not path.is_file():
        raise AudioFileError(f"{path}: not a file")
    try:
        samples, rate = _read_wav(path)
    except OSError as e:
        raise AudioFileError(f"{path}: cannot be read ({e.strerror or type(e).__name__})") from e
    except _NotPcmWav:
        samples, rate = _read_soundfile(path)
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise AudioFileError(
            f"{path}: sample rate {rate} Hz is outside {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz: resample it"
        )
    if samples.size == 0:
        raise AudioFileError(f"{path}: holds no audio")
    pcm = _one_channel(path, samples, channel)
    if on_mixed is not None and channel is None and samples.shape[1] > 1:
        on_mixed(samples.shape[1])
    return pcm, rate


class _NotPcmWav(Exception):
    """Not something that the standard library reads."""


def _read_wav(path: Path) -> tuple[npt.NDArray[np.float64], int]:
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError, RuntimeError) as e:
        # RuntimeError: chunk sizes that lead out of the file.
        raise _NotPcmWav from e
    if width not in (1, 2, 3, 4) or not 0 < channels <= _MAX_CHANNELS:
        raise _NotPcmWav
    # A file cut short in the middle of a frame: what is whole counts.
    data = data[: len(data) - len(data) % (width * channels)]
    return _pcm_to_int16_scale(data, width).reshape(-1, channels), rate


def _pcm_to_int16_scale(data: bytes, width: int) -> npt.NDArray[np.float64]:
    match width:
        case 1:  # the only width that is unsigned
            return (np.frombuffer(data, np.uint8).astype(np.float64) - 128.0) * 256.0
        case 2:
            return np.frombuffer(data, "<i2").astype(np.float64)
        case 3:
            octets = np.frombuffer(data, np.uint8).reshape(-1, 3)
            wide = np.zeros((len(octets), 4), np.uint8)
            wide[:, 1:] = octets
            return wide.reshape(-1).view("<i4").astype(np.float64) / 65536.0
        case _:
            return np.frombuffer(data, "<i4").astype(np.float64) / 65536.0


def _read_soundfile(path: Path) -> tuple[npt.NDArray[np.float64], int]:
    try:
        import soundfile
    except (ImportError, OSError) as e:  # OSError: the package is there, its libsndfile is not
        raise AudioFileError(
            f"{path}: not a PCM WAV file, and other formats need soundfile: pip install 'eot-adapters[cli]', "
            "or convert it to 16-bit WAV"
        ) from e
    try:
        samples, rate = soundfile.read(str(path), dtype="float64", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, OSError, TypeError, ValueError) as e:
        raise AudioFileError(f"{path}: not a recording that can be read: convert it to 16-bit WAV ({e})") from e
    return np.asarray(samples) * 32768.0, int(rate)


def _one_channel(path: Path, samples: npt.NDArray[np.float64], channel: int | None) -> Pcm:
    channels = samples.shape[1]
    if channel is None:
        mono = samples.mean(axis=1)
    elif 0 <= channel < channels:
        mono = samples[:, channel]
    else:
        raise AudioFileError(f"{path}: channel {channel} does not exist: it has {channels}, counted from 0")
    # A float file may hold NaN or infinity, which int16 cannot.
    finite = np.nan_to_num(mono, nan=0.0, posinf=32767.0, neginf=-32768.0)
    pcm: Pcm = np.clip(np.round(finite), -32768, 32767).astype(np.int16)
    return pcm
