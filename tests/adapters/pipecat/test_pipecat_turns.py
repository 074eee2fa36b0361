"""What Pipecat's own controller and strategies do holds with ours in their place."""

from __future__ import annotations

from typing import Any

import pytest
from call import Call, Mute, Script, detector, final, interim, make_strategy, sound, stt_metadata
from pipecat.frames.frames import (
    InterruptionFrame,
    LLMServiceMetadataFrame,
    ProposedUserStoppedSpeakingFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregatorParams
from pipecat.turns.user_stop import (
    BaseUserTurnStopStrategy,
    ExternalUserTurnStopStrategy,
    LLMTurnCompletionUserTurnStopStrategy,
    deferred,
)
from pipecat.turns.user_turn_strategies import FilterIncompleteUserTurnStrategies, UserTurnStrategies

from adapters.pipecat import TurnDetectorUserTurnStopStrategy
from eot_core import TurnDetector
from eot_core.clock import ManualClock
from eot_core.events import DecisionReason
from eot_core.turn_audio import SURE_AFTER


def using(*stop: BaseUserTurnStopStrategy, **params: Any) -> LLMUserAggregatorParams:
    return LLMUserAggregatorParams(user_turn_strategies=UserTurnStrategies(stop=list(stop)), **params)


class _Gate(BaseUserTurnStopStrategy):
    """Finalizes a turn when it is told to, as an LLM's verdict would."""


async def test_deferred_only_triggers_the_inference() -> None:
    clock = ManualClock()
    strategy, gate = make_strategy(clock), _Gate()
    async with Call(strategy, clock=clock, params=using(deferred(strategy), gate)) as call:
        await call.utter()
        await call.send(final(finalized=True))
        await call.advance(0.2)
        await call.until(lambda: call.inferences)
        assert call.turns == []
        # Not complete after all: the user speaks on, and the next pause triggers again.
        await call.utter()
        await call.send(final("and more", finalized=True))
        await call.advance(0.2)
        await call.until(lambda: call.inferences == 2)
        assert call.turns == []
        await gate.trigger_user_turn_finalized()
        await call.until(lambda: call.turns)
        assert call.turns[0][1] == "hello there and more"


async def test_deferred_a_late_transcript_triggers_once_more() -> None:
    clock = ManualClock()
    strategy = make_strategy(clock)
    async with Call(strategy, clock=clock, params=using(deferred(strategy), _Gate())) as call:
        await call.utter()
        await call.send(final(finalized=True))
        await call.advance(0.2)
        await call.until(lambda: call.inferences == 1)
        await call.send(final("by the way", finalized=True))
        await call.until(lambda: call.inferences == 2)


async def test_gated_by_the_llm() -> None:
    clock = ManualClock()
    strategy = make_strategy(clock)
    strategies = FilterIncompleteUserTurnStrategies(stop=[strategy])
    assert isinstance(strategies.stop[-1], LLMTurnCompletionUserTurnStopStrategy)
    params = LLMUserAggregatorParams(user_turn_strategies=strategies)
    async with Call(strategy, clock=clock, params=params) as call:
        await call.utter()
        await call.send(final(finalized=True))
        await call.advance(0.2)
        await call.until(lambda: call.inferences)
        assert call.turns == []
        await strategies.stop[-1].trigger_user_turn_finalized()
        await call.until(lambda: call.turns)


async def test_update_strategies_closes_and_opens_again() -> None:
    clock = ManualClock()
    strategy = make_strategy(clock)
    async with Call(strategy, clock=clock) as call:
        controller = call.aggregator._user_turn_controller
        await controller.update_strategies(controller.user_turn_strategies)
        assert strategy.active
        await call.utter()
        await call.send(final(finalized=True))
        await call.advance(0.2)
        await call.until(lambda: call.turns)
        assert len(call.predictions) == len(call.decisions) == 1
        await controller.update_strategies(UserTurnStrategies(stop=[ExternalUserTurnStopStrategy()]))
        assert not strategy.active
        await call.utter_without_prediction()
        assert len(call.predictions) == 1


async def test_update_strategies_in_the_middle_of_a_pause_drops_it() -> None:
    clock = ManualClock()
    strategy = make_strategy(clock)
    async with Call(strategy, clock=clock) as call:
        await call.utter()
        await call.send(final(finalized=True))
        controller = call.aggregator._user_turn_controller
        await controller.update_strategies(controller.user_turn_strategies)
        await call.advance(4.0)
        assert call.turns == []


async def test_a_turn_that_is_ended_elsewhere_is_on_record_and_over() -> None:
    clock = ManualClock()
    strategy = make_strategy(clock, Script(0.1))
    other = ExternalUserTurnStopStrategy(wait_for_transcript=False)
    async with Call(strategy, clock=clock, params=using(strategy, other)) as call:
        await call.utter()
        await call.send(final())
        await call.advance(0.5)
        await call.send(ProposedUserStoppedSpeakingFrame())
        await call.until(lambda: call.turns)
        await call.until(lambda: len(call.decisions) == 2)
        assert call.decisions[-1].reason is DecisionReason.EXTERNAL
        await call.advance(5.0)
        assert len(call.turns) == 1


async def test_the_next_turn_does_not_hear_the_one_before() -> None:
    clock = ManualClock()
    script = Script()
    asked = TurnDetectorUserTurnStopStrategy(
        detector=TurnDetector(model=script.spec(pre_speech=0.2), clock=clock), clock=clock, wait_for_transcript=False
    )
    async with Call(asked, clock=clock) as call:
        for turn in (1, 2):
            await call.speak(1.0)
            await call.utter()
            await call.advance(0.2)
            await call.until(lambda turn=turn: len(call.turns) == turn)
        # 0.2 s before the VAD was sure of the onset, the rest of its start_secs since then, and 0.1 s of speech.
        heard = round((0.2 + (0.2 - SURE_AFTER) + 0.1) * 16_000)
        assert [len(pcm) for pcm in script.seen] == [heard, heard]


async def test_a_user_who_is_muted_in_a_pause_still_ends_the_turn() -> None:
    clock = ManualClock()
    strategy, mute = make_strategy(clock, Script(0.1)), Mute()
    async with Call(strategy, clock=clock, params=using(strategy, user_mute_strategies=[mute])) as call:
        await call.utter()
        await call.send(final(finalized=True))
        mute.on = True
        await call.speak()
        await call.start_speaking()
        await call.advance(2.5)
        await call.until(lambda: call.turns)


async def test_no_audio_no_word_of_a_user_who_is_muted() -> None:
    clock = ManualClock()
    strategy, mute = make_strategy(clock), Mute()
    mute.on = True
    async with Call(strategy, clock=clock, params=using(strategy, user_mute_strategies=[mute])) as call:
        await call.settle()  # it counts from the frame after the one that it was asked about
        await call.utter_without_prediction()
        await call.advance(4.0)
        assert call.started == call.turns == call.predictions == []


async def test_the_end_of_speech_is_the_last_audio_where_the_vad_learns_it_from_its_absence() -> None:
    clock = ManualClock()
    strategy = make_strategy(clock, Script(0.1), wait_for_transcript=False)
    async with Call(strategy, clock=clock) as call:
        await call.start_speaking()
        await call.speak()
        await call.advance(1.2)  # the microphone is muted
        await call.stop_speaking()
        await call.until(lambda: call.predictions)
        await call.advance(1.2)
        assert call.turns == []
        await call.advance(0.15)
        await call.until(lambda: call.turns)


async def test_realtime_mode_does_not_wait_for_transcripts() -> None:
    clock = ManualClock()
    strategy = make_strategy(clock)
    async with Call(strategy, clock=clock) as call:
        await call.send(LLMServiceMetadataFrame(service_name="realtime", is_realtime_service=True))
        assert strategy.wait_for_transcript is False
        await call.utter()
        await call.advance(0.2)
        await call.until(lambda: call.turns)
        assert len(call.decisions) == 1


async def test_realtime_mode_with_a_recommended_strategy() -> None:
    from adapters.pipecat import TurnDetectorProcessor

    clock = ManualClock()
    processor = TurnDetectorProcessor(detector=detector(Script(), clock), vad_analyzer=None)
    processor.strategy._given_clock = clock
    async with Call(clock=clock, before=[processor]) as call:
        call.listen(processor.strategy)
        await call.send(LLMServiceMetadataFrame(service_name="realtime", is_realtime_service=True))
        await call.utter()
        await call.advance(0.2)
        await call.until(lambda: call.turns)


async def test_the_start_of_a_turn_interrupts_as_ever() -> None:
    clock = ManualClock()
    async with Call(make_strategy(clock), clock=clock) as call:
        await call.utter()
        assert len(call.sink.of(InterruptionFrame)) == 1
        assert len(call.sink.of(UserStartedSpeakingFrame)) == 1
        await call.send(final(finalized=True))
        await call.advance(0.2)
        await call.until(lambda: call.sink.of(UserStoppedSpeakingFrame))
        assert len(call.sink.of(InterruptionFrame)) == 1


async def test_a_second_stop_without_a_start_leaves_no_timer_behind() -> None:
    clock = ManualClock()
    strategy = make_strategy(clock)
    async with Call(strategy, clock=clock) as call:
        await call.utter()
        await call.stop_speaking()
        await call.until(lambda: len(call.predictions) == 2)
        await call.send(final(finalized=True))
        await call.advance(0.2)
        await call.until(lambda: call.turns)
        await call.advance(4.0)
        assert len(call.turns) == 1
        assert call.inferences == 1


async def test_speech_while_nothing_is_written_ends_no_turn() -> None:
    clock = ManualClock()
    async with Call(make_strategy(clock), clock=clock) as call:
        await call.send(stt_metadata())
        await call.utter()
        await call.send(interim("hel"), final("  ", finalized=True))
        await call.advance(3.0)
        assert call.turns == []


async def test_audio_of_a_call_in_which_the_stt_keeps_it_for_itself_is_missed_not_fatal() -> None:
    clock = ManualClock()
    async with Call(make_strategy(clock), clock=clock) as call:
        await call.start_speaking()
        await call.stop_speaking()
        await call.until(lambda: call.predictions)
        assert call.predictions[0].reason == "no_audio"
        await call.send(final(finalized=True))
        await call.advance(0.2)
        await call.until(lambda: call.turns)


@pytest.mark.parametrize("stop_secs", [0.2, 0.8])
async def test_a_slow_vad_costs_what_it_costs_and_no_more(stop_secs: float) -> None:
    clock = ManualClock()
    strategy = make_strategy(clock, wait_for_transcript=False)
    async with Call(strategy, clock=clock) as call:
        await call.start_speaking()
        await call.send(*sound(0.1))
        await call.send(VADUserStoppedSpeakingFrame(stop_secs=stop_secs))
        await call.until(lambda: call.decisions)
        await call.advance(0.11)
        await call.until(lambda: call.turns)
        assert call.decisions[0].delay == pytest.approx(max(0.3, stop_secs), abs=0.1)
