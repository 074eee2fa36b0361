"""What a VAD says. Times are in seconds of audio since the stream began, or since its last reset."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WindowScored:
    """A window of 32 ms has been scored. Comes for every window, before what follows from it.

    ``speaking`` and the accumulations are those from before this window is counted, as in LiveKit's INFERENCE_DONE; the
    two durations include it.
    """

    at: float
    """End of the window."""
    probability: float
    """Probability of speech in this window, 0..1."""
    speaking: bool
    """Whether speech had started, and not ended, before this window."""
    speech_duration: float
    """Seconds since speech started, while ``speaking``, pauses not yet long enough to end it included; else 0."""
    silence_duration: float
    """Seconds since speech ended, while not ``speaking``; else 0."""
    raw_accumulated_speech: float
    """Seconds of windows in a row that were speech, up to and without this one."""
    raw_accumulated_silence: float
    """Seconds of windows in a row that were silence, up to and without this one."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Enough speech in a row (``min_speech_duration``)."""

    at: float
    """When that was certain."""
    speech_started_at: float
    """Start of the first window of speech."""
    speech_duration: float
    """Seconds of speech so far."""


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """Enough silence in a row (``min_silence_duration``)."""

    at: float
    """When that was certain."""
    speech_ended_at: float
    """End of the last window of speech: the true end, from which every delay counts."""
    speech_duration: float
    """Seconds of speech, without the silence that ended it."""
    silence_duration: float
    """Seconds of silence so far."""


VADEvent = WindowScored | SpeechStarted | SpeechEnded
