"""The VAD that a processor runs itself, where the pipeline has no other."""

# Parts of pipecat carry no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from loguru import logger
from pipecat.audio.vad.vad_analyzer import VADAnalyzer
from pipecat.audio.vad.vad_controller import VADController
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    UserSpeakingFrame,
    VADParamsUpdateFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameProcessorSetup

from eot_core.audio import AudioFormatError, Resampler, check_sample_rate, to_pcm
from eot_core.models.base import ModelError

from .channels import mono

_PATIENCE = 0.2
"""Seconds of audio, from the moment in which the aggregator is known to have started, in which another VAD may still
announce itself. It does so when it starts, so its announcement is on its way by then."""
_LONGEST = 2.0
"""Seconds of audio after which nothing is waited for any more: nobody adopted the strategy. What was kept back until
then is heard then, so nothing is lost."""


class OwnVAD:
    """Pipecat's VAD controller, started when it is clear that it is needed."""

    def __init__(
        self,
        analyzer: VADAnalyzer | Literal["auto"],
        broadcast: Callable[..., Awaitable[None]],
        has_started: Callable[[], bool],
    ) -> None:
        """
        Args:
            analyzer: what to run; "auto": :class:`EOTVADAnalyzer`, unless another VAD announces itself.
            broadcast: sends a frame both ways, given its class and fields.
            has_started: whether the rest of the pipeline has, so that it would have announced a VAD of its own.
        """
        self.automatic = analyzer == "auto"
        self._analyzer = None if isinstance(analyzer, str) else analyzer
        self._broadcast = broadcast
        self._has_started = has_started
        self._setup: FrameProcessorSetup | None = None
        self._controller: VADController | None = None
        self._kept: list[InputAudioRawFrame] = []
        self._kept_seconds = 0.0
        self._started_at: float | None = None
        self._speaking = False
        self._failed = False
        self._complained = False
        self._resampler: Resampler | None = None
        """From the first frame on that has another rate than the VAD."""

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Note what the controller will need."""
        self._setup = setup

    async def stop(self) -> None:
        """The session is over: silence from now on means nothing."""
        if self._controller is not None:
            await self._controller.stop()

    async def give_way(self, *, spoke: bool) -> None:
        """Another VAD is there, which reports speech from now on.

        Args:
            spoke: it has, and so whoever listens knows where the user is. Else speech that this one has reported is
                taken back: nobody would say that it ended.
        """
        if self._speaking and self._analyzer is not None and not spoke:
            self._speaking = False
            await self._broadcast(VADUserStoppedSpeakingFrame, stop_secs=0.0)
        await self.cleanup()

    async def say_again(self) -> None:
        """Report the speech that is going on once more: an aggregator that was muted did not hear when it began."""
        if self._speaking and self._analyzer is not None:
            await self._broadcast(VADUserStartedSpeakingFrame, start_secs=self._analyzer.params.start_secs)

    async def cleanup(self) -> None:
        """Release the VAD and its thread."""
        self._kept.clear()
        if self._controller is not None:
            controller, self._controller = self._controller, None
            await controller.cleanup()

    async def process_frame(self, frame: InputAudioRawFrame | VADParamsUpdateFrame) -> None:
        """Hear audio, or take other parameters."""
        if self._controller is not None:
            if isinstance(frame, InputAudioRawFrame):
                await self._hear(self._controller, frame)
            else:
                await self._controller.process_frame(frame)
            return
        if not isinstance(frame, InputAudioRawFrame) or self._failed or self._setup is None:
            return
        self._kept.append(frame)
        self._kept_seconds += frame.num_frames / max(1, frame.sample_rate)
        if self._started_at is None and self._has_started():
            self._started_at = self._kept_seconds
        waited = 0.0 if self._started_at is None else self._kept_seconds - self._started_at
        if not self.automatic or waited >= _PATIENCE or self._kept_seconds >= _LONGEST:
            await self._start(self._setup)

    async def _start(self, setup: FrameProcessorSetup) -> None:
        kept, self._kept = self._kept, []
        if self.automatic:
            from .vad import EOTVADAnalyzer

            try:
                # Of the audio itself: a transport may have a rate of its own, which the pipeline does not know.
                self._analyzer = EOTVADAnalyzer(sample_rate=kept[-1].sample_rate)
            except ModelError as error:
                self._failed = True
                logger.error(f"the pipeline has no VAD, and ours cannot be loaded: {error}")
                return
        assert self._analyzer is not None
        controller = VADController(self._analyzer)
        controller.add_event_handler("on_speech_started", self._on_started)
        controller.add_event_handler("on_speech_stopped", self._on_stopped)
        controller.add_event_handler("on_speech_activity", self._on_activity)
        controller.add_event_handler("on_broadcast_frame", self._on_broadcast)
        await controller.setup(setup)
        await controller.start()
        self._controller = controller
        for frame in kept:
            await self._hear(controller, frame)

    async def _on_started(self, controller: VADController) -> None:
        assert self._analyzer is not None
        self._speaking = True
        await self._broadcast(VADUserStartedSpeakingFrame, start_secs=self._analyzer.params.start_secs)

    async def _on_stopped(self, controller: VADController) -> None:
        assert self._analyzer is not None
        self._speaking = False
        await self._broadcast(VADUserStoppedSpeakingFrame, stop_secs=self._analyzer.params.stop_secs)

    async def _on_activity(self, controller: VADController) -> None:
        await self._broadcast(UserSpeakingFrame)

    async def _on_broadcast(self, controller: VADController, kind: type[Frame], **fields: Any) -> None:
        await self._broadcast(kind, **fields)

    async def _hear(self, controller: VADController, frame: InputAudioRawFrame) -> None:
        """Pipecat's VADs take audio for mono of the rate that they began with, whatever the frame says: stereo would be
        speech at half its speed, and a device that is changed in mid-call makes them deaf."""
        assert self._analyzer is not None
        rate = self._analyzer.sample_rate
        if self._resampler is None and frame.sample_rate == rate and frame.num_channels <= 1:
            await controller.process_frame(frame)
            return
        try:
            pcm = to_pcm(mono(frame))
            if self._resampler is not None or frame.sample_rate != rate:
                self._resampler = self._resampler or Resampler(rate)
                pcm = self._resampler.push(pcm, check_sample_rate(frame.sample_rate))
        except AudioFormatError as error:
            if not self._complained:
                self._complained = True
                logger.error(f"the VAD did not hear audio: {error} (reported once)")
            return
        if len(pcm):
            heard = InputAudioRawFrame(audio=pcm.astype("<i2").tobytes(), sample_rate=rate, num_channels=1)
            await controller.process_frame(heard)
