"""Where speech begins and pauses in a session's audio, for models that score turns: nobody tells a gateway."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..models.base import SAMPLE_RATE, PcmArray
from ..vad.events import SpeechStarted
from ..vad.hysteresis import WINDOW_SAMPLES, Hysteresis
from ..vad.options import VADOptions
from .network import CONTEXT_SAMPLES, Floats, SpeechNetwork

_CHANGES = 32
"""How many changes between speech and silence are kept. There is one a window at most, so they reach back a second at
least: as long as a request may wait while its session hears on."""


class Onset(NamedTuple):
    """Speech begins. Positions are samples at 16 kHz."""

    at: int
    """Where the VAD is sure of it."""
    after: int | None
    """Where the speech before it ended; None: there was none, or what was between was not heard."""


class OnsetFinder:
    """One session's VAD. Any thread may use it, one at a time does; positions are samples at 16 kHz.

    An onset is the moment at which the VAD is sure of it (64 ms into the speech), which is when a framework reports
    it. The VAD hears the whole session, in windows that begin at multiples of 512 samples, as the framework's does:
    its network remembers for long. One that began afresh a second (or four) before each turn found the same onset in
    77 of 100 turns of recorded speech only, and was off by more than a window in 8.

    The client's own VAD may still report another onset, where it is another VAD or heard another rate. Cut a window of
    32 ms later, the scores of 28 pauses in recorded speech moved by .0030 (median), .034 (mean) and .21 (95th
    percentile) with smart-turn-v3.2, and by .0051, .0071 and .019 with eot-open-1. Any other cut does the same
    (10 ms: .0023, .023 and .069; .0029, .0062 and .022).

    Speech ends with its last window, from which the client's adapters count a pause too (:meth:`quiet_since`).
    """

    def __init__(self, network: SpeechNetwork, options: VADOptions | None = None) -> None:
        """
        Args:
            network: one for all sessions.
            options: thresholds and durations; None takes the defaults, which are LiveKit's.
        """
        self._network = network
        self._hysteresis = Hysteresis(options or VADOptions())
        self._context = np.zeros(CONTEXT_SAMPLES, dtype=np.float32)
        self._state = np.zeros((2, 128), dtype=np.float32)
        self._next = 0
        self._lock = threading.Lock()
        self.onsets: deque[Onset] = deque(maxlen=256)
        """What was found, oldest first; for one thread to take from. Eight seconds hold 26 at most."""
        self._quiet: int | None = None
        self._changes: tuple[tuple[int, int | None], ...] = ()  # replaced as a whole: others read without the lock

    @property
    def next(self) -> int:
        """Position of the audio that is to be heard next. What was found before it is in ``onsets``."""
        return self._next

    def quiet_since(self, position: int) -> int | None:
        """Where the pause began that there was at ``position``, whatever was heard since. Any thread may ask.

        A window that sounds like speech ends a pause only where speech is sure to go on, as on the client's side; in
        speech, the first silent window begins one.

        Returns:
            The end of the last window of speech. None in speech, before any, and where so much was not heard yet.
        """
        if position - self._next >= WINDOW_SAMPLES:
            return None
        return next((since for known_at, since in reversed(self._changes) if known_at <= position), None)

    def hear(self, pcm: PcmArray, start: int) -> None:
        """Go on; some 80 us for each window (32 ms) that was not heard before.

        Args:
            pcm: int16 mono at 16 kHz, shape (n,); a last part of a window is left for the next time.
            start: position of its first sample. What was heard already is passed over; where audio is missing in
                between, the VAD begins afresh.

        Raises:
            ModelError: the VAD cannot be loaded.
        """
        with self._lock:
            _hear([(self, self._unheard(pcm, start))], self._network)

    def _unheard(self, pcm: PcmArray, start: int) -> Floats:
        """The windows that are complete now, shape (n, 512), -1..1."""
        if start > self._next:
            self._hysteresis.reset()
            self._context[:] = 0.0
            self._state[:] = 0.0
            again = -(-start // WINDOW_SAMPLES) * WINDOW_SAMPLES
            self._change(again, None)
            self._next = again
        at = self._next - start
        count = max(0, len(pcm) - at) // WINDOW_SAMPLES
        windows = pcm[at : at + count * WINDOW_SAMPLES].reshape(count, WINDOW_SAMPLES)
        return np.divide(windows, 32_768.0, dtype=np.float32)

    def _count(self, probability: float) -> None:
        end, hysteresis = self._next + WINDOW_SAMPLES, self._hysteresis
        spoke = hysteresis.speaking
        if any(isinstance(event, SpeechStarted) for event in hysteresis.update(probability)):
            self.onsets.append(
                Onset(end, self._quiet)
            )  # this and the change before `next`, which others read without the lock
        if spoke or hysteresis.speaking:
            silent = round(hysteresis._silence_in_a_row * SAMPLE_RATE)
            self._change(end, end - silent if silent else None)
        self._next = end

    def _change(self, known_at: int, quiet: int | None) -> None:
        if quiet != self._quiet:
            self._quiet = quiet
            self._changes = (*self._changes[1 - _CHANGES :], (known_at, quiet))


def hear_together(pieces: Iterable[tuple[OnsetFinder, PcmArray, int]]) -> None:
    """:meth:`OnsetFinder.hear` for several sessions at once, on one network. A session that another thread hears just
    now is passed over.

    Args:
        pieces: finder, ``pcm`` and ``start``; no finder twice.

    Raises:
        ModelError: the VAD cannot be loaded.
    """
    taken = [piece for piece in pieces if piece[0]._lock.acquire(blocking=False)]
    try:
        if taken:
            _hear([(finder, finder._unheard(pcm, start)) for finder, pcm, start in taken], taken[0][0]._network)
    finally:
        for finder, _, _ in taken:
            finder._lock.release()


def _hear(rows: Sequence[tuple[OnsetFinder, Floats]], network: SpeechNetwork) -> None:
    rows = sorted(rows, key=lambda row: -len(row[1]))  # so that those that are through fall off the end
    finders = [finder for finder, _ in rows]
    state = np.stack([finder._state for finder in finders], axis=1)
    for step in range(len(rows[0][1])):
        count = sum(len(windows) > step for _, windows in rows)
        both = np.empty((count, CONTEXT_SAMPLES + WINDOW_SAMPLES), dtype=np.float32)
        for row, (finder, windows) in zip(both, rows, strict=False):
            row[:CONTEXT_SAMPLES] = finder._context
            row[CONTEXT_SAMPLES:] = windows[step]
        probabilities, state = network.score(both, state[:, :count])
        for number, finder in enumerate(finders[:count]):
            finder._context = both[number, -CONTEXT_SAMPLES:]
            finder._state = state[:, number]
            finder._count(float(probabilities[number]))
    for finder in finders:  # not views: those would keep what all the sessions said
        finder._context, finder._state = finder._context.copy(), finder._state.copy()
