"""Turns that words open, after the speech or without any that the VAD heard."""

from __future__ import annotations

from call import Script, final, starting_with, with_stt
from pipecat.frames.frames import BotStartedSpeakingFrame
from pipecat.turns.user_start import MinWordsUserTurnStartStrategy

from eot_core.clock import ManualClock


async def test_a_turn_that_begins_with_words_keeps_the_pause_that_is_already_there() -> None:
    async with starting_with(
        MinWordsUserTurnStartStrategy(min_words=1), clock=ManualClock(), script=Script(0.1)
    ) as call:
        await call.utter()
        assert call.started == []
        await call.advance(0.5)
        await call.send(final(finalized=True))
        assert call.started != []
        await call.advance(1.5)
        assert call.turns == []
        await call.advance(0.4)
        await call.until(lambda: call.turns)


async def test_a_turn_that_begins_with_words_ends_at_once_where_the_silence_has_lasted() -> None:
    async with starting_with(
        MinWordsUserTurnStartStrategy(min_words=1), clock=ManualClock(), script=Script(0.9)
    ) as call:
        for words in ("one", "two"):
            await call.utter()
            await call.advance(0.5)  # 0.3 s are over; the STT is slower
            await call.send(final(words, finalized=True))
            await call.until(lambda words=words: call.turns and call.turns[-1][1] == words)


async def test_words_that_begin_a_turn_long_after_the_last_pause_are_waited_for() -> None:
    """That pause had its words; nobody has heard the end of these."""
    async with starting_with(MinWordsUserTurnStartStrategy(min_words=2), clock=ManualClock()) as call:
        await call.send(BotStartedSpeakingFrame())  # one word is no interruption
        await call.utter()
        await call.advance(0.5)
        await call.send(final("yes", finalized=True))
        assert call.started == call.turns == []
        await call.advance(10.0)
        await call.send(final("very softly", finalized=True))
        assert call.started != []
        assert call.turns == []
        await call.advance(0.31)
        await call.until(lambda: call.turns)


async def test_words_later_than_the_turn_open_one_of_their_own_and_end_it() -> None:
    async with with_stt(1.0) as call:
        await call.utter()
        await call.send(final("one", finalized=True))
        await call.advance(0.2)
        await call.until(lambda: call.turns)
        await call.send(final("two"))
        await call.advance(0.75)
        assert len(call.turns) == 1
        await call.advance(0.1)  # what the STT may take, less what the VAD had taken
        await call.until(lambda: len(call.turns) == 2)
        assert call.turns[1][1] == "two"
