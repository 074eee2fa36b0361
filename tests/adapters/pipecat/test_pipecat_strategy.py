"""The stop strategy inside a real pipeline and a real user aggregator, on a clock that is moved by hand."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from call import Call, Script, detector, final, interim, stt_metadata
from pipecat.frames.frames import MetricsFrame, VADUserStoppedSpeakingFrame
from pipecat.metrics.metrics import TurnMetricsData
from pipecat.transcriptions.language import Language

from adapters.pipecat import TurnDecisionMetricsData, TurnDetectorUserTurnStopStrategy
from eot_core import EndpointingOptions, TurnDetector
from eot_core.clock import ManualClock
from eot_core.events import DecisionReason

NEAR = pytest.approx


def make(script: Script, clock: ManualClock, **options: object) -> TurnDetectorUserTurnStopStrategy:
    return TurnDetectorUserTurnStopStrategy(detector=detector(script, clock), clock=clock, **options)


async def test_likely_ends_the_turn_min_delay_after_the_true_end_of_speech() -> None:
    clock = ManualClock(100.0)
    async with Call(make(Script(0.9), clock), clock=clock) as call:
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
    async with Call(make(Script(0.1), clock), clock=clock) as call:
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
    async with Call(make(Script(0.9), clock, endpointing=options), clock=clock) as call:
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
    async with Call(make(script, clock), clock=clock) as call:
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
    async with Call(make(script, clock), clock=clock) as call:
        await call.start_speaking()
        await call.speak(0.5)
        await call.stop_speaking(0.05)
        await call.start_speaking()
        await call.advance(3.0)
        assert script.seen == call.turns == []


async def test_a_model_that_hangs_costs_the_deadline_and_no_more() -> None:
    clock = ManualClock()
    script = Script()
    script.hold()
    async with Call(make(script, clock), clock=clock) as call:
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
    async with Call(make(script, clock, endpointing=options), clock=clock) as call:
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
    async with Call(make(script, clock), clock=clock) as call:
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
    async with Call(make(Script(0.2), clock), clock=clock) as call:
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


async def test_the_transcript_is_waited_for_and_ends_the_turn_at_once_when_final() -> None:
    clock = ManualClock()
    async with Call(make(Script(), clock), clock=clock) as call:
        await call.send(stt_metadata(0.9))
        await call.utter()
        await call.advance(0.4)
        assert call.turns == []
        await call.send(final(finalized=True))
        await call.until(lambda: call.turns)


async def test_a_transcript_that_is_not_marked_final_counts_once_the_stt_is_due() -> None:
    clock = ManualClock()
    async with Call(make(Script(), clock), clock=clock) as call:
        await call.send(stt_metadata(0.9))
        await call.utter()
        await call.send(final())
        await call.advance(0.5)  # 0.7 s after the end of speech
        assert call.turns == []
        await call.advance(0.25)
        await call.until(lambda: call.turns)


async def test_a_transcript_later_than_the_stt_was_due_ends_the_turn_at_once() -> None:
    clock = ManualClock()
    async with Call(make(Script(), clock), clock=clock) as call:
        await call.send(stt_metadata(0.35))
        await call.utter()
        await call.advance(3.0)
        assert call.turns == []
        await call.send(final())
        await call.until(lambda: call.turns)


async def test_an_interim_takes_back_that_the_transcript_was_final() -> None:
    clock = ManualClock()
    async with Call(make(Script(), clock), clock=clock) as call:
        await call.send(stt_metadata(2.0))
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
    clock = ManualClock()
    async with Call(make(Script(), clock), clock=clock) as call:
        await call.send(stt_metadata(5.0))
        await call.start_speaking()
        await call.speak()
        await call.send(final(finalized=True))
        await call.stop_speaking()
        await call.until(lambda: call.predictions)
        await call.advance(0.2)
        await call.until(lambda: call.turns)


async def test_a_final_transcript_of_an_earlier_pause_does_not_stand_for_the_next() -> None:
    clock = ManualClock()
    async with Call(make(Script(0.1), clock), clock=clock) as call:
        await call.send(stt_metadata(9.0))
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
    strategy = make(Script(), clock, wait_for_transcript=False)
    async with Call(strategy, clock=clock) as call:
        await call.utter()
        await call.advance(0.2)
        await call.until(lambda: call.turns)
        strategy.wait_for_transcript = True
        assert strategy.wait_for_transcript is True


async def test_transcripts_of_speech_that_the_vad_did_not_hear() -> None:
    clock = ManualClock()
    async with Call(make(Script(), clock), clock=clock) as call:
        await call.send(stt_metadata(1.0))
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
    clock = ManualClock()
    async with Call(make(Script(), clock), clock=clock) as call:
        await call.send(stt_metadata(1.0))
        await call.send(final("very", finalized=True))
        await call.advance(0.5)
        assert call.turns == []
        await call.send(final("softly", finalized=True))
        await call.until(lambda: call.turns)


async def test_speech_and_its_end_in_the_same_moment_as_a_final_transcript() -> None:
    """Pipecat processes system frames and transcripts in two tasks: neither may undo what the other has noted."""
    clock = ManualClock()
    strategy = make(Script(), clock)
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
    clock = ManualClock()
    async with Call(make(Script(0.1), clock), clock=clock) as call:
        await call.send(stt_metadata(1.0), final("so"))
        await call.start_speaking()
        await call.advance(5.0)
        assert call.turns == []


async def test_the_language_of_the_transcript_picks_the_threshold() -> None:
    clock = ManualClock()
    script = Script(0.5)
    asked = detector(script, clock, unlikely_threshold={"en": 0.4, "de": 0.6})
    strategy = TurnDetectorUserTurnStopStrategy(detector=asked, clock=clock)
    async with Call(strategy, clock=clock) as call:
        await call.start_speaking()
        await call.speak()
        await call.send(interim("ich möchte gern", language=Language.DE_AT))
        await call.stop_speaking()
        await call.until(lambda: call.decisions)
        assert (call.decisions[0].reason, call.decisions[0].threshold) == (DecisionReason.UNLIKELY, 0.6)
        assert call.decisions[0].language == "de-AT"


async def test_a_language_that_becomes_known_in_the_pause_changes_the_decision() -> None:
    clock = ManualClock()
    asked = detector(Script(0.5), clock, unlikely_threshold={"en": 0.4, "de": 0.6})
    strategy = TurnDetectorUserTurnStopStrategy(detector=asked, clock=clock)
    async with Call(strategy, clock=clock) as call:
        await call.utter()
        assert call.decisions[0].reason is DecisionReason.LIKELY
        await call.advance(0.5)
        await call.send(final("ich möchte gern", language=Language.DE, finalized=True))
        await call.advance(1.5)
        assert call.turns == []  # it is German, so it was not likely
        await call.advance(0.4)
        await call.until(lambda: call.turns)
        assert call.decisions[-1].reason is DecisionReason.UNLIKELY
        assert len(call.predictions) == 1


async def test_a_word_or_two_do_not_change_a_language_that_is_known() -> None:
    clock = ManualClock()
    asked = detector(Script(0.5), clock, unlikely_threshold={"en": 0.4, "de": 0.6})
    strategy = TurnDetectorUserTurnStopStrategy(detector=asked, clock=clock)
    async with Call(strategy, clock=clock) as call:
        await call.start_speaking()
        await call.speak()
        await call.send(interim("I would like", language=Language.EN), interim("Ja", language=Language.DE))
        await call.stop_speaking()
        await call.until(lambda: call.decisions)
        assert call.decisions[0].language == "en"


async def test_a_language_that_the_model_does_not_know_ends_turns_as_on_livekit() -> None:
    clock = ManualClock()
    script = Script(0.1)
    asked = TurnDetector(model=script.spec(thresholds={"en": 0.5}), clock=clock)
    strategy = TurnDetectorUserTurnStopStrategy(detector=asked, clock=clock)
    async with Call(strategy, clock=clock) as call:
        await call.utter()
        assert call.decisions[0].reason is DecisionReason.UNLIKELY
        await call.send(final("hyvää päivää", language=Language.FI, finalized=True))
        await call.advance(0.2)
        await call.until(lambda: call.turns)
        assert (call.decisions[-1].reason, call.decisions[-1].source) == (DecisionReason.DEFAULT, "default")


async def test_metrics_are_pipecats_own_and_more() -> None:
    clock = ManualClock()
    async with Call(make(Script(0.75), clock), clock=clock) as call:
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
    async with Call(make(script, clock), clock=clock) as call:
        for turn in (1, 2, 3):
            await call.utter()
            await call.send(final(f"turn {turn}", finalized=True))
            await call.advance(0.2)
            await call.until(lambda turn=turn: len(call.turns) == turn)
        assert [text for _, text in call.turns] == ["turn 1", "turn 2", "turn 3"]


async def test_audio_at_any_rate_and_in_stereo() -> None:
    from call import sound

    clock = ManualClock()
    script = Script()
    async with Call(make(script, clock), clock=clock) as call:
        await call.start_speaking()
        await call.send(*sound(0.2, rate=48_000, channels=2), *sound(0.2, rate=8_000), *sound(0.2))
        await call.stop_speaking()
        await call.until(lambda: script.seen)
        assert len(script.seen[0]) == NEAR(0.6 * 16_000, rel=0.02)


async def test_a_bad_frame_harms_nobody() -> None:
    from pipecat.frames.frames import InputAudioRawFrame

    clock = ManualClock()
    async with Call(make(Script(), clock), clock=clock) as call:
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
