"""The audio of a conversation, and where in it the current turn began."""

from __future__ import annotations

import math

from .audio import AudioWindow, Resampler
from .models.base import SAMPLE_RATE, ModelSpec, PcmArray

MIN_KEPT = 8.0
"""Seconds that are kept at least, for a model that takes over; smart-turn sees 8 s."""

SURE_AFTER = 0.064
"""Seconds of speech, two windows, after which the VAD of this package is sure of it, and reports it."""

_UNHEARD = 1.0
"""Seconds that are kept besides: so much of the newest audio may be left out of a snapshot (:meth:`TurnAudio.snapshot`,
``hears``), which is to be as long all the same. Pipecat's VAD is often set to report a pause after 0.8 s."""

_LEAD = 1.0
"""Seconds before the turn's onset that a new connection is sent."""


class TurnAudio:
    """Takes audio at any rate; gives snapshots at 16 kHz. Pure.

    A turn is anchored at its onset: the first :meth:`speech_started` after the turn before has ended; until then, at
    the end of that turn. Sound that ended no turn (a cough, a word that the framework let pass) and was followed by a
    pause in which any turn would have ended was none: the turn begins anew with the next speech.

    A model that scores turns sees from a little before the anchor on, but nothing from before the end of the speech
    before: neither the turn before nor minutes of the agent's speech are in its window. A model with a rolling window
    sees the last seconds.
    """

    def __init__(self, window: float) -> None:
        """
        Args:
            window: seconds that must be kept.
        """
        self._window = AudioWindow(max(MIN_KEPT, window) + _UNHEARD)
        self._resampler = Resampler()
        self._anchor = 0
        self._awaiting_speech = True
        self._ended_at = 0
        self._pause_at: int | None = None
        self._last_spoken = 0  # where the newest speech is known to have ended
        self._since = 0  # no model that scores turns sees what is before
        self.captured_at = 0.0
        """Wall-clock time at which the newest audio was captured, in seconds."""

    @property
    def awaiting_speech(self) -> bool:
        """Whether no speech has begun since the last turn."""
        return self._awaiting_speech

    def push(self, pcm: PcmArray, sample_rate: int, captured_at: float) -> PcmArray:
        """Take audio; returns what has become available at 16 kHz (the filter holds some back)."""
        self.captured_at = captured_at
        longest = math.ceil((self._window.capacity / SAMPLE_RATE + 1.0) * sample_rate)
        if len(pcm) > longest:  # what no model would look at is not worth resampling
            pcm = pcm[-longest:]
        return self._write(self._resampler.push(pcm, sample_rate))

    def drain(self) -> PcmArray:
        """Take what the filter still holds; returns it."""
        return self._write(self._resampler.drain())

    def snapshot(self, spec: ModelSpec | None, *, hears: float | None = None) -> PcmArray:
        """What the model is to see, shape (n,), read-only; empty where there is no audio. None: all that is kept.

        Args:
            spec: of the model.
            hears: seconds of the pause that a model is given which counts them; None: all that there is.
        """
        if spec is None:
            return self._window.snapshot()
        since = 0
        if spec.pre_speech is not None:
            since = max(self._since, self._anchor - round(spec.pre_speech * SAMPLE_RATE))
        until = None
        if hears is not None and self._pause_at is not None and not spec.hears_all:
            until = self._pause_at + round(hears * SAMPLE_RATE)
        return self._window.snapshot(spec.window, since=since, until=until)

    def turn(self) -> PcmArray:
        """The turn so far, and a second before it, as far as it is kept."""
        return self._window.snapshot(since=max(0, self._anchor - round(_LEAD * SAMPLE_RATE)))

    def speech_ended(self, silence: float | None) -> None:
        """A pause has begun: the newest ``silence`` seconds are silent. None: nobody has counted them."""
        self._last_spoken = max(0, self._window.written - round((silence or 0.0) * SAMPLE_RATE))
        if silence is not None:
            self._pause_at = self._last_spoken

    def speech_started(self, speech: float | None = None, *, longest_pause: float = math.inf) -> None:
        """Speech began, or was resumed; only the first one in a turn is its onset.

        Args:
            speech: the newest so many seconds are speech. The onset is then where the VAD is sure of it
                (:data:`SURE_AFTER`), whatever else was in the frame. None: now.
            longest_pause: seconds of a pause after which any turn would have ended. What came before a longer one was
                no turn.
        """
        since = 0.0 if speech is None else max(0.0, speech - SURE_AFTER)
        onset = max(0, self._window.written - round(since * SAMPLE_RATE))
        longest = (longest_pause + SURE_AFTER) * SAMPLE_RATE
        ended_no_turn = self._pause_at is not None and onset - self._pause_at > longest
        if self._awaiting_speech or ended_no_turn:
            self._awaiting_speech = False
            self._anchor = onset
            self._since = min(self._last_spoken, onset)
        self._pause_at = None

    def turn_ended(self) -> bool:
        """The turn ended. Returns False where nothing has come in since the last time."""
        if self._awaiting_speech and self._window.written == self._ended_at:
            return False
        self._ended_at = self._anchor = self._window.written
        self._since = self._last_spoken
        self._pause_at = None
        self._awaiting_speech = True
        return True

    def _write(self, pcm: PcmArray) -> PcmArray:
        self._window.write(pcm)
        return pcm
