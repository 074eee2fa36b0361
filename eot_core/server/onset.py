"""Where speech begins in a session's audio, for models that score turns: nobody tells a gateway."""

from __future__ import annotations

import threading
from collections import deque

from ..models.base import SAMPLE_RATE, PcmArray
from ..vad.events import SpeechStarted
from ..vad.hysteresis import WINDOW_SAMPLES
from ..vad.silero import SileroVAD
from ..vad.stream import VADStream


class OnsetFinder:
    """One session's VAD. Any thread may call it, one works at a time; positions are samples at 16 kHz.

    An onset is the moment at which the VAD is sure of it (64 ms into the speech), which is when a framework reports
    it. The VAD hears the whole session, in windows that begin at multiples of 512 samples, as the framework's does:
    its network remembers for long. One that began afresh a second (or four) before each turn found the same onset in
    77 of 100 turns of recorded speech only, and was off by more than a window in 8.

    The client's own VAD may still report another onset, where it is another VAD or heard another rate. Cut a window of
    32 ms later, the scores of 28 pauses in recorded speech moved by .0030 (median), .034 (mean) and .21 (95th
    percentile) with smart-turn-v3.2, and by .0051, .0071 and .019 with eot-open-1. Any other cut does the same
    (10 ms: .0023, .023 and .069; .0029, .0062 and .022).
    """

    def __init__(self, vad: SileroVAD) -> None:
        """
        Args:
            vad: gives the network, one for the process.
        """
        self._vad = vad
        self._stream: VADStream | None = None
        self._next = self._origin = 0
        self._lock = threading.Lock()
        self.onsets: deque[int] = deque(maxlen=256)
        """Positions of what was found, oldest first; for one thread to take from. Eight seconds hold 26 at most."""

    @property
    def next(self) -> int:
        """Position of the audio that is to be heard next. What was found before it is in ``onsets``."""
        return self._next

    def hear(self, pcm: PcmArray, start: int) -> None:
        """Go on; some 70 us for each window (32 ms) that was not heard before.

        Args:
            pcm: int16 mono at 16 kHz, shape (n,); a last part of a window is left for the next time.
            start: position of its first sample. What was heard already is passed over; where audio is missing in
                between, the VAD begins afresh.

        Raises:
            ModelError: the VAD cannot be loaded.
        """
        with self._lock:
            stream = self._stream
            if stream is None:
                stream = self._stream = self._vad.stream()
            if start > self._next:
                stream.reset()
                self._next = self._origin = -(-start // WINDOW_SAMPLES) * WINDOW_SAMPLES
            at = self._next - start
            whole = max(0, len(pcm) - at) // WINDOW_SAMPLES * WINDOW_SAMPLES
            if whole == 0:
                return
            for event in stream.push(pcm[at : at + whole], SAMPLE_RATE):
                if isinstance(event, SpeechStarted):
                    self.onsets.append(self._origin + round(event.at * SAMPLE_RATE))
            self._next += whole  # after `onsets`, which others read without the lock
