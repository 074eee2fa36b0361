"""What an aggregator that is muted misses. Pure: times are arguments, in seconds of the wall clock."""

from __future__ import annotations

_JUST_NOW = 0.2
"""Seconds before a mute is known of within which a report may have found the aggregator muted already."""
_LISTEN = 0.3
"""Seconds of audio in which a VAD that heard nothing meanwhile would say that the user still speaks."""


class Missed:
    """Compares what is the case with what the aggregator has heard of: it drops all reports while it is muted, and a
    user whose speech has an end that nobody heard of speaks for ever."""

    def __init__(self) -> None:
        self._muted = False
        self._speaking = False
        self._known_to_speak = False
        self._stopped_at: float | None = None
        self._ended_at: float | None = None
        self._to_hear: float | None = None

    def started(self) -> None:
        """The user speaks, says a VAD."""
        self._speaking = True
        self._to_hear = None
        self._known_to_speak = self._known_to_speak or not self._muted

    def stopped(self, at: float, ended_at: float | None) -> None:
        """The user is silent, says a VAD.

        Args:
            at: when it says so.
            ended_at: true end of speech; None where that VAD does not hear a user who is muted.
        """
        self._speaking = False
        if not self._muted and self._known_to_speak:
            self._known_to_speak = False
            self._stopped_at = at
        self._ended_at = ended_at

    def mute(self, at: float) -> None:
        """The aggregator hears nothing any more."""
        self._muted = True
        self._to_hear = None
        if self._stopped_at is not None and at - self._stopped_at < _JUST_NOW:
            self._known_to_speak = True

    def unmute(self, at: float) -> float | None:
        """The aggregator hears again.

        Returns:
            Seconds of silence to tell it of, since the speech that it knows of ended. None where it knows all there is
            to know, or nobody knows more: see :meth:`heard`.
        """
        self._muted = False
        self._stopped_at = None
        if self._speaking or not self._known_to_speak:
            return None
        if self._ended_at is None:
            self._to_hear = _LISTEN
            return None
        self._known_to_speak = False
        return max(0.0, at - self._ended_at)

    def heard(self, seconds: float) -> float | None:
        """So much audio came. Returns as :meth:`unmute`, where nobody knew more by then."""
        if self._to_hear is None:
            return None
        self._to_hear -= seconds
        if self._to_hear > 0.0:
            return None
        self._to_hear = None
        self._known_to_speak = False
        return _LISTEN
