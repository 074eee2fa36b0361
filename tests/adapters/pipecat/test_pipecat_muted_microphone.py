"""A transport that sends nothing while the microphone is muted: VADs make up silence, and the detector hears it too."""

from __future__ import annotations

import pytest
from call import RATE, Call, Script, final, make_processor, make_strategy, silent_at_the_end, sound
from pipecat.frames.frames import VADUserStoppedSpeakingFrame
from pipecat_speech import frames, silence, word

from adapters.pipecat.heard import HeardAudio
from eot_core.clock import ManualClock


async def _silent_since(call: Call, seconds: float) -> None:
    """A second of speech, and then no audio at all."""
    await call.start_speaking()
    await call.speak(1.0)
    await call.advance(seconds)


@pytest.mark.parametrize("stop_secs", [0.2, 0.25, 1.5])
async def test_a_vad_that_makes_silence_up(stop_secs: float) -> None:
    clock, script = ManualClock(), Script()
    async with Call(make_strategy(clock, script), clock=clock) as call:
        await _silent_since(call, max(1.0, stop_secs + 0.1))
        await call.stop_speaking(stop_secs)
        await call.until(lambda: call.predictions)
        (heard,) = script.seen
        assert len(heard) == pytest.approx(1.2 * RATE, abs=2)  # all that was said, and the silence it was measured with
        assert silent_at_the_end(heard) == pytest.approx(0.2, abs=0.001)
        await call.send(final(finalized=True))
        await call.until(lambda: call.turns)


async def test_our_own_vad() -> None:
    clock, script = ManualClock(), Script()
    processor = make_processor(clock, script)
    async with Call(clock=clock, before=[processor]) as call:
        call.listen(processor.strategy)
        await call.send(*frames(silence(0.5), word()[:9000]))
        await call.advance(1.0)
        await call.until(lambda: call.sink.of(VADUserStoppedSpeakingFrame))  # pipecat waits for a second
        await call.until(lambda: call.predictions)
        assert silent_at_the_end(script.seen[-1]) == pytest.approx(0.2, abs=0.001)


async def test_frames_that_come_late_do_no_harm() -> None:
    clock, script = ManualClock(), Script(0.1)
    async with Call(make_strategy(clock, script), clock=clock) as call:
        await _silent_since(call, 1.0)
        await call.stop_speaking(0.25)
        await call.until(lambda: call.predictions)
        await call.send(*sound(0.1))
        await call.send(final(finalized=True))
        await call.advance(1.0)
        assert call.turns == []
        await call.advance(0.6)
        await call.until(lambda: call.turns)
        script.probability = 0.9
        await call.start_speaking()
        await call.speak(0.5)
        await call.speak(0.2, level=1)
        await call.stop_speaking(0.2)
        await call.until(lambda: len(call.predictions) == 2)
        await call.send(final("once more", finalized=True))
        await call.advance(0.1)
        await call.until(lambda: len(call.turns) == 2)
        assert silent_at_the_end(script.seen[-1]) < 0.01  # nothing is made up where the pause was heard


def test_jitter_makes_no_silence_up() -> None:
    heard = HeardAudio()
    assert heard.made_up(10.0, 9.8, 0.2) == (0.0, 0.2)
    for at in (9.0, 9.1, 9.2, 9.8):  # the last one late
        heard.came(at, 1600, RATE)
    assert heard.made_up(9.85, 9.6, 0.25) == (0.0, 0.25)
    made_up, silence_there = heard.made_up(11.0, 9.75, 0.25)
    assert made_up == pytest.approx(0.15)
    assert silence_there == pytest.approx(0.25)
    assert heard.made_up(13.0, 9.8, 3.2) == (1.0, 1.0)
