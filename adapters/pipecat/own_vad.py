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

from eot_core.models.base import ModelError

_PATIENCE = 0.2
"""Seconds of audio that are kept back at the start, while another VAD may still announce itself. Announcements follow
StartFrame through the pipeline at once; audio that was kept back is heard then, so nothing is lost."""


class OwnVAD:
    """Pipecat's VAD controller, started when it is clear that it is needed."""

    def __init__(self, analyzer: VADAnalyzer | Literal["auto"], broadcast: Callable[..., Awaitable[None]]) -> None:
        """
        Args:
            analyzer: what to run; "auto": :class:`EOTVADAnalyzer`, after :data:`_PATIENCE`.
            broadcast: sends a frame both ways, given its class and fields.
        """
        self.automatic = analyzer == "auto"
        self._analyzer = None if isinstance(analyzer, str) else analyzer
        self._broadcast = broadcast
        self._setup: FrameProcessorSetup | None = None
        self._controller: VADController | None = None
        self._kept: list[InputAudioRawFrame] = []
        self._kept_seconds = 0.0
        self._failed = False

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Note what the controller will need."""
        self._setup = setup

    async def stop(self) -> None:
        """The session is over: silence from now on means nothing."""
        if self._controller is not None:
            await self._controller.stop()

    async def cleanup(self) -> None:
        """Release the VAD and its thread."""
        self._kept.clear()
        if self._controller is not None:
            controller, self._controller = self._controller, None
            await controller.cleanup()

    async def process_frame(self, frame: InputAudioRawFrame | VADParamsUpdateFrame) -> None:
        """Hear audio, or take other parameters."""
        if self._controller is not None:
            await self._controller.process_frame(frame)
            return
        if not isinstance(frame, InputAudioRawFrame) or self._failed or self._setup is None:
            return
        self._kept.append(frame)
        self._kept_seconds += frame.num_frames / max(1, frame.sample_rate)
        if not self.automatic or self._kept_seconds >= _PATIENCE:
            await self._start(self._setup)

    async def _start(self, setup: FrameProcessorSetup) -> None:
        kept, self._kept = self._kept, []
        if self._analyzer is None:
            from .vad import EOTVADAnalyzer

            try:
                self._analyzer = EOTVADAnalyzer()
            except ModelError as error:
                self._failed = True
                logger.error(f"the pipeline has no VAD, and ours cannot be loaded: {error}")
                return
        controller = VADController(self._analyzer)
        controller.add_event_handler("on_speech_started", self._on_started)
        controller.add_event_handler("on_speech_stopped", self._on_stopped)
        controller.add_event_handler("on_speech_activity", self._on_activity)
        controller.add_event_handler("on_broadcast_frame", self._on_broadcast)
        await controller.setup(setup)
        await controller.start()
        self._controller = controller
        for frame in kept:
            await controller.process_frame(frame)

    async def _on_started(self, controller: VADController) -> None:
        assert self._analyzer is not None
        await self._broadcast(VADUserStartedSpeakingFrame, start_secs=self._analyzer.params.start_secs)

    async def _on_stopped(self, controller: VADController) -> None:
        assert self._analyzer is not None
        await self._broadcast(VADUserStoppedSpeakingFrame, stop_secs=self._analyzer.params.stop_secs)

    async def _on_activity(self, controller: VADController) -> None:
        await self._broadcast(UserSpeakingFrame)

    async def _on_broadcast(self, controller: VADController, kind: type[Frame], **fields: Any) -> None:
        await self._broadcast(kind, **fields)
