"""When is the conversation over? Decided from the events alone. No I/O, time is given."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from . import events as ev

QUIET: Final = 0.5
"""Seconds in which nothing may happen at the end: an agent may say several things in a row."""
NO_SPEECH_WAIT: Final = 3.5
"""Seconds to wait after a recording in which nobody was heard: the longest usual end-of-turn delay (2.5 s) and some."""

PLAYING_ALLOWANCE: Final = 4.0
"""Times the answer's time-out that an answer which can be heard may last."""


class StopReason(StrEnum):
    """Why a session ended."""

    ANSWERED = "answered"
    """The recording was played, its last turn ended, and the agent's answer was played."""
    TIMEOUT = "timeout"
    """The recording was played, but its last turn was not answered in time."""
    NO_SPEECH = "no_speech"
    """The recording was played, and the agent heard nobody speak."""
    AGENT_LEFT = "agent_left"
    """The agent hung up or ended."""


class Conversation:
    """Follows who speaks, and knows when all has been said.

    Args:
        recording: seconds of the recording.
        answer_timeout: seconds after the recording that the last turn has to be answered in.
    """

    def __init__(self, recording: float, answer_timeout: float) -> None:
        self._recording = recording
        self._answer_timeout = answer_timeout
        self._heard = False
        self._user_speaking = False
        self._agent_busy = False
        self._waiting_for_turn = False
        self._waiting_for_reply = False
        self._last_activity = 0.0

    def observe(self, event: ev.Event) -> None:
        """Take note of an event."""
        match event:
            case ev.UserStateChanged():
                if event.new == "speaking":
                    self._heard = self._user_speaking = self._waiting_for_turn = True
                else:
                    self._user_speaking = False
            case ev.AgentStateChanged():
                self._agent_busy = event.new in ("thinking", "speaking")
            case ev.MessageAdded(role="user"):
                # Speech may begin again before the message of the turn before arrives; then one more turn is to come.
                self._waiting_for_turn = self._user_speaking
                self._waiting_for_reply = True
            case ev.MessageAdded(role="assistant"):
                self._waiting_for_reply = False
            case ev.UserInputTranscribed() | ev.EotPredicted() | ev.AudioReceived() | ev.PlaybackEnded():
                pass
            case _:
                return
        self._last_activity = event.position

    def over(self, position: float, *, playing: bool) -> StopReason | None:
        """Why the session should end at ``position`` (seconds of the recording); None to go on.

        Args:
            position: seconds since the start of the recording.
            playing: the agent can still be heard.
        """
        if position < self._recording:
            return None
        busy = self._user_speaking or self._agent_busy or playing or self._waiting_for_turn or self._waiting_for_reply
        if not self._heard and not busy:
            return StopReason.NO_SPEECH if position >= self._recording + NO_SPEECH_WAIT else None
        if not busy and position >= self._last_activity + QUIET:
            return StopReason.ANSWERED
        # An answer that is being given is heard to its end, unless that end never comes.
        limit = self._answer_timeout * (PLAYING_ALLOWANCE if playing else 1.0)
        return StopReason.TIMEOUT if position >= self._recording + limit else None
