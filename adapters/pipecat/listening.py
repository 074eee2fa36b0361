"""What the detector hears of a call, and the first question of each pause."""

from __future__ import annotations

import asyncio

from pipecat.frames.frames import InputAudioRawFrame, VADUserStoppedSpeakingFrame

from eot_core import DetectorStream, Prediction
from eot_core.clock import Clock
from eot_core.endpointing import ASKED_LATER, FIRST_HEARS

from .channels import mono
from .heard import HeardAudio
from .timing import end_of_speech, sleep_until


class Listening:
    """Hands audio to a stream, and knows how much of a pause was in it."""

    def __init__(self, stream: DetectorStream, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._heard = HeardAudio()

    def hear(self, frame: InputAudioRawFrame) -> None:
        """Audio came."""
        self._heard.came(self._clock.now(), frame.num_frames, frame.sample_rate)
        self._stream.push_audio(mono(frame), frame.sample_rate)

    def ended_at(self, frame: VADUserStoppedSpeakingFrame) -> float:
        """True end of the speech that a VAD reports to be over, in seconds of the clock."""
        return end_of_speech(
            self._clock.now(), timestamp=frame.timestamp, stop_secs=frame.stop_secs, last_audio_at=self._heard.last_at
        )

    def ask(self, *, ended_at: float, silence: float, min_delay: float) -> Question:
        """Ask about a pause.

        Args:
            ended_at: true end of speech, in seconds of the clock.
            silence: seconds of it that the VAD had heard by then; its report may come later, but before further audio.
            min_delay: seconds after the end of speech before which no turn ends.
        """
        ask_at = ended_at + min(FIRST_HEARS + ASKED_LATER, min_delay)
        return Question(self._stream, self._heard, self._clock, ended_at=ended_at, silence=silence, ask_at=ask_at)


class Question:
    """The first score of a pause, with as much silence as models were measured with.

    Asked at once; or, after a VAD that is quicker than that, when so much silence has come in, but before it is over
    that the turn could end."""

    def __init__(
        self,
        stream: DetectorStream,
        heard: HeardAudio,
        clock: Clock,
        *,
        ended_at: float,
        silence: float,
        ask_at: float,
    ) -> None:
        """Made by :meth:`Listening.ask`. ``ask_at``: when to ask at the latest, in seconds of the clock."""
        self._stream = stream
        self._heard = heard
        self._clock = clock
        self._ended_at = ended_at
        self._silence = silence
        self._ask_at = ask_at
        self._asked: asyncio.Future[Prediction] | None = None
        if silence >= FIRST_HEARS or clock.now() >= ask_at:
            self._asked = self._ask(silence)

    async def answer(self) -> Prediction:
        """What the model says, or the default."""
        if self._asked is None:
            before = self._heard.total
            await sleep_until(self._clock, self._ask_at)
            self._asked = self._ask(self._silence + self._heard.total - before)
        return await self._asked

    def _ask(self, silence: float) -> asyncio.Future[Prediction]:
        """What the VAD made up the detector gets to hear as well: it would take the last words for silence otherwise,
        and hear none."""
        made_up, silence = self._heard.made_up(self._clock.now(), self._ended_at, silence)
        if made_up > 0.0:
            self._stream.push_audio(bytes(2 * round(made_up * self._heard.rate)), self._heard.rate)
        return self._stream.predict(silence=silence)
