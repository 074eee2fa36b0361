"""The stop strategy inside a real pipeline and a real user aggregator, on a clock that is moved by hand."""

from __future__ import annotations

import numpy as np
import pytest
from call import Call, Script, final, make_strategy, sound
from pipecat.frames.frames import InputAudioRawFrame, MetricsFrame
from pipecat.metrics.metrics import TurnMetricsData

from adapters.pipecat import TurnDecisionMetricsData, TurnDetectorUserTurnStopStrategy
from eot_core import EndpointingOptions
from eot_core.clock import ManualClock
from eot_core.events import DecisionReason

NEAR = pytest.approx


async def test_likely_ends_the_turn_min_delay_after_the_true_end_of_speech() -> None:
    clock = ManualClock(100.0)
    async with Call(make_strategy(clock, Script(0.9)), clock=clock) as call:
        await call.utter()
        await call.send(final(finalized=True))
        assert call.turns == []
        await call.advance(0.05)  # 0.25 s after the end of speech
        assert call.turns == []
        await call.advance(0.06)
        await call.until(lambda: call.turns)
        (decision,) = call.decisions
        assert decision.ends_turn
        assert decision.reason is DecisionReason.LIKELY
        assert decision.delay == NEAR(0.3)
        # Pipecat's wall-clock stamps cost what the frame takes to get here, no more.
        assert decision.speech_ended_at == NEAR(99.8, abs=0.1)
        assert call.turns[0][1] == "hello there"


async def test_unlikely_ends_the_turn_after_max_delay() -> None:
    clock = ManualClock()
    async with Call(make_strategy(clock, Script(0.1)), clock=clock) as call:
        await call.utter()
        await call.send(final(finalized=True))
        await call.advance(2.0)
        assert call.turns == []
        await call.advance(0.4)
        await call.until(lambda: call.turns)
        assert call.decisions[0].reason is DecisionReason.UNLIKELY
        assert call.decisions[0].delay == NEAR(2.5)


async def test_delays_of_the_users_own() -> None:
    clock = ManualClock()
    options = EndpointingOptions(min_delay=0.8, max_delay=4.0)
    async with Call(make_strategy(clock, Script(0.9), endpointing=options), clock=clock) as call:
        await call.utter()
        await call.send(final(finalized=True))
        await call.advance(0.5)
        assert call.turns == []
        await call.advance(0.2)
        await call.until(lambda: call.turns)


@pytest.mark.parametrize("stop_secs", [0.04, 0.1])
async def test_a_vad_that_is_quick_does_not_make_the_model_hear_less_silence(stop_secs: float) -> None:
    """It was measured with 0.2 s; and the turn ends no later for that."""
    clock, script = ManualClock(), Script(0.9)
    async with Call(make_strategy(clock, script), clock=clock) as call:
        await call.start_speaking()
        await call.speak(0.5)
        await call.speak(stop_secs, level=1)
        await call.stop_speaking(stop_secs)
        await call.send(final(finalized=True))
        for _ in range(22):
            if not script.seen:
                await call.advance(0.01)
                await call.speak(0.02, level=1)
        await call.until(lambda: call.predictions)
        (heard,) = script.seen
        loud = int(np.nonzero(np.abs(heard) > 1)[0][-1]) + 1
        assert (len(heard) - loud) / 16_000 == NEAR(0.2, abs=0.002)
        await call.advance(0.15)
        await call.until(lambda: call.turns)
        assert call.decisions[0].delay == NEAR(0.3)


async def test_speech_that_resumes_before_a_quick_vads_pause_is_asked_about() -> None:
    clock, script = ManualClock(), Script(0.9)
    async with Call(make_strategy(clock, script), clock=clock) as call:
        await call.utter_without_prediction(0.5, stop_secs=0.05)
        await call.start_speaking()
        await call.advance(3.0)
        assert script.seen == call.turns == []


async def test_a_model_that_hangs_costs_the_deadline_and_no_more() -> None:
    clock = ManualClock()
    script = Script()
    script.hold()
    async with Call(make_strategy(clock, script), clock=clock) as call:
        await call.start_speaking()
        await call.speak()
        await call.stop_speaking()
        await call.send(final(finalized=True))
        await call.until(lambda: script.seen)
        await call.advance(0.99)
        assert call.turns == []
        await call.advance(0.02)
        await call.until(lambda: call.turns)
        assert call.decisions[0].reason is DecisionReason.DEFAULT
        assert call.predictions[0].reason == "timeout"
        script.release()


async def test_a_further_score_that_hangs_delays_no_turn_that_is_decided() -> None:
    clock = ManualClock()
    script = Script(0.8)  # 0.68 s after the end of speech
    options = EndpointingOptions(0.4, 1.8, exponent=1.0, rescore_every=0.4)
    async with Call(make_strategy(clock, script, endpointing=options), clock=clock) as call:
        await call.utter()
        await call.send(final(finalized=True))
        script.hold()
        await call.advance(0.25)  # at 0.4 s: another score is asked for
        await call.until(lambda: len(script.seen) == 2)
        await call.advance(0.15)
        assert call.turns == []
        await call.advance(0.15)
        await call.until(lambda: call.turns)
        script.release()
        await call.until(lambda: len(call.decisions) == 1)


async def test_speech_that_resumes_while_the_model_works_never_ends_the_turn() -> None:
    clock = ManualClock()
    script = Script(0.99)
    script.hold()
    async with Call(make_strategy(clock, script), clock=clock) as call:
        await call.start_speaking()
        await call.speak()
        await call.stop_speaking()
        await call.send(final(finalized=True))
        await call.until(lambda: script.seen)
        await call.start_speaking()
        script.release()
        await call.advance(10)
        assert call.turns == []
        assert call.decisions == []
        await call.speak()
        await call.stop_speaking()
        await call.until(lambda: call.predictions)
        await call.send(final("and more", finalized=True))
        await call.advance(0.2)
        await call.until(lambda: call.turns)
        assert call.turns[0][1] == "hello there and more"


async def test_speech_that_resumes_before_the_delay_is_over_is_on_record() -> None:
    clock = ManualClock()
    async with Call(make_strategy(clock, Script(0.2)), clock=clock) as call:
        await call.utter()
        await call.send(final(finalized=True))
        await call.advance(1.0)
        await call.start_speaking()
        await call.advance(5.0)
        assert call.turns == []
        assert [(d.ends_turn, d.reason) for d in call.decisions] == [
            (True, DecisionReason.UNLIKELY),
            (False, DecisionReason.RESUMED),
        ]


async def test_metrics_are_pipecats_own_and_more() -> None:
    clock = ManualClock()
    async with Call(make_strategy(clock, Script(0.75)), clock=clock) as call:
        await call.utter()
        (frame,) = call.sink.of(MetricsFrame)
        (data,) = [d for d in frame.data if isinstance(d, TurnMetricsData)]
        assert isinstance(data, TurnDecisionMetricsData)
        assert (data.is_complete, data.probability, data.model) == (True, 0.75, "scripted")
        assert (data.threshold, data.source, data.outcome, data.reason) == (0.5, "local", "answered", "likely")
        assert data.delay == NEAR(0.3)
        assert data.e2e_processing_time_ms == NEAR(call.predictions[0].total_time * 1000)
        assert data.processor == call.strategy.name


async def test_each_turn_starts_afresh() -> None:
    clock = ManualClock()
    script = Script(0.9)
    async with Call(make_strategy(clock, script), clock=clock) as call:
        for turn in (1, 2, 3):
            await call.utter()
            await call.send(final(f"turn {turn}", finalized=True))
            await call.advance(0.2)
            await call.until(lambda turn=turn: len(call.turns) == turn)
        assert [text for _, text in call.turns] == ["turn 1", "turn 2", "turn 3"]


async def test_audio_at_any_rate_and_in_stereo() -> None:
    clock = ManualClock()
    script = Script()
    async with Call(make_strategy(clock, script), clock=clock) as call:
        await call.start_speaking()
        await call.send(*sound(0.2, rate=48_000, channels=2), *sound(0.2, rate=8_000), *sound(0.2))
        await call.stop_speaking()
        await call.until(lambda: script.seen)
        assert len(script.seen[0]) == NEAR(0.6 * 16_000, rel=0.02)


async def test_a_bad_frame_harms_nobody() -> None:
    clock = ManualClock()
    async with Call(make_strategy(clock), clock=clock) as call:
        await call.send(
            InputAudioRawFrame(audio=b"", sample_rate=16_000, num_channels=1),
            InputAudioRawFrame(audio=b"\x01", sample_rate=16_000, num_channels=2),
            InputAudioRawFrame(audio=b"\x01\x00\x02", sample_rate=1, num_channels=1),
        )
        await call.utter()
        await call.send(final(finalized=True))
        await call.advance(0.2)
        await call.until(lambda: call.turns)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"detector": "smart-turn"}, TypeError, "detector must be"),
        ({"endpointing": 0.3}, TypeError, "endpointing must be"),
        ({"wait_for_transcript": "yes"}, TypeError, "wait_for_transcript must be"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        TurnDetectorUserTurnStopStrategy(**options)
