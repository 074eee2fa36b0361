"""From a probability for each window to speech that starts and ends. Pure: no audio, no model.

It decides as ``livekit.agents.inference.VAD`` does (livekit-agents 1.8.9), window by window, down to the order of the
floating-point sums, so that a duration at the edge falls on the same side.
"""

from __future__ import annotations

from .events import SpeechEnded, SpeechStarted, VADEvent, WindowScored
from .options import VADOptions

WINDOW_SAMPLES = 512
"""Samples at 16 kHz in a window."""
WINDOW = WINDOW_SAMPLES / 16_000
"""Seconds in a window (0.032)."""


class Hysteresis:
    """The state of one stream."""

    def __init__(self, options: VADOptions) -> None:
        self.options = options
        self.reset()

    def reset(self) -> None:
        """Begin anew, in silence at 0 s."""
        self.speaking = False
        self._windows = 0
        self._speech = 0.0
        self._silence = 0.0
        self._speech_in_a_row = 0.0
        self._silence_in_a_row = 0.0

    def update(self, probability: float) -> list[VADEvent]:
        """Count a window.

        Args:
            probability: of speech, 0..1; NaN counts as silence.
        """
        self._windows += 1
        at = self._windows * WINDOW
        if self.speaking:
            self._speech += WINDOW
        else:
            self._silence += WINDOW
        events: list[VADEvent] = [
            WindowScored(
                at=at,
                probability=probability,
                speaking=self.speaking,
                speech_duration=self._speech,
                silence_duration=self._silence,
                raw_accumulated_speech=self._speech_in_a_row,
                raw_accumulated_silence=self._silence_in_a_row,
            )
        ]
        options = self.options
        is_speech = probability >= options.activation_threshold or (
            self.speaking and probability > options.effective_deactivation_threshold
        )
        if is_speech:
            self._speech_in_a_row += WINDOW
            self._silence_in_a_row = 0.0
            if not self.speaking and self._speech_in_a_row >= options.min_speech_duration:
                self.speaking = True
                self._silence = 0.0
                self._speech = self._speech_in_a_row
                events.append(SpeechStarted(at, max(0.0, at - self._speech), self._speech))
        else:
            self._silence_in_a_row += WINDOW
            self._speech_in_a_row = 0.0
            if self.speaking and self._silence_in_a_row >= options.min_silence_duration:
                self.speaking = False
                self._silence = self._silence_in_a_row
                spoken = max(0.0, self._speech - self._silence)
                events.append(SpeechEnded(at, at - self._silence, spoken, self._silence))
                self._speech = 0.0
        return events
