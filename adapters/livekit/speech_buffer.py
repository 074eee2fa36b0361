"""The audio that goes out with a VAD's events, cut the way LiveKit's VAD cuts it."""

from __future__ import annotations

import numpy as np

from eot_core.models.base import SAMPLE_RATE, PcmArray
from eot_core.vad.hysteresis import WINDOW_SAMPLES

_EMPTY: PcmArray = np.zeros(0, dtype=np.int16)
_BYTES = 2


class SpeechBuffer:
    """Takes audio as it comes, gives it window by window, and keeps the speech so far with what preceded it.

    All of it is at the rate of the newest audio: where the rate changes, what is kept is resampled once.
    """

    def __init__(self, prefix: float, max_speech: float) -> None:
        """
        Args:
            prefix: seconds that are kept before the onset of speech.
            max_speech: seconds of speech that are kept at most.
        """
        self._prefix = prefix
        self._max_speech = max_speech
        self._rate = SAMPLE_RATE
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._coming = _EMPTY  # not yet part of a window
        self._fraction = 0.0  # of a sample, so that windows do not drift where the rate is no multiple of 16 kHz
        self._kept = bytearray()
        self._full = False

    def resize(self, prefix: float, max_speech: float) -> None:
        """Other lengths, in seconds; what is too much now is dropped from the end."""
        if max_speech > self._max_speech:
            self._full = False
        self._prefix, self._max_speech = prefix, max_speech
        del self._kept[self._capacity :]

    def push(self, pcm: PcmArray, rate: int) -> None:
        """Take int16 mono audio, shape (n,)."""
        if rate != self._rate:
            self._kept = bytearray(_resampled(np.frombuffer(self._kept, np.int16), self._rate, rate).tobytes())
            self._coming = _resampled(self._coming, self._rate, rate)
            self._fraction = 0.0
            self._rate = rate
        self._coming = np.concatenate((self._coming, pcm))

    def next_window(self) -> tuple[PcmArray, bool]:
        """The audio of the window that was just scored, and whether the buffer overflowed with it."""
        exact = WINDOW_SAMPLES * self._rate / SAMPLE_RATE + self._fraction
        count = int(exact)
        self._fraction = exact - count
        window, self._coming = self._coming[:count], self._coming[count:]
        room = max(0, self._capacity - len(self._kept))
        self._kept += window.tobytes()[:room]
        overflowed = room == 0 and not self._full
        self._full = self._full or room == 0
        return window, overflowed

    def keep_prefix(self) -> None:
        """No speech so far: keep what may precede it."""
        keep = self._bytes(self._prefix)
        if len(self._kept) > keep:
            del self._kept[: len(self._kept) - keep]
            self._full = False

    def speech(self) -> PcmArray:
        """A copy of what is kept: the prefix and the speech so far."""
        return np.frombuffer(bytes(self._kept), dtype=np.int16)

    @property
    def _capacity(self) -> int:
        return self._bytes(self._max_speech) + self._bytes(self._prefix)

    def _bytes(self, seconds: float) -> int:
        return int(seconds * self._rate) * _BYTES


def _resampled(pcm: PcmArray, rate: int, to_rate: int) -> PcmArray:
    if len(pcm) == 0:
        return _EMPTY
    import soxr

    resampled: PcmArray = soxr.resample(pcm, rate, to_rate, quality="QQ")
    return resampled
