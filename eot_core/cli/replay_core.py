"""``eot replay --framework core``: a recording through VAD, detector and endpointer, as fast as the machine can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..clock import ManualClock
from ..detector import TurnDetector
from ..endpointing import Endpointer, EndpointingOptions
from ..events import Outcome, Prediction, TurnDecision
from ..stream import DetectorStream
from ..vad import SileroVAD, SpeechEnded, SpeechStarted, VADStream, WindowScored
from .rows import PauseRow, Row, TurnRow

PREDICT_AFTER = 0.2
"""Seconds of silence after which a prediction is asked for, as livekit-agents does (MIN_SILENCE_DURATION_MS)."""
FRAME = 0.02
"""Seconds of audio that are pushed at a time, as a transport would."""
TAIL = 1.0
"""Seconds of silence that follow a recording at least."""
PATIENCE = 60.0
"""Real seconds to wait for one prediction: loading a model is not what is replayed."""


@dataclass(slots=True)
class _Pause:
    at: float
    prediction: Prediction
    decision: TurnDecision


class _Replay:
    def __init__(
        self,
        stream: DetectorStream,
        vad: VADStream,
        clock: ManualClock,
        endpointing: EndpointingOptions | None,
        language: str | None,
        on_row: Callable[[Row], None],
    ) -> None:
        self._stream = stream
        self._vad = vad
        self._clock = clock
        self._given = endpointing
        self._endpointer = Endpointer(endpointing)
        self._language = language
        self._on_row = on_row
        self._speaking = False
        self._in_turn = False
        self._asked = False
        self._pause: _Pause | None = None

    async def push(self, pcm: npt.NDArray[np.int16], rate: int) -> None:
        """The next frame of the recording."""
        self._clock.advance(len(pcm) / rate)
        self._stream.push_audio(pcm, rate)
        for event in self._vad.push(pcm, rate):
            match event:
                case SpeechStarted():
                    self._speaking = self._in_turn = True
                    self._resume(event.speech_started_at)
                case WindowScored():
                    await self._window(event)
                case SpeechEnded():
                    self._speaking = False
        await self._score_again()
        self._commit()

    @property
    def due(self) -> float | None:
        """When the turn will end if the silence lasts, in seconds of the recording; None where that is not known."""
        return None if self._pause is None else self._pause.decision.commit_at

    async def _window(self, event: WindowScored) -> None:
        if not self._speaking:
            return
        if event.raw_accumulated_speech > 0 and self._asked:
            self._resume(event.at - event.raw_accumulated_speech)
        if event.raw_accumulated_silence >= PREDICT_AFTER and not self._asked:
            self._asked = True
            # The window that was just scored is not in the accumulated silence yet.
            await self._predict(self._clock.now() - self._window_age(event))

    def _window_age(self, event: WindowScored) -> float:
        return self._clock.now() - (event.at - event.raw_accumulated_silence - 0.032)

    async def _predict(self, ended_at: float) -> None:
        self._endpointer.speech_ended(ended_at)
        await self._decide(ended_at, self._stream.predict(silence=self._clock.now() - ended_at))

    async def _decide(self, ended_at: float, future: asyncio.Future[Prediction]) -> None:
        try:
            prediction = await asyncio.wait_for(asyncio.shield(future), PATIENCE)
        except TimeoutError:
            self._stream.time_out()
            prediction = await future
        threshold = self._stream.unlikely_threshold(self._language)
        if self._given is None:
            self._endpointer.options = self._stream.endpointing(self._language) or EndpointingOptions()
        decision = self._endpointer.predicted(prediction, threshold, self._clock.now(), self._language)
        if decision is not None:
            self._pause = _Pause(ended_at, prediction, decision)

    async def _score_again(self) -> None:
        """Where the operating point has a curve that takes further scores of a pause."""
        again = self._endpointer.rescore_at
        if self._pause is not None and again is not None and again <= self._clock.now():
            ended_at = self._pause.at
            await self._decide(ended_at, self._stream.predict(again_at=again - ended_at))

    def _resume(self, at: float) -> None:
        self._stream.cancel()
        self._endpointer.speech_resumed()
        self._asked = False
        if self._pause is not None:
            self._on_row(self._row(self._pause, duration=at - self._pause.at, ended=False))
            self._pause = None

    def _commit(self) -> None:
        pause = self._pause
        if pause is None or self._speaking or not self._in_turn or self._clock.now() < pause.decision.commit_at:
            return
        self._on_row(self._row(pause, duration=None, ended=True))
        self._on_row(TurnRow(pause.decision.commit_at, pause.decision.delay, None, None))
        self._endpointer.turn_ended()
        self._stream.flush("turn committed")
        self._pause = None
        self._in_turn = self._asked = False

    @staticmethod
    def _row(pause: _Pause, *, duration: float | None, ended: bool) -> PauseRow:
        answered = pause.prediction.outcome is Outcome.ANSWERED
        return PauseRow(
            time=pause.at,
            duration=duration,
            probability=pause.prediction.probability,
            threshold=pause.decision.threshold,
            decision="turn_ended" if ended else "listened_through",
            delay=pause.decision.delay if ended else None,
            model=pause.prediction.model,
            source=pause.prediction.source if answered else "default",
        )


async def replay_core(
    pcm: npt.NDArray[np.int16],
    sample_rate: int,
    *,
    detector: TurnDetector,
    language: str | None = None,
    endpointing: EndpointingOptions | None = None,
    on_row: Callable[[Row], None],
) -> None:
    """Replay a recording, in the time of the recording and not of the machine.

    Args:
        pcm: int16 mono, shape (n,).
        sample_rate: 8,000 to 48,000 Hz.
        detector: made with the ``clock`` that is replayed on: ``TurnDetector(clock=ManualClock())``.
        language: BCP-47 tag of the speech; None: not known.
        endpointing: None: those of the detector's ``endpointing`` or operating point, else 0.3 and 2.5 s.
        on_row: called with each row as soon as it is certain.

    Raises:
        ModelError: the VAD cannot be loaded; the message says what to install.
        ValueError: the detector was not made with a :class:`ManualClock`.
    """
    clock = detector.clock
    if not isinstance(clock, ManualClock):
        raise ValueError("detector must be made with clock=ManualClock(), so that it lives in the recording's time")
    stream = detector.stream()
    replay = _Replay(stream, SileroVAD().stream(), clock, endpointing, language, on_row)
    try:
        for frame in _frames(pcm, sample_rate):
            await replay.push(frame, sample_rate)
        # Silence after it, in which speech that lasts to the very end is heard to end, and then the last turn ends.
        silence = np.zeros(round(FRAME * sample_rate), dtype=np.int16)
        heard = clock.now() + TAIL
        while clock.now() < max(heard, replay.due or 0.0):
            await replay.push(silence, sample_rate)
    finally:
        await stream.aclose()


def _frames(pcm: npt.NDArray[np.int16], rate: int) -> Iterator[npt.NDArray[np.int16]]:
    step = round(FRAME * rate)
    for begin in range(0, len(pcm), step):
        yield pcm[begin : begin + step]
