"""One processor in a pipeline, and turns are taken by the detector: nothing else to configure."""

# Pipecat's setup() is not compatible with that of its own base class, and parts of it carry no types.
# mypy: disable-error-code="override, no-untyped-call"

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, Unpack

from loguru import logger
from pipecat.audio.vad.vad_analyzer import VADAnalyzer
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    LLMServiceMetadataFrame,
    ServiceMetadataFrame,
    SpeechControlParamsFrame,
    StartFrame,
    STTMetadataFrame,
    TranscriptionFrame,
    UserMuteStartedFrame,
    UserMuteStoppedFrame,
    VADParamsUpdateFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_turn_processor import UserTurnProcessor
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies, UserTurnStrategies

from eot_core import EndpointingOptions, TurnDetector
from eot_core.detector_options import DetectorOptions
from eot_core.options import check_bool

from .downstream import user_aggregator_after
from .following import Follow
from .frames import MissedEndOfSpeechFrame
from .mute import Missed
from .own_vad import OwnVAD
from .stop_timeout import stop_timeout_for
from .strategy import TurnDetectorUserTurnStopStrategy
from .vad import EOTVADAnalyzer

if TYPE_CHECKING:
    from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregator


_PATIENCE = 0.1
"""Seconds of audio in which a recommendation that was broadcast reaches an aggregator that has started."""


class TurnDetectorProcessor(UserTurnProcessor):
    """Stands anywhere between the transport's input and the user aggregator, before or after the STT.

    It passes every frame on, and recommends its strategy to the aggregator, which adopts it unless the application
    passed strategies of its own: then a warning says so. It hears the audio for a voice activity detector as well
    (:class:`EOTVADAnalyzer`), as long as nothing else in the pipeline has one: an aggregator without configuration has
    none, and would take its turns from transcripts alone.

    Without an aggregator, ``emit_turn_frames=True`` makes it take the turns itself: it broadcasts
    ``UserStartedSpeakingFrame``, ``UserStoppedSpeakingFrame`` and interruptions, has the event handlers of pipecat's
    ``UserTurnProcessor``, and recommends to aggregators further down to follow.

    Event handlers of the detector are at :attr:`strategy`.
    """

    def __init__(
        self,
        *,
        detector: TurnDetector | None = None,
        endpointing: EndpointingOptions | None = None,
        wait_for_transcript: bool | None = None,
        vad_analyzer: VADAnalyzer | Literal["auto"] | None = "auto",
        emit_turn_frames: bool = False,
        user_turn_stop_timeout: float | None = None,
        user_idle_timeout: float = 0,
        name: str | None = None,
        **detector_options: Unpack[DetectorOptions],
    ) -> None:
        """
        Args:
            detector: what to ask; None: ``TurnDetector(**detector_options)``.
            endpointing: the delays; None: 0.3 and 2.5 s, as on LiveKit.
            wait_for_transcript: whether the end of a turn waits for the transcript. None: yes; with
                ``emit_turn_frames`` no, since transcripts may not come by here, and an aggregator that follows waits
                for them itself; words alone, without speech that the VAD hears, open no turn then, for they may be
                those of the turn before.
            vad_analyzer: a VAD to run here; "auto": ours, where the pipeline has no other; None: none.
            emit_turn_frames: take the turns here instead of recommending a strategy.
            user_turn_stop_timeout: with ``emit_turn_frames``: seconds after which a silent turn ends by itself. None:
                5.0, or more where ``max_delay`` needs it.
            user_idle_timeout: with ``emit_turn_frames``: seconds for ``on_user_turn_idle``; 0: never.
            name: of the processor, in logs.
            **detector_options: for :class:`eot_core.TurnDetector`: ``model``, ``unlikely_threshold``, ``base_url``...

        Raises:
            TypeError: an argument is of the wrong type, or both ``detector`` and its options are given.
            ValueError: as :class:`eot_core.TurnDetector`; and ``user_turn_stop_timeout`` does not exceed ``max_delay``.
            ModelLicenseError: the model may not run here, as v1-mini (a ValueError too).
            ModelError: the local model's weights are not installed; see :class:`eot_core.TurnDetector`.
        """
        if detector is not None and detector_options:
            raise TypeError(f"detector is given, so give it its options: {', '.join(detector_options)}")
        if detector is None:
            if unknown := sorted(set(detector_options) - DetectorOptions.__annotations__.keys()):
                raise TypeError(f"{type(self).__name__} has no option {unknown[0]!r}")
            detector = TurnDetector(**detector_options)
        if not (vad_analyzer is None or vad_analyzer == "auto" or isinstance(vad_analyzer, VADAnalyzer)):
            raise TypeError(f'vad_analyzer must be a VADAnalyzer, "auto" or None, got {vad_analyzer!r}')
        self._emits = check_bool(emit_turn_frames, "emit_turn_frames")
        self._strategy = TurnDetectorUserTurnStopStrategy(
            detector=detector,
            endpointing=endpointing,
            wait_for_transcript=(not self._emits) if wait_for_transcript is None else wait_for_transcript,
        )
        words_come_late = self._emits and not self._strategy.wait_for_transcript
        self._strategies = UserTurnStrategies(
            start=[VADUserTurnStartStrategy()] if words_come_late else None, stop=[self._strategy]
        )
        super().__init__(
            user_turn_strategies=self._strategies,
            user_turn_stop_timeout=stop_timeout_for(user_turn_stop_timeout, self._strategy.endpointing.max_delay),
            user_idle_timeout=user_idle_timeout,
            name=name,
        )
        self._own_vad: OwnVAD | None = None
        if vad_analyzer is not None:
            self._own_vad = OwnVAD(vad_analyzer, self._broadcast_vad, lambda: self._emits or self._strategy.active)
        self._aggregator: LLMUserAggregator | None = None
        self._follow = Follow()
        self._not_adopted_for: float | None = None
        """Seconds of audio since the aggregator told that it has started with strategies of its own."""
        self._is_not_heard = False
        self._missed = Missed()
        self._warned = False

    @property
    def strategy(self) -> TurnDetectorUserTurnStopStrategy:
        """The strategy that is recommended, or used here; its event handlers tell of predictions and decisions."""
        return self._strategy

    @property
    def detector(self) -> TurnDetector:
        """The detector that is asked."""
        return self._strategy.detector

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Set up. The strategy is set up by whoever adopts it."""
        if self._emits:
            await super().setup(setup)
        else:
            await FrameProcessor.setup(self, setup)  # without the turn controller
        self._aggregator = user_aggregator_after(self)
        if self._own_vad is not None:
            await self._own_vad.setup(setup)

    async def cleanup(self) -> None:
        """Release what was set up here."""
        if self._own_vad is not None:
            await self._own_vad.cleanup()
        if self._emits:
            await super().cleanup()
        else:
            await FrameProcessor.cleanup(self)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Pass the frame on, whatever it is; then look at it."""
        await self._pass(frame, direction)
        match frame:
            case StartFrame():
                await self._announce(realtime=self._realtime_was_chosen())
            case EndFrame() | CancelFrame():
                if self._own_vad is not None:
                    await self._own_vad.stop()
            case InputAudioRawFrame() | VADParamsUpdateFrame():
                if self._own_vad is not None:
                    await self._own_vad.process_frame(frame)
                if isinstance(frame, InputAudioRawFrame):
                    seconds = frame.num_frames / max(1, frame.sample_rate)
                    await self._say_it_stopped(self._missed.heard(seconds))
                    await self._announce_directly(seconds)
            case STTMetadataFrame():
                # An aggregator that adopts the strategy later will not see this one again.
                self._strategy.stt_latency = frame.ttfs_p99_latency
                await self._insist(frame)
            case ServiceMetadataFrame():
                await self._insist(frame)
            case SpeechControlParamsFrame(vad_params=params) if params is not None:
                await self._yield_vad(spoke=False)
            case SpeechControlParamsFrame() if direction is FrameDirection.UPSTREAM:
                self._not_adopted_for = 0.0  # those of a turn analyzer
            case UserMuteStartedFrame():
                self._missed.mute(time.time())
            case UserMuteStoppedFrame():
                if self._own_vad is not None:
                    await self._own_vad.say_again()
                await self._say_it_stopped(self._missed.unmute(time.time()))
            case VADUserStartedSpeakingFrame() | VADUserStoppedSpeakingFrame():
                await self._yield_vad(spoke=True)
                self._note_speech(frame, is_aggregators=direction is FrameDirection.UPSTREAM)
                self._check_adopted()
            case TranscriptionFrame() | InterimTranscriptionFrame():
                self._check_adopted()

    # -- inside ---------------------------------------------------------------------------------------------------

    async def _pass(self, frame: Frame, direction: FrameDirection) -> None:
        if self._emits:
            await super().process_frame(frame, direction)
        else:
            await FrameProcessor.process_frame(self, frame, direction)
            await self.push_frame(frame, direction)

    def _realtime_was_chosen(self) -> bool:
        """Whether the application made the aggregator one for a realtime service (``realtime_service_mode=True``).

        It stopped waiting for transcripts when it was made, in strategies that ours take the place of.
        """
        return getattr(self._aggregator, "_realtime_service_mode", None) is True

    def _note_speech(
        self, frame: VADUserStartedSpeakingFrame | VADUserStoppedSpeakingFrame, *, is_aggregators: bool = False
    ) -> None:
        vad = getattr(getattr(self._aggregator, "_params", None), "vad_analyzer", None) if is_aggregators else None
        if vad is not None and not isinstance(vad, EOTVADAnalyzer):
            return  # Pipecat's own do not notice that they heard nothing, and report such speech, and its end, again
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._missed.started()
        else:  # the aggregator's VAD hears no more than it does
            self._missed.stopped(frame.timestamp, None if vad is not None else frame.timestamp - frame.stop_secs)

    async def _say_it_stopped(self, silence: float | None) -> None:
        if silence is None or self._emits or self._aggregator is None:
            return
        # To the aggregator alone: an STT has heard it, and would write down the silence.
        await self._aggregator.queue_frame(MissedEndOfSpeechFrame(stop_secs=silence))

    async def _announce(self, *, realtime: bool = False) -> None:
        told: dict[str, Any] = {
            "service_name": self.name,
            "user_turn_strategies": self._follow if self._emits else self._strategies,
        }
        kind = LLMServiceMetadataFrame if realtime else ServiceMetadataFrame
        if realtime:
            told["is_realtime_service"] = True
        await self.broadcast_frame(kind, **told)
        if self._is_not_heard and self._aggregator is not None:
            await self._aggregator.queue_frame(kind(**told))

    async def _announce_directly(self, seconds: float) -> None:
        """A ServiceSwitcher lets nothing pass but what the service in use says, and so no recommendation of ours."""
        adopted = self._follow.was_adopted if self._emits else self._strategy.was_set_up
        if self._not_adopted_for is None or adopted:
            return
        self._not_adopted_for += seconds
        if self._not_adopted_for >= _PATIENCE:
            self._not_adopted_for = None
            self._is_not_heard = True
            await self._announce(realtime=self._realtime_was_chosen())

    async def _insist(self, frame: ServiceMetadataFrame) -> None:
        """An aggregator follows the last recommendation; this processor was put in to be followed."""
        if frame.service_name == self.name:
            return
        # A realtime service's word makes an aggregator stop waiting for transcripts, in the strategies that it has at
        # that moment. So whatever is recommended after it must come with that word.
        realtime = isinstance(frame, LLMServiceMetadataFrame) and frame.is_realtime_service
        theirs = frame.user_turn_strategies
        if theirs is None:
            if realtime and (self._emits or self._strategy.wait_for_transcript):  # ours came after that word
                await self._announce(realtime=True)
            return
        if isinstance(theirs, Follow) or any(
            isinstance(strategy, TurnDetectorUserTurnStopStrategy) for strategy in theirs.stop or []
        ):
            logger.warning(f"{self}: {frame.service_name} recommends a turn detector too: keep one of the two")
            return
        if isinstance(theirs, ExternalUserTurnStrategies) and not theirs.enable_interruptions:
            for start in self._strategies.start or []:  # the user told the service so (should_interrupt=False)
                start._enable_interruptions = False
        logger.info(
            f"{self}: {frame.service_name} recommends to take the turns by itself; {self.detector.model} goes on "
            "taking them, since this processor is in the pipeline: remove it to let the service do so"
        )
        await self._announce(realtime=realtime)

    def _check_adopted(self) -> None:
        if self._emits or self._warned or self._strategy.active:
            return
        self._warned = True
        if self._strategy.was_set_up:
            why = "its strategy was adopted, and replaced by another since (update_strategies, or another service)"
        else:
            why = (
                "nobody adopted its strategy. Either LLMUserAggregatorParams has user_turn_strategies, which always "
                "win (filter_incomplete_user_turns sets them too): leave them out, or put "
                "TurnDetectorUserTurnStopStrategy into them; or there is no user aggregator in the pipeline: pass "
                "emit_turn_frames=True"
            )
        logger.warning(f"{self}: the user speaks, but {self.detector.model} does not decide when the turn ends: {why}")

    async def _broadcast_vad(self, kind: type[Frame], **fields: Any) -> None:
        if issubclass(kind, VADUserStartedSpeakingFrame | VADUserStoppedSpeakingFrame):
            self._note_speech(kind(**fields))
        if not self._emits:
            await self.broadcast_frame(kind, **fields)
            self._check_adopted_on(kind)
            return
        # The turn controller here must see it too, right after the audio that it is about.
        await self.push_frame(kind(**fields), FrameDirection.UPSTREAM)
        await self._pass(kind(**fields), FrameDirection.DOWNSTREAM)

    def _check_adopted_on(self, kind: type[Frame]) -> None:
        if issubclass(kind, VADUserStartedSpeakingFrame):
            self._check_adopted()

    async def _yield_vad(self, *, spoke: bool) -> None:
        if self._own_vad is not None and self._own_vad.automatic:
            logger.debug(f"{self}: the pipeline has a VAD; none is run here")
            vad, self._own_vad = self._own_vad, None
            await vad.give_way(spoke=spoke)
