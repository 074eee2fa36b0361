"""PCM in, 16 kHz out: any rate, any frame length, bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .models.base import SAMPLE_RATE, PcmArray

MIN_SAMPLE_RATE = 8_000
MAX_SAMPLE_RATE = 48_000

_EMPTY: PcmArray = np.zeros(0, dtype=np.int16)
_EMPTY.flags.writeable = False


class AudioFormatError(ValueError):
    """Audio that cannot be understood. The message names the argument and the fix."""


def check_sample_rate(sample_rate: Any) -> int:
    """``sample_rate`` as an int.

    Raises:
        AudioFormatError: it is not a whole number from 8,000 to 48,000 Hz.
    """
    try:
        rate = int(sample_rate)
        whole = rate == sample_rate
    except (TypeError, ValueError, OverflowError):
        raise AudioFormatError(f"sample_rate must be a whole number of Hz, got {sample_rate!r}") from None
    if not whole or not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise AudioFormatError(
            f"sample_rate must be a whole number from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz, got {sample_rate!r}: "
            "pass the rate that the audio really has"
        )
    return rate


def to_pcm(pcm: Any) -> PcmArray:
    """Audio as int16 mono, without copying where that is possible.

    Args:
        pcm: int16 ndarray of shape (n,) or (n, 1); bytes, bytearray or memoryview of little-endian int16; or a
            floating-point ndarray within -1..1 (NaN counts as silence, values outside are clipped).

    A last odd byte is dropped: half a sample is noise, not sound.

    Raises:
        AudioFormatError: another type, dtype or shape.
    """
    if isinstance(pcm, bytes | bytearray | memoryview):
        view = memoryview(pcm)
        if not view.contiguous:
            raise AudioFormatError("pcm is a memoryview with gaps: pass bytes(pcm)")
        view = view.cast("B")
        return np.frombuffer(view[: len(view) & ~1], dtype="<i2")
    if not isinstance(pcm, np.ndarray):
        raise AudioFormatError(f"pcm must be an int16 mono ndarray or bytes, got {type(pcm).__name__}")
    if pcm.ndim == 2 and 1 in pcm.shape:
        pcm = pcm.reshape(-1)
    if pcm.ndim != 1:
        raise AudioFormatError(
            f"pcm must be mono, shape (n,), got shape {pcm.shape}: mix the channels down, or pick one"
        )
    if np.issubdtype(pcm.dtype, np.floating):
        clean = np.nan_to_num(pcm.astype(np.float64), nan=0.0, posinf=1.0, neginf=-1.0)
        return np.asarray(np.clip(clean * 32768.0, -32768, 32767), dtype=np.int16)
    if pcm.dtype.kind != "i" or pcm.dtype.itemsize != 2:
        raise AudioFormatError(f"pcm must be int16 (or float within -1..1), got dtype {pcm.dtype}: convert it first")
    native: PcmArray = pcm.astype(np.int16, copy=False)  # byte order
    return native


class AudioWindow:
    """The last seconds of 16 kHz audio, in a ring: writing never moves what is already there.

    Positions are counted in samples since the window was made and never wrap.
    """

    def __init__(self, seconds: float) -> None:
        """
        Args:
            seconds: how much to keep, more than 0.
        """
        if not 0 < seconds <= 3600:
            raise ValueError(f"seconds must be more than 0 and at most 3600, got {seconds!r}")
        self._ring = np.zeros(round(seconds * SAMPLE_RATE), dtype=np.int16)
        self._written = 0

    @property
    def written(self) -> int:
        """Samples written so far; the position after the newest sample."""
        return self._written

    @property
    def capacity(self) -> int:
        """Samples kept at most."""
        return len(self._ring)

    def __len__(self) -> int:
        return min(self._written, len(self._ring))

    def write(self, pcm: npt.NDArray[np.int16]) -> None:
        """Append int16 mono samples at 16 kHz, shape (n,)."""
        n, size = len(pcm), len(self._ring)
        start = self._written
        self._written += n
        if n > size:
            pcm, start, n = pcm[n - size :], self._written - size, size
        at = start % size
        head = min(n, size - at)
        self._ring[at : at + head] = pcm[:head]
        self._ring[: n - head] = pcm[head:]

    def snapshot(self, seconds: float | None = None, *, since: int = 0, until: int | None = None) -> PcmArray:
        """A read-only copy of the newest audio, shape (n,).

        Args:
            seconds: at most so much; None for all that is kept.
            since: nothing before this position.
            until: nothing from this position on; None for the newest.
        """
        last = self._written if until is None else min(until, self._written)
        there = max(0, last - max(since, self._written - len(self)))
        wanted = there if seconds is None else min(there, round(seconds * SAMPLE_RATE))
        if wanted == 0:
            return _EMPTY
        size = len(self._ring)
        begin, end = (last - wanted) % size, last % size
        copy = self._ring[begin:end].copy() if begin < end else np.concatenate((self._ring[begin:], self._ring[:end]))
        copy.flags.writeable = False
        return copy


class SoxrFilter:
    """soxr on int16, the same for the same audio. Given int16, soxr adds dither that the clock has seeded, and no audio
    would be scored the same twice (by up to .02 and more where it is quiet): so it is given floats."""

    def __init__(self, input_rate: int, output_rate: int, quality: str) -> None:
        """
        Args:
            input_rate: Hz.
            output_rate: Hz.
            quality: soxr's name of it, for example "HQ".
        """
        import soxr

        self._stream = soxr.ResampleStream(input_rate, output_rate, 1, dtype="float32", quality=quality)

    def push(self, pcm: PcmArray, *, last: bool = False) -> PcmArray:
        """Resample int16 of shape (n,). ``last`` gives out what the filter still holds; :meth:`clear` must follow."""
        out = self._stream.resample_chunk(pcm.astype(np.float32), last=last)
        rounded: PcmArray = np.clip(np.rint(out), -32768.0, 32767.0).astype(np.int16)
        return rounded

    def clear(self) -> None:
        """Start afresh."""
        self._stream.clear()


def resample(pcm: PcmArray, input_rate: int, output_rate: int = SAMPLE_RATE) -> PcmArray:
    """A whole recording at another rate, in Hz: int16 of shape (n,) in and out, the same for the same recording."""
    return SoxrFilter(input_rate, output_rate, "HQ").push(pcm, last=True)


class Resampler:
    """Continuous audio at any rate to continuous audio at another, with soxr (quality "HQ").

    The rate of the input may change in mid-stream. The filter holds back some 20 ms; :meth:`drain` gives them out, so
    that a request at a pause has every sample that was pushed before it.
    """

    def __init__(self, output_rate: int = SAMPLE_RATE) -> None:
        self._output_rate = output_rate
        self._input_rate: int | None = None
        self._stream: SoxrFilter | None = None
        self._dirty = False

    def push(self, pcm: PcmArray, sample_rate: int) -> PcmArray:
        """Resample; where the rate has changed, what was held back of the old one comes first."""
        held = _EMPTY
        if sample_rate != self._input_rate:
            held = self.drain()
            self._input_rate = sample_rate
            self._stream = None
            if sample_rate != self._output_rate:
                self._stream = SoxrFilter(sample_rate, self._output_rate, "HQ")
        if self._stream is None or len(pcm) == 0:
            out = pcm
        else:
            self._dirty = True
            out = self._stream.push(pcm)
        return np.concatenate((held, out)) if len(held) else out

    def drain(self) -> PcmArray:
        """What the filter still holds; it starts afresh afterwards."""
        if self._stream is None or not self._dirty:
            return _EMPTY
        self._dirty = False
        tail = self._stream.push(_EMPTY, last=True)
        self._stream.clear()
        return tail
