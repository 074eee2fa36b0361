"""A user who is muted by the aggregator: what it misses is told to it afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from call import Call, Mute, Script, final, make_processor, make_strategy, stt_metadata
from pipecat.frames.frames import (
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_response_universal import (
    LLMUserAggregatorParams,
)
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameProcessor
from pipecat_speech import frames, silence, word

from adapters.pipecat import EOTVADAnalyzer
from adapters.pipecat.frames import MissedEndOfSpeechFrame
from eot_core.clock import ManualClock


async def test_a_user_who_speaks_when_the_mute_ends_is_not_cut_off() -> None:
    """The aggregator did not hear of the start; what is written meanwhile must not pass for all that was said."""
    clock, mute = ManualClock(), Mute(on=True)
    params = LLMUserAggregatorParams(user_mute_strategies=[mute])
    async with Call(clock=clock, params=params, before=[make_processor(clock)]) as call:
        speech = frames(silence(0.5), word(), silence(0.6))
        await call.send(*speech[:45])
        assert len(call.sink.of(VADUserStartedSpeakingFrame)) == 0
        mute.on = False
        await call.send(*speech[45:46])
        assert len(call.sink.of(VADUserStartedSpeakingFrame)) == 1
        await call.send(final("I am", finalized=True))
        await call.advance(1.0)
        assert call.turns == []
        await call.send(*speech[46:])
        await call.advance(0.3)
        await call.until(lambda: call.turns)


@pytest.mark.parametrize("vad", ["here", "before", "in the aggregator"])
async def test_a_user_who_falls_silent_while_muted_has_ended_the_turn(vad: str) -> None:
    """The aggregator did not hear of the end, and would wait for it until the user speaks again."""
    clock, mute, script = ManualClock(), Mute(on=True), Script()
    mute.on = False
    analyzer = EOTVADAnalyzer() if vad == "in the aggregator" else None
    params = LLMUserAggregatorParams(user_mute_strategies=[mute], vad_analyzer=analyzer)
    processor = make_processor(clock, script)
    before: list[FrameProcessor] = [processor]
    if vad == "before":
        before.insert(0, VADProcessor(vad_analyzer=EOTVADAnalyzer()))
    async with Call(clock=clock, params=params, before=before) as call:
        call.listen(processor.strategy)
        await call.settle()
        speech = frames(silence(0.5), word(), silence(0.6))
        await call.send(*speech[:45])
        assert len(call.started) == 1
        await call.send(final("I am", finalized=True))
        mute.on = True
        await call.send(*speech[45:])
        await call.advance(1.0)
        await call.until(lambda: call.source.of_up(VADUserStoppedSpeakingFrame) or vad == "before")
        await call.settle()
        assert call.predictions == call.turns == []
        mute.on = False
        await call.send(*frames(silence(0.02)))
        await call.settle()
        await call.send(*frames(silence(0.4)))  # in which a VAD says so if the user still speaks
        await call.until(lambda: call.predictions)
        await call.advance(0.3)
        await call.advance(0.1)
        await call.until(lambda: call.turns)
        assert call.turns[0][1] == "I am"
        assert np.abs(script.seen[-1]).max() > 1000  # what was said before the mute


async def test_a_user_who_goes_on_when_the_mute_ends_is_not_cut_off_by_an_aggregator_s_vad() -> None:
    """It heard nothing meanwhile, took that for silence, and hears the rest of the sentence."""
    clock, mute, script = ManualClock(), Mute(on=True), Script()
    mute.on = False
    params = LLMUserAggregatorParams(user_mute_strategies=[mute], vad_analyzer=EOTVADAnalyzer())
    processor = make_processor(clock, script)
    async with Call(clock=clock, params=params, before=[processor]) as call:
        call.listen(processor.strategy)
        await call.settle()
        await call.send(*frames(silence(0.5), word()[:9000]))
        await call.send(final("I am", finalized=True))
        mute.on = True
        await call.send(*frames(silence(0.02)))
        await call.until(lambda: call.source.of_up(VADUserStoppedSpeakingFrame))
        await call.advance(3.0)
        mute.on = False
        await call.send(*frames(silence(0.02)))
        await call.settle()
        for frame in frames(word()[3500:9000]):  # one by one, as they come
            await call.send(frame)
        await call.advance(3.0)
        assert call.predictions == call.turns == []


async def test_a_user_who_spoke_only_while_muted_has_taken_no_turn() -> None:
    clock, mute = ManualClock(), Mute(on=True)
    params = LLMUserAggregatorParams(user_mute_strategies=[mute])
    processor = make_processor(clock)
    async with Call(clock=clock, params=params, before=[processor]) as call:
        call.listen(processor.strategy)
        await call.settle()
        await call.send(*frames(silence(0.5), word(), silence(0.6)))
        mute.on = False
        await call.send(*frames(silence(0.1)))
        await call.advance(3.0)
        assert call.started == call.predictions == call.turns == []


async def test_an_end_of_speech_that_was_missed_is_not_that_of_a_slow_vad(log: list[str]) -> None:
    """The STT was not muted: it heard of the end in time, and its last words are not waited for again."""
    clock = ManualClock()
    async with Call(make_strategy(clock), clock=clock) as call:
        await call.send(stt_metadata(0.5))
        await call.start_speaking()
        await call.speak()
        await call.send(final("I am ready"), MissedEndOfSpeechFrame(stop_secs=0.9))
        await call.until(lambda: call.predictions)
        await call.until(lambda: call.turns)
    assert [line for line in log if line.startswith("WARNING")] == []
