"""The stop strategy: all of the adapter's logic about turns is here."""

# Pipecat's setup() is not compatible with that of its own base class, and parts of it carry no types.
# mypy: disable-error-code="override, no-untyped-call"

from __future__ import annotations

import asyncio
import dataclasses
import weakref
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    ProposedUserStoppedSpeakingFrame,
    STTMetadataFrame,
    TranscriptionFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_stop import BaseUserTurnStopStrategy

from eot_core import DetectorStream, Endpointer, EndpointingOptions, TurnDetector
from eot_core.clock import Clock, LoopClock
from eot_core.events import DecisionReason
from eot_core.options import check_bool
from eot_core.pause import Pause

from .frames import MissedEndOfSpeechFrame
from .judgement import Judge
from .listening import Listening, Question
from .logs import forward_core_log
from .slow_vad import check_vad
from .spoken_language import SpokenLanguage
from .stop_timeout import check_default
from .telling import EVENTS, Telling
from .timing import sleep_until
from .transcript_gate import TranscriptGate


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
        self._call: weakref.ref[FrameProcessorSetup] | None = None
        """What this call's controller sets up with, however often it takes the strategy on."""

        self._clock: Clock
        self._stream: DetectorStream | None = None
        self._language = SpokenLanguage()
        self._listening: Listening
        self._stop_secs = 0.0
        self._speaking = False
        self._in_turn = False
        self._telling: Telling
        self._telling_task: asyncio.Task[None] | None = None

        self._task: asyncio.Task[None] | None = None
        """Waits: for the prediction, or for the transcript. One at a time."""
        self._pause: Pause | None = None
        self._complete = False
        """The silence has lasted long enough to end the turn."""

        for event in EVENTS:
            self._register_event_handler(event)
        check_default(self, self._endpointer.options.max_delay)

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
                f"{self}: a second user aggregator takes this strategy on: all audio is heard twice, and the turn ends "
                "in both when its words have come to one. Pass emit_turn_frames=True to TurnDetectorProcessor, and "
                "user_turn_strategies=ExternalUserTurnStrategies() to each aggregator; or put one aggregator before "
                "the branches of the ParallelPipeline"
            )
        await self._close()
        self._was_set_up = True
        self._clock = self._given_clock or LoopClock(asyncio.get_running_loop())
        if self._call is None or self._call() is not setup:
            self._call = weakref.ref(setup)
            self._language = SpokenLanguage()
            self._speaking = self._in_turn = False
        self._telling = Telling(self.name, self._call_event_handler, self.push_frame, self.broadcast_frame)
        self._telling_task = self.create_task(self._telling.run())
        self._stream = self._detector.stream()
        self._listening = Listening(self._stream, self._clock)
        self._stream.on("fallback", self._telling.later)
        self._stream.on("backchannel_opportunity", self._telling.later)

    async def cleanup(self) -> None:
        """Close the stream; :meth:`setup` opens another."""
        await super().cleanup()
        await self._close()

    async def handle_user_turn_started(self) -> None:
        """A turn begins. A pause goes on unless it had its words: a transcript may open a turn late."""
        self._in_turn = True
        if self._pause is None or (self._complete and self._gate.has_text):
            self._drop()
        self._gate.turn_started()

    async def handle_user_turn_stopped(self) -> None:
        """The turn ended, whoever ended it."""
        self._in_turn = False
        decision = self._endpointer.decision
        self._drop()
        self._gate.turn_started()
        if self._stream is not None:
            self._stream.flush("turn ended")
        if decision is not None:
            await self._telling.decided(
                dataclasses.replace(decision, reason=DecisionReason.EXTERNAL, commit_at=self._clock.now())
            )

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        """Take a frame in. Always CONTINUE, and never waits for a model."""
        if self._stream is None:
            return ProcessFrameResult.CONTINUE
        match frame:
            case InputAudioRawFrame():
                self._listening.hear(frame)
            case VADUserStartedSpeakingFrame():
                await self._speech_started(self._stream, frame)
            case VADUserStoppedSpeakingFrame():
                self._speech_stopped(self._stream, frame)
            case TranscriptionFrame():
                await self._transcribed(frame)
            case InterimTranscriptionFrame():
                self._gate.interim()
                self._heard_language(frame)
            case STTMetadataFrame():
                self.stt_latency = frame.ttfs_p99_latency
            case ProposedUserStoppedSpeakingFrame() | UserStoppedSpeakingFrame():
                # The controller ends no turn while another component says that the user speaks, which may say so late.
                await self._maybe_end_turn()
            case EndFrame() | CancelFrame():
                self._drop()  # the aggregator has ended the turn
        return ProcessFrameResult.CONTINUE

    # Pipecat calls process_frame from two tasks, for system frames and for the others. So what changes the state below
    # does so without awaiting in between, and tasks are called off without waiting for them.

    # -- speech ---------------------------------------------------------------------------------------------------

    async def _speech_started(self, stream: DetectorStream, frame: VADUserStartedSpeakingFrame) -> None:
        self._speaking = True
        stream.cancel(speech=frame.start_secs)
        resumed = self._endpointer.speech_resumed()
        self._drop()
        if not self._in_turn:  # what was written so far opened none: a backchannel, or no wake phrase
            self._gate.turn_started()
        self._gate.speech_started()
        if resumed is not None:
            await self._telling.decided(resumed)

    def _speech_stopped(self, stream: DetectorStream, frame: VADUserStoppedSpeakingFrame) -> None:
        self._drop()
        self._speaking = False
        self._stop_secs = frame.stop_secs
        ended_at = self._listening.ended_at(frame)
        if isinstance(frame, MissedEndOfSpeechFrame):  # the STT heard of it in time
            self._gate.speech_ended(ended_at)
        else:
            self._gate.speech_ended(ended_at, reported_after=self._clock.now() - ended_at)
            if self._wait_for_transcript:
                check_vad(frame.stop_secs, self.stt_latency)
        self._pause = pause = Pause(
            stream,
            self._endpointer,
            ended_at=ended_at,
            clock=self._clock,
            decide=lambda prediction, at: self._judge.decide(stream, prediction, at=at, language=self._language.tag),
            on_due=self._lasted,
            on_change=self._telling.later,
        )
        low = self.endpointing.min_delay
        question = self._listening.ask(ended_at=ended_at, silence=frame.stop_secs, min_delay=low)
        self._task = self.create_task(self._follow(pause, question))

    async def _follow(self, pause: Pause, question: Question) -> None:
        prediction = await question.answer()
        decision = pause.scored(prediction)
        if decision is None:
            return
        await self._telling.predicted(prediction, decision)
        pause.follow()

    def _lasted(self) -> None:
        """The silence has lasted: what may still be missing is the transcript."""
        self._complete = True
        self._task = self.create_task(self._end_from(self._clock.now()))

    async def _end_from(self, moment: float) -> None:
        await sleep_until(self._clock, moment)
        if not await self._maybe_end_turn() and self._gate.due is not None:
            await sleep_until(self._clock, self._gate.due)
            await self._maybe_end_turn()

    # -- transcripts ----------------------------------------------------------------------------------------------

    async def _transcribed(self, frame: TranscriptionFrame) -> None:
        self._heard_language(frame)
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
        self._task = self.create_task(self._end_from(until))

    def _heard_language(self, frame: TranscriptionFrame | InterimTranscriptionFrame) -> None:
        if not self._language.heard(frame):
            return
        if self._stream is not None:
            # Remembered, as on LiveKit: a calibration file may have a head for it, which then judges the next pause.
            self._stream.supports_language(self._language.tag)
        if self._pause is None:
            return
        self._pause.reconsider()
        if self._complete and not self._pause.due:  # it is to last longer in this language
            self._call_off()
            self._complete = False

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
        if self._pause is not None:
            self._pause.cancel()
        self._pause = None
        self._complete = False

    def _call_off(self) -> None:
        """Nothing is waited for any longer. Also called by the task that has done waiting."""
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _close(self) -> None:
        tasks = [task for task in (self._task, self._telling_task) if task is not None]
        self._drop()
        self._telling_task = None
        for task in tasks:
            if task is not asyncio.current_task():
                await self.cancel_task(task)
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.aclose()
