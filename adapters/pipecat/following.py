"""What an aggregator does whose turns are taken elsewhere in the pipeline."""

# Pipecat's setup() is not compatible with that of its own base class, and parts of it carry no types.
# mypy: disable-error-code="override, no-untyped-call"

from __future__ import annotations

from loguru import logger
from pipecat.frames.frames import (
    Frame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    TranscriptionFrame,
)
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_start import ExternalUserTurnStartStrategy
from pipecat.turns.user_stop import ExternalUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies


class Follow(ExternalUserTurnStrategies):
    """Pipecat's, but for proposals: those of a service that would take turns by itself are consumed, and not heard."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.start = [_FollowStart()]
        self._stop = _FollowStop()
        self.stop = [self._stop]

    @property
    def was_adopted(self) -> bool:
        """Whether an aggregator has ever taken them on."""
        return self._stop.was_set_up


class _FollowStart(ExternalUserTurnStartStrategy):
    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        if isinstance(frame, ProposedUserStartedSpeakingFrame):
            return ProcessFrameResult.CONTINUE
        return await super().process_frame(frame)


class _FollowStop(ExternalUserTurnStopStrategy):
    was_set_up = False

    async def setup(self, setup: FrameProcessorSetup) -> None:
        self.was_set_up = True
        if self._task is None:
            await super().setup(setup)
            return
        logger.warning(
            f"{self}: a second user aggregator follows the turns with what the first one follows them with: give each "
            "user_turn_strategies=ExternalUserTurnStrategies()"
        )

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        if isinstance(frame, ProposedUserStoppedSpeakingFrame):
            return ProcessFrameResult.CONTINUE
        result = await super().process_frame(frame)
        if isinstance(frame, TranscriptionFrame) and frame.finalized:
            await self._maybe_trigger_user_turn_stopped()  # without half a second for more, which does not come
        return result
