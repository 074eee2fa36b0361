"""The detector as a turn analyzer, for whoever keeps Pipecat's own stop strategy."""

# Parts of pipecat carry no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio

from loguru import logger
from pipecat.audio.turn.base_turn_analyzer import BaseTurnAnalyzer, BaseTurnParams, EndOfTurnState
from pipecat.audio.vad.vad_analyzer import VAD_STOP_SECS
from pipecat.metrics.metrics import MetricsData

from eot_core import DetectorStream, Endpointer, EndpointingOptions, Prediction, TurnDecision, TurnDetector
from eot_core.clock import Clock, LoopClock
from eot_core.options import check_seconds
from eot_core.pause import Pause

from .frames import TurnDecisionMetricsData
from .judgement import Judge, describe
from .logs import forward_core_log


class TurnDetectorParams(BaseTurnParams):
    """What the analyzer reports of itself."""

    min_delay: float
    """Seconds from the end of speech to the end of a turn that looks finished."""
    max_delay: float
    """Seconds from the end of speech to the end of any other turn."""


class TurnDetectorAnalyzer(BaseTurnAnalyzer):
    """Takes the place of ``LocalSmartTurnAnalyzerV3`` in ``TurnAnalyzerUserTurnStopStrategy``, and never blocks it.

    The stock strategy waits for ``analyze_end_of_turn`` while audio, VAD frames and interruptions queue up behind it.
    Here that call only starts the prediction and says INCOMPLETE at once; COMPLETE comes from ``append_audio``, as from
    a streaming analyzer, with the first audio after min_delay or max_delay is over.

    Where you can, use :class:`TurnDetectorUserTurnStopStrategy`: an analyzer is told neither the language nor the VAD's
    time stamps, and without audio (muted microphone) it cannot end a turn.
    """

    def __init__(
        self,
        *,
        detector: TurnDetector | None = None,
        endpointing: EndpointingOptions | None = None,
        language: str | None = None,
        vad_stop_secs: float = VAD_STOP_SECS,
        sample_rate: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        """
        Args:
            detector: what to ask; it stays the caller's. None: ``TurnDetector()``.
            endpointing: the delays; None: those of the detector's ``endpointing`` or operating point, else 0.3 and
                2.5 s, as on LiveKit.
            language: BCP-47 tag that is spoken; None: unknown (English is assumed).
            vad_stop_secs: seconds of silence after which your VAD reports the end of speech (its ``stop_secs``).
            sample_rate: of the audio in Hz; None: the pipeline's.
            clock: monotonic time; None: the event loop's.

        Raises:
            TypeError: an argument is of the wrong type.
            ValueError: an argument is out of range.
        """
        super().__init__(sample_rate=sample_rate)
        if detector is not None and not isinstance(detector, TurnDetector):
            raise TypeError(f"detector must be an eot_core.TurnDetector, got {type(detector).__name__}")
        forward_core_log()
        self._detector = detector if detector is not None else TurnDetector()
        self._endpointer = Endpointer(endpointing or self._detector.endpointing)
        self._judge = Judge(type(self).__name__, self._endpointer, follows_detector=endpointing is None)
        self._language = language
        self._vad_stop_secs = check_seconds(vad_stop_secs, "vad_stop_secs")
        self._vad_start_secs: float | None = None
        self._given_clock = clock
        self._clock: Clock | None = None
        self._stream: DetectorStream | None = None
        self._speech_triggered = False
        self._speaking = False
        self._pause: Pause | None = None
        self._metrics: MetricsData | None = None
        self._complete = False

    @property
    def speech_triggered(self) -> bool:
        """Whether the user has spoken since the last turn."""
        return self._speech_triggered

    @property
    def params(self) -> TurnDetectorParams:
        """The delays in force."""
        options = self._endpointer.options
        return TurnDetectorParams(min_delay=options.min_delay, max_delay=options.max_delay)

    def update_vad_start_secs(self, vad_start_secs: float) -> None:
        """Take note of how much speech the VAD had heard when it reported it, in seconds."""
        self._vad_start_secs = vad_start_secs

    def append_audio(self, buffer: bytes, is_speech: bool) -> EndOfTurnState:
        """Take int16 mono audio at :attr:`sample_rate`. Returns at once.

        Returns:
            COMPLETE once, when the turn is over; the strategy then asks :meth:`analyze_end_of_turn` for the metrics.
        """
        stream, _ = self._open()
        if is_speech and not self._speaking:
            self._speaking = self._speech_triggered = True
            stream.cancel(speech=self._vad_start_secs)
            self._forget_pause()
        stream.push_audio(buffer, self.sample_rate)
        if is_speech:
            return EndOfTurnState.INCOMPLETE
        self._speaking = False
        if self._pause is None or not self._pause.due:
            return EndOfTurnState.INCOMPLETE
        self._end_pause()
        self._complete = True
        self._speech_triggered = False
        return EndOfTurnState.COMPLETE

    async def analyze_end_of_turn(self) -> tuple[EndOfTurnState, MetricsData | None]:
        """Start a prediction. Returns at once.

        Returns:
            INCOMPLETE and nothing; or, right after ``append_audio`` said COMPLETE, that again and the metrics.
        """
        if self._complete:
            self._complete = False
            metrics, self._metrics = self._metrics, None
            return EndOfTurnState.COMPLETE, metrics
        stream, clock = self._open()
        self._speaking = False
        self._forget_pause()
        self._pause = pause = Pause(
            stream,
            self._endpointer,
            ended_at=clock.now() - self._vad_stop_secs,
            clock=clock,
            decide=lambda prediction, at: self._judge.decide(stream, prediction, at=at, language=self._language),
            on_due=lambda: None,  # the next audio brings the news
            on_change=_log,
        )
        asked = stream.predict(silence=self._vad_stop_secs)
        asked.add_done_callback(lambda done: self._answered(pause, done))
        return EndOfTurnState.INCOMPLETE, None

    def clear(self) -> None:
        """The turn ended, whoever ended it."""
        self._forget_pause()
        self._speech_triggered = False
        if self._stream is not None:
            self._stream.flush("turn ended")

    async def cleanup(self) -> None:
        """Close the stream; the analyzer may be used again."""
        await super().cleanup()
        self.clear()
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.aclose()

    def _open(self) -> tuple[DetectorStream, Clock]:
        if self._stream is None or self._clock is None:
            self._clock = self._given_clock or LoopClock(asyncio.get_running_loop())
            self._stream = self._detector.stream()
        return self._stream, self._clock

    def _answered(self, pause: Pause, asked: asyncio.Future[Prediction]) -> None:
        if asked.cancelled() or pause is not self._pause:
            return
        prediction = asked.result()
        decision = pause.scored(prediction)
        if decision is not None:
            self._metrics = TurnDecisionMetricsData.of(type(self).__name__, prediction, decision)
            _log(decision)
            pause.follow()

    def _end_pause(self) -> None:
        self._endpointer.turn_ended()
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.cancel()

    def _forget_pause(self) -> None:
        self._end_pause()
        self._metrics = None
        self._complete = False


def _log(decision: TurnDecision) -> None:
    logger.debug(f"{TurnDetectorAnalyzer.__name__}: {describe(decision)}")
