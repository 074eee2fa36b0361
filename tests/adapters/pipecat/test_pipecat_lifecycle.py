"""The beginning and the end of a call, and a strategy that is used for more than one."""

from __future__ import annotations

import asyncio

import pytest
from call import Call, Script, detector, final, make_processor, make_strategy, stt_metadata
from pipecat.frames.frames import CancelFrame, EndFrame, Frame, STTMetadataFrame, UserStoppedSpeakingFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transcriptions.language import Language
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies

from adapters.pipecat import TurnDetectorUserTurnStopStrategy
from eot_core.clock import ManualClock


class _StillPlaying(FrameProcessor):
    """Holds the end of the session, as a transport does whose audio has not been played."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.done = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, EndFrame | CancelFrame):
            self.reached.set()
            await self.done.wait()
        await self.push_frame(frame, direction)


@pytest.mark.parametrize("kind", [EndFrame, CancelFrame])
async def test_the_turn_that_the_end_of_the_session_cut_short_ends_once(kind: type[Frame]) -> None:
    """The aggregator ended it, with its words; there is nobody left to answer a second end."""
    clock = ManualClock()
    playing = _StillPlaying()
    ends: list[str] = []
    async with Call(make_strategy(clock), clock=clock, after=[playing]) as call:
        call.aggregator.remove_event_handler("on_user_turn_stopped", call._on_stopped)
        call.aggregator.add_event_handler("on_user_turn_stopped", lambda _a, _s, message: ends.append(message.content))
        await call.send(stt_metadata(0.5))
        await call.utter()
        await call.send(final("my last words"))
        await call.worker.queue_frame(kind())
        await asyncio.wait_for(playing.reached.wait(), 20)
        await call.until(lambda: ends)
        clock.advance(3.0)
        await asyncio.sleep(0.05)
        playing.done.set()
        inferences, stopped = call.inferences, call.source.of_up(UserStoppedSpeakingFrame)
    assert ends == ["my last words"]
    assert (inferences, stopped) == (0, [])


async def test_another_call_begins_without_the_language_of_the_one_before() -> None:
    clock = ManualClock()
    asked = detector(Script(0.5), clock, unlikely_threshold={"en": 0.4, "de": 0.6})
    strategy = TurnDetectorUserTurnStopStrategy(detector=asked, clock=clock)
    for said in ("ich möchte gern", "I would like"):
        async with Call(strategy, clock=clock) as call:
            await call.utter()
            assert (call.decisions[0].language, call.decisions[0].threshold) == (None, 0.4)
            language = Language.DE if said.startswith("ich") else Language.EN
            await call.send(final(said, language=language, finalized=True))
            await call.advance(3.0)
            await call.until(lambda call=call: call.turns)


async def test_within_a_call_the_language_is_kept() -> None:
    """Also where the aggregator lets go of the strategy and takes it on again."""
    clock = ManualClock()
    strategy = make_strategy(clock)
    async with Call(strategy, clock=clock) as call:
        await call.send(final("ich möchte gern", language=Language.DE, finalized=True))
        controller = call.aggregator._user_turn_controller
        await controller.update_strategies(controller.user_turn_strategies)
        await call.utter()
        assert call.decisions[0].language == "de"


async def test_a_strategy_that_is_adopted_again_while_the_user_speaks_asks_for_no_answer() -> None:
    """A service is switched in, recommends to take the turns itself, and is overruled."""
    clock = ManualClock()
    processor = make_processor(clock, vad_analyzer=None)
    async with Call(clock=clock, before=[processor]) as call:
        call.listen(processor.strategy)
        await call.settle()
        await call.start_speaking()
        await call.speak()
        external = ExternalUserTurnStrategies()
        await call.send(STTMetadataFrame(service_name="flux", ttfs_p99_latency=0.3, user_turn_strategies=external))
        await call.until(lambda: processor.strategy.active)
        await call.send(final("I would like"))
        await call.advance(3.0)
        assert call.inferences == 0
        await call.speak()
        await call.stop_speaking()
        await call.until(lambda: call.predictions)
        await call.send(final("a flight", finalized=True))
        await call.advance(0.3)
        await call.until(lambda: call.turns)
        assert call.turns[0][1] == "I would like a flight"
