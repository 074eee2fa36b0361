"""Turns that begin otherwise than with the VAD's report, or do not begin at all."""

from __future__ import annotations

import pytest
from call import Call, Script, final, interim, make_processor, starting_with, stt_metadata
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    InterruptionFrame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    STTMetadataFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.parallel_pipeline import ParallelPipeline
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregator, LLMUserAggregatorParams
from pipecat.turns.user_start import (
    MinWordsUserTurnStartStrategy,
    WakePhraseUserTurnStartStrategy,
)
from pipecat.turns.user_turn_strategies import (
    ExternalUserTurnStrategies,
    default_user_turn_start_strategies,
)

from eot_core.clock import ManualClock


@pytest.mark.parametrize("murmured", [False, True])
async def test_words_that_are_enough_to_interrupt_end_the_turn_that_they_open(murmured: bool) -> None:
    """Their pause is over by then; a "yeah" before, which was not enough, has nothing to do with them."""
    clock = ManualClock()
    async with starting_with(MinWordsUserTurnStartStrategy(min_words=3), clock=clock) as call:
        await call.send(stt_metadata(0.9), BotStartedSpeakingFrame())
        if murmured:
            await call.utter()
            await call.send(final("yeah", finalized=True))
            await call.advance(3.0)
        await call.utter()
        await call.advance(1.0)
        assert call.started == call.turns == []
        await call.send(final("please stop that", finalized=True))
        await call.until(lambda: call.turns)
        assert call.turns[0][1] == "please stop that"


async def test_a_wake_phrase_after_talk_that_was_not_for_the_agent() -> None:
    clock = ManualClock()
    wake = WakePhraseUserTurnStartStrategy(phrases=["hey robot"])
    async with starting_with(wake, *default_user_turn_start_strategies(), clock=clock) as call:
        await call.send(stt_metadata(0.9))
        await call.utter()
        await call.send(final("what a nice day", finalized=True))
        await call.advance(3.0)
        await call.utter()
        await call.advance(0.5)
        assert call.started == call.turns == []
        await call.send(final("hey robot, what time is it", finalized=True))
        await call.until(lambda: call.turns)
        assert call.turns[0][1] == "hey robot, what time is it"


async def test_a_service_that_notices_late_that_the_user_speaks_does_not_keep_the_turn_open() -> None:
    """An STT with turns of its own (Flux, AssemblyAI) proposes a start after the VAD has heard the end of a short word:
    the controller ends no turn until that service proposes an end, and nobody could interrupt the agent meanwhile."""
    clock = ManualClock()
    processor = make_processor(clock, vad_analyzer=None)
    async with Call(clock=clock, before=[processor]) as call:
        call.listen(processor.strategy)
        external = ExternalUserTurnStrategies()
        await call.send(STTMetadataFrame(service_name="flux", ttfs_p99_latency=0.3, user_turn_strategies=external))
        await call.until(lambda: processor.strategy.active)
        await call.utter()
        await call.send(ProposedUserStartedSpeakingFrame(), interim("yes"))
        await call.advance(0.4)
        await call.send(final("yes", finalized=True), ProposedUserStoppedSpeakingFrame())
        await call.until(lambda: call.turns)
        await call.advance(1.0)
        assert [text for _, text in call.turns] == ["yes"]
        await call.start_speaking()
        assert len(call.sink.of(InterruptionFrame)) == 2


@pytest.mark.parametrize("waits", [False, True])
async def test_words_that_come_after_the_turn_that_was_emitted_open_no_other(waits: bool) -> None:
    """They would interrupt the agent, which is answering them."""
    clock = ManualClock()
    processor = make_processor(clock, vad_analyzer=None, emit_turn_frames=True, wait_for_transcript=waits or None)
    async with Call(clock=clock, before=[processor], aggregator=False) as call:
        call.listen(processor.strategy)
        await call.send(stt_metadata(0.9))
        await call.utter()
        await call.advance(0.5)
        assert bool(call.sink.of(UserStoppedSpeakingFrame)) is not waits
        await call.send(interim("yes"), final("yes please", finalized=True))
        await call.until(lambda: call.sink.of(UserStoppedSpeakingFrame))
        await call.advance(2.0)
        for kind in (UserStartedSpeakingFrame, InterruptionFrame, UserStoppedSpeakingFrame):
            assert len(call.sink.of(kind)) == 1


async def test_a_service_that_proposes_turns_is_not_followed_where_they_are_emitted() -> None:
    clock = ManualClock()
    processor = make_processor(clock, Script(0.1), vad_analyzer=None, emit_turn_frames=True)
    async with Call(clock=clock, before=[processor]) as call:
        call.listen(processor.strategy)
        external = ExternalUserTurnStrategies()
        await call.send(STTMetadataFrame(service_name="flux", ttfs_p99_latency=0.3, user_turn_strategies=external))
        await call.utter()
        await call.send(ProposedUserStartedSpeakingFrame())
        await call.send(final("I would like", finalized=True), ProposedUserStoppedSpeakingFrame())
        await call.advance(1.0)
        assert call.turns == []
        assert call.sink.of(ProposedUserStartedSpeakingFrame) == call.sink.of(ProposedUserStoppedSpeakingFrame) == []
        await call.advance(1.5)
        await call.until(lambda: call.turns)
        assert len(call.started) == len(call.turns) == len(call.sink.of(UserStoppedSpeakingFrame)) == 1


@pytest.mark.parametrize("emits", [False, True])
async def test_a_service_that_is_not_to_interrupt_is_heeded_in_that(emits: bool) -> None:
    """``should_interrupt=False`` of an STT with turns of its own comes with its recommendation, and with that alone."""
    clock = ManualClock()
    processor = make_processor(clock, vad_analyzer=None, emit_turn_frames=emits)
    async with Call(clock=clock, before=[processor]) as call:
        call.listen(processor.strategy)
        external = ExternalUserTurnStrategies(enable_interruptions=False)
        await call.send(STTMetadataFrame(service_name="flux", ttfs_p99_latency=0.3, user_turn_strategies=external))
        await call.until(lambda: processor.strategy.active)
        await call.utter()
        await call.send(final("yes", finalized=True))
        await call.advance(0.3)
        await call.until(lambda: call.turns)
        assert len(call.sink.of(UserStartedSpeakingFrame)) == 1
        assert call.sink.of(InterruptionFrame) == []


async def test_final_words_end_the_turn_that_an_aggregator_follows_at_once() -> None:
    """Pipecat's own strategy waits for half a second in which no more words come."""
    clock = ManualClock()
    processor = make_processor(clock, vad_analyzer=None, emit_turn_frames=True)
    async with Call(clock=clock, before=[processor]) as call:
        call.listen(processor.strategy)
        await call.utter()
        await call.advance(0.3)
        assert len(call.sink.of(UserStoppedSpeakingFrame)) == 1
        await call.send(final("yes please", finalized=True))
        assert [text for _, text in call.turns] == ["yes please"]


async def test_turns_for_two_aggregators_side_by_side(log: list[str]) -> None:
    clock = ManualClock()
    script = Script()
    processor = make_processor(clock, script, vad_analyzer=None, emit_turn_frames=True)
    told: list[tuple[int, str]] = []
    aggregators = []
    for number in (1, 2):
        params = LLMUserAggregatorParams(user_turn_strategies=ExternalUserTurnStrategies())
        aggregator = LLMUserAggregator(LLMContext(), params=params)
        aggregator.add_event_handler("on_user_turn_stopped", lambda _a, _s, m, n=number: told.append((n, m.content)))
        aggregators.append([aggregator])
    branches = ParallelPipeline(*aggregators)
    async with Call(clock=clock, before=[processor, branches], aggregator=False) as call:
        call.listen(processor.strategy)
        for turn in (1, 2):
            await call.utter()
            await call.send(final(f"turn {turn}", finalized=True))
            await call.advance(0.3)
            await call.until(lambda turn=turn: len(told) == 2 * turn)
        assert sorted(told) == [(1, "turn 1"), (1, "turn 2"), (2, "turn 1"), (2, "turn 2")]
        assert len(script.seen) == len(call.sink.of(InterruptionFrame)) == 2
    assert [line for line in log if line.startswith(("WARNING", "ERROR"))] == []


@pytest.mark.parametrize(
    ("emits", "advice"), [(False, "emit_turn_frames=True"), (True, "ExternalUserTurnStrategies()")]
)
async def test_two_aggregators_that_are_not_configured_are_warned_of(emits: bool, advice: str, log: list[str]) -> None:
    clock = ManualClock()
    processor = make_processor(clock, vad_analyzer=None, emit_turn_frames=emits)
    branches = ParallelPipeline([LLMUserAggregator(LLMContext())], [LLMUserAggregator(LLMContext())])
    async with Call(clock=clock, before=[processor, branches], aggregator=False) as call:
        await call.settle()
    (line,) = [line for line in log if line.startswith("WARNING")]
    assert "a second user aggregator" in line
    assert advice in line
