"""The stop strategy: all of the adapter's logic about turns is here."""

# Pipecat's setup() is not compatible with that of its own base class, and parts of it carry no types.
# mypy: disable-error-code="override, no-untyped-call"

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    MetricsFrame,
    STTMetadataFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_stop import BaseUserTurnStopStrategy

from eot_core import (
    BackchannelOpportunity,
    DetectorStream,
    Endpointer,
    EndpointingOptions,
    FallbackOccurred,
    Prediction,
    TurnDecision,
    TurnDetector,
)
from eot_core.clock import Clock, LoopClock
from eot_core.endpointing import ASKED_LATER, FIRST_HEARS
from eot_core.events import DecisionReason
from eot_core.options import check_bool

from .channels import mono
from .frames import BackchannelOpportunityFrame, TurnDecisionMetricsData
from .heard import HeardAudio
from .judgement import Judge, describe
from .logs import forward_core_log
from .timing import GRACE, answer_by, end_of_speech, sleep_until
from .transcript_gate import TranscriptGate

_DEFAULT_STOP_TIMEOUT = 5.0
"""Seconds; pipecat's ``user_turn_stop_timeout``, after which its controller ends a silent turn by itself."""
_SHORT_TRANSCRIPT = 5
"""Characters up to which a transcript's language is not trusted to replace one that is known; livekit-agents'
MIN_LANGUAGE_DETECTION_LENGTH (``voice/audio_recognition.py``)."""


class _Pause:
    """One silence that is being followed."""

    def __init__(self) -> None:
        self.prediction: Prediction | None = None


class TurnDetectorUserTurnStopStrategy(BaseUserTurnStopStrategy):
    """Ends the user's turn when the detector says so, min_delay or max_delay after the true end of speech.

    Nothing is awaited inside ``process_frame``: each pause has a task of its own, and speech that resumes ends it.

    Event handlers, besides those of the base class (each called in a task of its own):

    - ``on_prediction(strategy, prediction: Prediction)``: a model answered, or the default went out.
    - ``on_turn_decision(strategy, decision: TurnDecision)``: what follows from it; again, with ``ends_turn`` False,
      when the user speaks on first, and with reason "external" when the turn was ended elsewhere.
    - ``on_fallback(strategy, event: FallbackOccurred)``: one model took over from another.
    - ``on_backchannel_opportunity(strategy, event: BackchannelOpportunity)``: a
      :class:`BackchannelOpportunityFrame` is broadcast as well.
    """

    def __init__(
        self,
        *,
        detector: TurnDetector | None = None,
        endpointing: EndpointingOptions | None = None,
        wait_for_transcript: bool = True,
        clock: Clock | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            detector: what to ask; it stays the caller's. None: ``TurnDetector()``.
            endpointing: the delays. None: those of the detector's ``endpointing`` or operating point, else 0.3 and
                2.5 s, as on LiveKit.
            wait_for_transcript: hold the end of a turn until there is a transcript that is final, or as old as the
                STT's own figure says it may be. Realtime mode switches it off.
            clock: monotonic time and timers; None: the event loop's.
            **kwargs: for pipecat's base class.

        Raises:
            TypeError: an argument is of the wrong type.
        """
        super().__init__(**kwargs)
        if detector is not None and not isinstance(detector, TurnDetector):
            raise TypeError(f"detector must be an eot_core.TurnDetector, got {type(detector).__name__}")
        if endpointing is not None and not isinstance(endpointing, EndpointingOptions):
            raise TypeError(f"endpointing must be EndpointingOptions, got {type(endpointing).__name__}")
        forward_core_log()
        self._detector = detector if detector is not None else TurnDetector()
        self._endpointer = Endpointer(endpointing or self._detector.endpointing)
        self._judge = Judge(self.name, self._endpointer, follows_detector=endpointing is None)
        self._wait_for_transcript = check_bool(wait_for_transcript, "wait_for_transcript")
        self._given_clock = clock
        self._gate = TranscriptGate()
        self._was_set_up = False

        self._clock: Clock
        self._stream: DetectorStream | None = None
        self._language: str | None = None
        self._heard = HeardAudio()
        self._stop_secs = 0.0
        self._speaking = False
        self._reports: asyncio.Queue[FallbackOccurred | BackchannelOpportunity]
        self._report_task: asyncio.Task[None] | None = None

        self._task: asyncio.Task[None] | None = None
        """Waits: for the prediction, for the delay, for the transcript. One at a time."""
        self._pause: _Pause | None = None
        self._complete = False
        """The silence has lasted long enough to end the turn."""

        for event in ("on_prediction", "on_turn_decision", "on_fallback", "on_backchannel_opportunity"):
            self._register_event_handler(event)
        if self._endpointer.options.max_delay >= _DEFAULT_STOP_TIMEOUT:
            logger.warning(
                f"{self}: max_delay is {self._endpointer.options.max_delay} s, but pipecat ends a silent turn after "
                f"user_turn_stop_timeout, {_DEFAULT_STOP_TIMEOUT} s unless you set it: set it to more than max_delay "
                "in LLMUserAggregatorParams (or UserTurnProcessor)"
            )

    # -- what can be asked and set --------------------------------------------------------------------------------

    @property
    def detector(self) -> TurnDetector:
        """The detector that is asked."""
        return self._detector

    @property
    def endpointing(self) -> EndpointingOptions:
        """The delays in force."""
        return self._endpointer.options

    @property
    def wait_for_transcript(self) -> bool:
        """Whether the end of a turn waits for a transcript. Pipecat's realtime mode sets it to False."""
        return self._wait_for_transcript

    @wait_for_transcript.setter
    def wait_for_transcript(self, value: bool) -> None:
        self._wait_for_transcript = value

    @property
    def stt_latency(self) -> float:
        """Seconds from the end of speech within which the STT's last words are there, 99 times out of 100.

        Taken from ``STTMetadataFrame``; 0.0 where no STT has told.
        """
        return self._gate.latency

    @stt_latency.setter
    def stt_latency(self, value: float) -> None:
        self._gate.set_latency(value)

    @property
    def was_set_up(self) -> bool:
        """Whether a turn controller has ever taken this strategy on."""
        return self._was_set_up

    @property
    def active(self) -> bool:
        """Whether a turn controller has taken this strategy on, and not let go of it since."""
        return self._stream is not None

    # -- pipecat's side -------------------------------------------------------------------------------------------

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Open a stream of the detector. May follow :meth:`cleanup`."""
        await super().setup(setup)
        if self.active:
            logger.warning(
                f"{self}: a second user aggregator takes this strategy on, and all audio is heard twice: put one "
                "aggregator before the branches of a ParallelPipeline, or give each a strategy of its own"
            )
        await self._close()
        self._was_set_up = True
        self._clock = self._given_clock or LoopClock(asyncio.get_running_loop())
        self._speaking = False
        self._heard = HeardAudio()
        self._reports = asyncio.Queue()
        self._report_task = self.create_task(self._report())
        self._stream = self._detector.stream()
        self._stream.on("fallback", self._reports.put_nowait)
        self._stream.on("backchannel_opportunity", self._reports.put_nowait)

    async def cleanup(self) -> None:
        """Close the stream; :meth:`setup` opens another."""
        await super().cleanup()
        await self._close()

    async def handle_user_turn_started(self) -> None:
        """A turn begins. A pause that is being followed goes on: a transcript may open a turn late."""
        self._gate.turn_started()
        if self._pause is None or self._complete:
            self._drop()

    async def handle_user_turn_stopped(self) -> None:
        """The turn ended, whoever ended it."""
        decision = self._endpointer.decision
        self._drop()
        self._gate.turn_started()
        if self._stream is not None:
            self._stream.flush("turn ended")
        if decision is not None:
            await self._decided(
                dataclasses.replace(decision, reason=DecisionReason.EXTERNAL, commit_at=self._clock.now())
            )

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        """Take a frame in. Always CONTINUE, and never waits for a model."""
        if self._stream is None:
            return ProcessFrameResult.CONTINUE
        match frame:
            case InputAudioRawFrame():
                self._heard.came(self._clock.now(), frame.num_frames, frame.sample_rate)
                self._stream.push_audio(mono(frame), frame.sample_rate)
            case VADUserStartedSpeakingFrame():
                await self._speech_started(self._stream, frame)
            case VADUserStoppedSpeakingFrame():
                self._speech_stopped(self._stream, frame)
            case TranscriptionFrame():
                await self._transcribed(frame)
            case InterimTranscriptionFrame():
                self._gate.interim()
                await self._heard_language(frame)
            case STTMetadataFrame():
                self.stt_latency = frame.ttfs_p99_latency
        return ProcessFrameResult.CONTINUE

    # Pipecat calls process_frame from two tasks, for system frames and for the others. So what changes the state below
    # does so without awaiting in between, and tasks are called off without waiting for them.

    # -- speech ---------------------------------------------------------------------------------------------------

    async def _speech_started(self, stream: DetectorStream, frame: VADUserStartedSpeakingFrame) -> None:
        self._speaking = True
        stream.cancel(speech=frame.start_secs)
        resumed = self._endpointer.speech_resumed()
        self._drop()
        self._gate.speech_started()
        if resumed is not None:
            await self._decided(resumed)

    def _speech_stopped(self, stream: DetectorStream, frame: VADUserStoppedSpeakingFrame) -> None:
        self._drop()
        self._speaking = False
        self._stop_secs = frame.stop_secs
        ended_at = end_of_speech(
            self._clock.now(),
            timestamp=frame.timestamp,
            stop_secs=frame.stop_secs,
            last_audio_at=self._heard.last_at,
        )
        self._endpointer.speech_ended(ended_at)
        self._gate.speech_ended(ended_at)
        self._pause = pause = _Pause()
        ask_at = ended_at + min(FIRST_HEARS + ASKED_LATER, self.endpointing.min_delay)
        if frame.stop_secs < FIRST_HEARS and self._clock.now() < ask_at:
            self._task = self.create_task(self._ask_at(ask_at, stream, pause, ended_at, frame.stop_secs))
            return
        # What the VAD had heard by then; its report may come later, but before any further audio.
        asked = stream.predict(silence=self._silence_of(stream, ended_at, frame.stop_secs))
        self._task = self.create_task(self._follow(pause, asked))

    async def _ask_at(
        self, ask_at: float, stream: DetectorStream, pause: _Pause, ended_at: float, silence: float
    ) -> None:
        """A VAD that is quicker than what models were measured with: as much silence as that comes in before it is over
        that the turn could end."""
        before = self._heard.total
        await sleep_until(self._clock, ask_at)
        silence += self._heard.total - before
        await self._follow(pause, stream.predict(silence=self._silence_of(stream, ended_at, silence)))

    def _silence_of(self, stream: DetectorStream, ended_at: float, silence: float) -> float:
        """Seconds of silence at the end of what the detector has heard. What the VAD made up it gets to hear as well:
        it would take the last words for silence otherwise, and hear none."""
        made_up, silence = self._heard.made_up(self._clock.now(), ended_at, silence)
        if made_up > 0.0:
            stream.push_audio(bytes(2 * round(made_up * self._heard.rate)), self._heard.rate)
        return silence

    async def _follow(self, pause: _Pause, asked: asyncio.Future[Prediction]) -> None:
        pause.prediction = prediction = await asked
        decision = self._decide(prediction)
        if decision is None:
            return
        await self.push_frame(MetricsFrame(data=[TurnDecisionMetricsData.of(self.name, prediction, decision)]))
        await self._call_event_handler("on_prediction", prediction)
        await self._decided(decision)
        await self._wait(await self._score_again(decision))

    async def _score_again(self, decision: TurnDecision) -> float:
        """Score the pause again while that could change when the turn ends; returns when it ends."""
        while (again := self._endpointer.rescore_at) is not None and again > self._clock.now():
            await sleep_until(self._clock, again)
            if self._stream is None:
                break
            asked = self._stream.predict(again_at=again - decision.speech_ended_at)
            prediction = await answer_by(self._clock, asked, decision.commit_at + GRACE)
            later = None if prediction is None else self._decide(prediction)
            if later is None:
                break
            if later.commit_at != decision.commit_at:
                await self._decided(later)
            decision = later
        return decision.commit_at

    def _decide(self, prediction: Prediction) -> TurnDecision | None:
        assert self._stream is not None
        return self._judge.decide(self._stream, prediction, at=self._clock.now(), language=self._language)

    async def _wait(self, commit_at: float) -> None:
        await sleep_until(self._clock, commit_at)
        self._complete = True
        if not await self._maybe_end_turn() and self._gate.due is not None:
            await sleep_until(self._clock, self._gate.due)
            await self._maybe_end_turn()

    # -- transcripts ----------------------------------------------------------------------------------------------

    async def _transcribed(self, frame: TranscriptionFrame) -> None:
        await self._heard_language(frame)
        if not self._gate.written(frame.text, finalized=frame.finalized):
            return
        if self._pause is not None or self._speaking:
            await self._maybe_end_turn()
            return
        # Speech that the VAD did not hear, or that was written after its turn: the turn ends when nothing more is
        # written for as long as the STT may take, and not before the delay that LiveKit waits then too.
        if frame.finalized and await self._maybe_end_turn():
            return
        self._drop()
        self._complete = True
        until = self._clock.now() + max(self.endpointing.min_delay, self._gate.latency - self._stop_secs)
        self._gate.expect_more(until)
        self._task = self.create_task(self._wait(until))

    async def _heard_language(self, frame: TranscriptionFrame | InterimTranscriptionFrame) -> None:
        language = str(frame.language) if frame.language else None
        if language is None or language == self._language:
            return
        if self._language is not None and len(frame.text) <= _SHORT_TRANSCRIPT:
            return
        self._language = language
        if self._stream is not None:
            # Remembered, as on LiveKit: a calibration file may have a head for it, which then judges the next pause.
            self._stream.supports_language(language)
        before = self._endpointer.decision
        if self._pause is None or self._pause.prediction is None or before is None:
            return
        if self._endpointer.options.rescore_every is not None:  # such a curve knows no threshold
            return
        # The same prediction, seen with the threshold of the language that was spoken.
        decision = self._decide(self._pause.prediction)
        if decision is None or (decision.threshold, decision.reason) == (before.threshold, before.reason):
            return
        self._call_off()
        self._complete = False
        self._task = self.create_task(self._wait(decision.commit_at))
        await self._decided(decision)

    # -- the end of the turn --------------------------------------------------------------------------------------

    async def _maybe_end_turn(self) -> bool:
        """End the turn if the silence has lasted, and the transcript, where one is waited for, is there.

        Returns:
            Whether it was triggered.
        """
        if not self._complete or self._speaking:
            return False
        if self._wait_for_transcript and not self._gate.is_open(self._clock.now()):
            return False
        # The controller answers the trigger with handle_user_turn_stopped, in this very task: it must not be the one
        # that is called off there. A wrapper may keep the turn open: then a later transcript triggers again.
        self._call_off()
        self._endpointer.turn_ended()
        await self.trigger_user_turn_stopped()
        return True

    def _drop(self) -> None:
        """Forget the pause and what was concluded from it. What has been written in this turn stays."""
        self._call_off()
        self._endpointer.turn_ended()
        self._pause = None
        self._complete = False

    def _call_off(self) -> None:
        """Nothing is waited for any longer. Also called by the task that has done waiting."""
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _close(self) -> None:
        tasks = [task for task in (self._task, self._report_task) if task is not None]
        self._drop()
        self._report_task = None
        for task in tasks:
            if task is not asyncio.current_task():
                await self.cancel_task(task)
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.aclose()

    # -- telling --------------------------------------------------------------------------------------------------

    async def _decided(self, decision: TurnDecision) -> None:
        logger.debug(f"{self}: {describe(decision)}")
        await self._call_event_handler("on_turn_decision", decision)

    async def _report(self) -> None:
        while True:
            event = await self._reports.get()
            if isinstance(event, FallbackOccurred):
                await self._call_event_handler("on_fallback", event)
                continue
            await self.broadcast_frame(BackchannelOpportunityFrame, **dataclasses.asdict(event))
            await self._call_event_handler("on_backchannel_opportunity", event)
