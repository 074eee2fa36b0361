"""The end of a turn waits for the transcript: a real pipeline, on a clock that is moved by hand."""

from __future__ import annotations

import asyncio

import pytest
from call import Call, Script, final, interim, make_strategy, stt_metadata, with_stt
from pipecat.frames.frames import VADUserStoppedSpeakingFrame

from eot_core.clock import ManualClock

NEAR = pytest.approx


async def test_the_transcript_is_waited_for_and_ends_the_turn_at_once_when_final() -> None:
    async with with_stt(0.9) as call:
        await call.utter()
        await call.advance(0.4)
        assert call.turns == []
        await call.send(final(finalized=True))
        await call.until(lambda: call.turns)


async def test_a_transcript_that_is_not_marked_final_counts_once_the_stt_is_due() -> None:
    async with with_stt(0.9) as call:
        await call.utter()
        await call.send(final())
        await call.advance(0.5)  # 0.7 s after the end of speech
        assert call.turns == []
        await call.advance(0.25)
        await call.until(lambda: call.turns)


async def test_a_transcript_later_than_the_stt_was_due_ends_the_turn_at_once() -> None:
    async with with_stt(0.35) as call:
        await call.utter()
        await call.advance(3.0)
        assert call.turns == []
        await call.send(final())
        await call.until(lambda: call.turns)


async def test_an_interim_takes_back_that_the_transcript_was_final() -> None:
    async with with_stt(2.0) as call:
        await call.start_speaking()
        await call.speak()
        await call.send(final("I would like", finalized=True), interim("a flight"))
        await call.stop_speaking()
        await call.until(lambda: call.predictions)
        await call.advance(1.0)
        assert call.turns == []
        await call.send(final("a flight", finalized=True))
        await call.until(lambda: call.turns)
        assert call.turns[0][1] == "I would like a flight"


async def test_a_transcript_that_was_final_before_the_vad_noticed_the_end_counts() -> None:
    async with with_stt(5.0) as call:
        await call.start_speaking()
        await call.speak()
        await call.send(final(finalized=True))
        await call.stop_speaking()
        await call.until(lambda: call.predictions)
        await call.advance(0.2)
        await call.until(lambda: call.turns)


async def test_a_final_transcript_of_an_earlier_pause_does_not_stand_for_the_next() -> None:
    async with with_stt(9.0, Script(0.1)) as call:
        await call.utter()
        await call.send(final("one", finalized=True))
        await call.utter()
        await call.advance(4.0)
        assert call.turns == []
        await call.send(final("two", finalized=True))
        await call.until(lambda: call.turns)
        assert call.turns[0][1] == "one two"


async def test_without_waiting_for_transcripts() -> None:
    clock = ManualClock()
    strategy = make_strategy(clock, wait_for_transcript=False)
    async with Call(strategy, clock=clock) as call:
        await call.utter()
        await call.advance(0.2)
        await call.until(lambda: call.turns)
        strategy.wait_for_transcript = True
        assert strategy.wait_for_transcript is True


async def test_transcripts_of_speech_that_the_vad_did_not_hear() -> None:
    async with with_stt(1.0) as call:
        await call.send(final("very"))
        await call.advance(0.9)
        await call.send(final("softly"))
        await call.advance(0.9)
        assert call.turns == []
        await call.advance(0.2)
        await call.until(lambda: call.turns)
        assert call.turns[0][1] == "very softly"
        assert call.predictions == []


async def test_a_second_final_transcript_of_such_speech_ends_the_turn_at_once() -> None:
    async with with_stt(1.0) as call:
        await call.send(final("very", finalized=True))
        await call.advance(0.5)
        assert call.turns == []
        await call.send(final("softly", finalized=True))
        await call.until(lambda: call.turns)


async def test_speech_and_its_end_in_the_same_moment_as_a_final_transcript() -> None:
    """Pipecat processes system frames and transcripts in two tasks: neither may undo what the other has noted."""
    clock = ManualClock()
    strategy = make_strategy(clock)
    async with Call(strategy, clock=clock) as call:
        await call.send(stt_metadata(5.0))
        await call.utter()  # a pause that is being followed, and has to be dropped for the next one
        await asyncio.gather(
            strategy.process_frame(VADUserStoppedSpeakingFrame(stop_secs=0.2)),
            strategy.process_frame(final(finalized=True)),
        )
        await call.until(lambda: len(call.predictions) == 2)
        await call.advance(0.2)
        await call.until(lambda: call.turns)


async def test_speech_ends_the_wait_that_began_without_it() -> None:
    async with with_stt(1.0, Script(0.1)) as call:
        await call.send(final("so"))
        await call.start_speaking()
        await call.advance(5.0)
        assert call.turns == []


async def test_the_last_words_are_waited_for_where_the_vad_is_slower_than_the_stt(log: list[str]) -> None:
    """STTs are told by the VAD when to write down the rest. The words of an earlier pause are not all that was said."""
    script = Script(0.1)
    async with with_stt(0.35, script) as call:
        await call.utter_without_prediction(stop_secs=0.8)
        await call.until(lambda: call.predictions)
        await call.send(final("I would like"))
        await call.advance(0.5)
        script.probability = 0.9
        await call.utter_without_prediction(stop_secs=0.8)
        await call.until(lambda: len(call.predictions) == 2)
        await call.advance(0.12)  # STTs were measured with VADs that report after 0.2 s
        assert call.turns == []
        await call.send(final("a flight"))
        await call.advance(0.05)
        await call.until(lambda: call.turns)
        assert call.turns[0][1] == "I would like a flight"
    (line,) = [line for line in log if line.startswith("WARNING")]
    assert "the VAD reports a pause after 0.8 s" in line
