"""Pipelines within the pipeline: the processor knows its aggregator wherever the two are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from call import Call, Mute, final, make_processor
from pipecat.pipeline.parallel_pipeline import ParallelPipeline
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregator,
    LLMUserAggregatorParams,
)
from pipecat.processors.filters.identity_filter import IdentityFilter
from pipecat.processors.frame_processor import FrameProcessor
from pipecat_speech import frames, silence, word

from adapters.pipecat import TurnDetectorProcessor
from adapters.pipecat.downstream import user_aggregator_after
from eot_core.clock import ManualClock

Arrangement = Callable[[TurnDetectorProcessor, LLMUserAggregator], list[FrameProcessor]]

ARRANGEMENTS: dict[str, Arrangement] = {
    "one after the other": lambda turns, user: [turns, user],
    "aggregator in a branch": lambda turns, user: [turns, ParallelPipeline([IdentityFilter()], [user])],
    "both in a branch": lambda turns, user: [ParallelPipeline([IdentityFilter()], [turns, IdentityFilter(), user])],
    "aggregator in a pipeline": lambda turns, user: [turns, IdentityFilter(), Pipeline([user])],
    "processor in a pipeline": lambda turns, user: [Pipeline([IdentityFilter(), turns]), user],
    "processor in a branch": lambda turns, user: [ParallelPipeline([IdentityFilter()], [turns]), user],
}


@pytest.fixture(params=ARRANGEMENTS)
def arrange(request: pytest.FixtureRequest) -> Arrangement:
    return ARRANGEMENTS[request.param]


async def test_realtime_mode_that_the_application_chose(arrange: Arrangement) -> None:
    clock = ManualClock()
    processor = make_processor(clock, vad_analyzer=None)
    user = LLMContextAggregatorPair(LLMContext(), realtime_service_mode=True).user()
    async with Call(clock=clock, before=arrange(processor, user), aggregator=False) as call:
        await call.until(lambda: processor.strategy.active)
        await call.settle()
        assert processor.strategy.wait_for_transcript is False


async def test_a_user_who_falls_silent_while_muted_has_ended_the_turn(arrange: Arrangement) -> None:
    clock, mute = ManualClock(), Mute()
    processor = make_processor(clock)
    user = LLMUserAggregator(LLMContext(), params=LLMUserAggregatorParams(user_mute_strategies=[mute]))
    said: list[str] = []
    user.add_event_handler("on_user_turn_stopped", lambda _a, _s, message: said.append(message.content))
    async with Call(clock=clock, before=arrange(processor, user), aggregator=False) as call:
        call.listen(processor.strategy)
        await call.until(lambda: processor.strategy.active)
        await call.send(*frames(silence(0.5), word()[:9000]), final("I am ready", finalized=True))
        mute.on = True
        await call.send(*frames(word()[9000:], silence(0.6)))
        mute.on = False
        await call.send(*frames(silence(0.1)))
        await call.until(lambda: call.predictions)
        await call.advance(0.3)
        await call.until(lambda: said)
        assert said == ["I am ready"]


@pytest.mark.parametrize("another", [False, True])
async def test_another_branch_does_not_come_after_this_one(another: bool) -> None:
    clock = ManualClock()
    processor = make_processor(clock, vad_analyzer=None)
    branches = ParallelPipeline([processor], [LLMUserAggregator(LLMContext())])
    async with Call(clock=clock, before=[branches], aggregator=another) as call:
        assert user_aggregator_after(processor) is (call.aggregator if another else None)
