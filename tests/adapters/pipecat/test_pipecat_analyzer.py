"""The detector as an analyzer inside Pipecat's own stop strategy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from call import Call, Script, detector, final
from pipecat.audio.turn.base_turn_analyzer import EndOfTurnState
from pipecat.frames.frames import MetricsFrame, SpeechControlParamsFrame, VADUserStartedSpeakingFrame
from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregatorParams
from pipecat.turns.user_stop import TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies

from adapters.pipecat import TurnDecisionMetricsData, TurnDetectorAnalyzer, TurnDetectorUserTurnStopStrategy
from eot_core import EndpointingOptions, TurnDetector
from eot_core.clock import ManualClock
from eot_core.turn_audio import SURE_AFTER


def call_with(analyzer: TurnDetectorAnalyzer, clock: ManualClock, **options: Any) -> Call:
    strategy = TurnAnalyzerUserTurnStopStrategy(turn_analyzer=analyzer, **options)
    params = LLMUserAggregatorParams(user_turn_strategies=UserTurnStrategies(stop=[strategy]))
    call = Call(clock=clock, params=params)
    analyzer._detector.on("prediction", call.predictions.append)
    return call


async def hear_answer(call: Call, count: int = 1) -> None:
    """Returns when so many scores have come in, and audio after them."""
    await call.until(lambda: len(call.predictions) == count)
    await call.settle()
    await call.speak(0.02, level=1)


@pytest.mark.parametrize(("probability", "delay"), [(0.9, 0.3), (0.1, 2.5)])
async def test_the_turn_ends_after_the_delay(probability: float, delay: float) -> None:
    clock = ManualClock()
    script = Script(probability)
    analyzer = TurnDetectorAnalyzer(detector=detector(script, clock), clock=clock)
    async with call_with(analyzer, clock) as call:
        await call.utter_without_prediction()
        await call.send(final(finalized=True))
        await hear_answer(call)
        await call.advance(delay - 0.25)
        await call.speak(0.02, level=1)
        assert call.turns == []
        await call.advance(0.06)
        assert call.turns == []  # it is audio that brings the news
        await call.speak(0.02, level=1)
        await call.until(lambda: call.turns)
        (frame,) = call.sink.of(MetricsFrame)
        (data,) = frame.data
        assert isinstance(data, TurnDecisionMetricsData)
        assert data.delay == pytest.approx(delay)
        assert data.is_complete is (probability > 0.5)


async def test_a_pause_is_scored_again_where_the_delays_say_so() -> None:
    clock = ManualClock()
    script = Script(0.1)  # 2.28 s, by the first score alone
    options = EndpointingOptions(0.3, 2.5, exponent=1.0, rescore_every=0.4)
    analyzer = TurnDetectorAnalyzer(detector=detector(script, clock, endpointing=options), clock=clock)
    async with call_with(analyzer, clock) as call:
        await call.utter_without_prediction()
        await call.send(final(finalized=True))
        await hear_answer(call)
        script.probability = 0.95
        for count in (2, 3):  # 0.4 and 0.8 s after the end of speech
            assert call.turns == []
            await call.advance(0.4)
            await hear_answer(call, count)
        await call.until(lambda: call.turns)
        assert len(call.sink.of(MetricsFrame)) == 1


async def test_turn_after_turn() -> None:
    clock = ManualClock()
    script = Script()
    analyzer = TurnDetectorAnalyzer(detector=detector(script, clock), clock=clock)
    async with call_with(analyzer, clock) as call:
        for turn in (1, 2):
            assert not analyzer.speech_triggered
            await call.utter_without_prediction()
            assert analyzer.speech_triggered
            await call.send(final(f"{turn}", finalized=True))
            await hear_answer(call, turn)
            await call.advance(0.2)
            await call.speak(0.02, level=1)
            await call.until(lambda turn=turn: len(call.turns) == turn)


async def test_speech_that_resumes_keeps_the_turn_open() -> None:
    clock = ManualClock()
    script = Script(0.1)
    analyzer = TurnDetectorAnalyzer(detector=detector(script, clock), clock=clock)
    async with call_with(analyzer, clock, wait_for_transcript=False) as call:
        await call.utter_without_prediction()
        await hear_answer(call)
        await call.advance(1.0)
        await call.start_speaking()
        await call.speak()
        await call.advance(5.0)
        await call.speak()
        assert call.turns == []


async def test_a_model_that_hangs_ends_in_the_default() -> None:
    clock = ManualClock()
    script = Script()
    script.hold()
    analyzer = TurnDetectorAnalyzer(detector=detector(script, clock), clock=clock)
    async with call_with(analyzer, clock, wait_for_transcript=False) as call:
        await call.utter_without_prediction()
        await call.until(lambda: script.seen)
        await call.advance(0.9)
        await call.speak(0.02, level=1)
        assert call.turns == []
        await call.advance(0.2)
        await call.speak(0.02, level=1)
        await call.until(lambda: call.turns)
        assert call.sink.of(MetricsFrame)[0].data[0].outcome == "default"
        script.release()


async def test_it_tells_its_delays_and_takes_a_language() -> None:
    clock = ManualClock()
    script = Script(0.5)
    analyzer = TurnDetectorAnalyzer(
        detector=detector(script, clock, unlikely_threshold={"de": 0.6}),
        endpointing=EndpointingOptions(min_delay=0.4),
        language="de-DE",
        clock=clock,
    )
    async with call_with(analyzer, clock, wait_for_transcript=False) as call:
        params = [f.turn_params for f in call.sink.of(SpeechControlParamsFrame) if f.turn_params]
        assert (params[0].min_delay, params[0].max_delay) == (0.4, 2.5)
        await call.utter_without_prediction()
        await hear_answer(call)
        await call.advance(2.4)
        await call.speak(0.02, level=1)
        await call.until(lambda: call.turns)
        assert call.sink.of(MetricsFrame)[0].data[0].threshold == 0.6


async def test_complete_is_said_once_and_not_again_before_the_next_speech() -> None:
    clock = ManualClock()
    script = Script()
    analyzer = TurnDetectorAnalyzer(detector=detector(script, clock), clock=clock)
    analyzer.set_sample_rate(16_000)
    said = []
    for spoken in (True, False):
        analyzer.append_audio(b"\x01\x00" * 1600, spoken)
        if spoken:
            await analyzer.analyze_end_of_turn()
            clock.advance(0.2)
    while not script.seen or EndOfTurnState.COMPLETE not in said:
        said.append(analyzer.append_audio(b"\x01\x00" * 320, False))
        await asyncio.sleep(0.002)
    state, metrics = await analyzer.analyze_end_of_turn()
    assert state is EndOfTurnState.COMPLETE
    assert metrics is not None
    for _ in range(5):
        assert analyzer.append_audio(b"\x01\x00" * 320, False) is EndOfTurnState.INCOMPLETE
    await analyzer.cleanup()


async def test_the_next_turn_does_not_hear_the_one_before() -> None:
    clock = ManualClock()
    script = Script()
    analyzer = TurnDetectorAnalyzer(detector=TurnDetector(model=script.spec(pre_speech=0.2), clock=clock), clock=clock)
    async with call_with(analyzer, clock, wait_for_transcript=False) as call:
        for turn in (1, 2):
            await call.speak(1.0)
            await call.utter_without_prediction()
            await hear_answer(call, turn)
            await call.advance(0.2)
            await call.speak(0.02, level=1)
            await call.until(lambda turn=turn: len(call.turns) == turn)
    # 0.2 s before the VAD was sure of the onset, the rest of its start_secs since then, and 0.1 s of speech.
    heard = round((0.2 + (0.2 - SURE_AFTER) + 0.1) * 16_000)
    assert [len(pcm) for pcm in script.seen] == [heard, heard]


@pytest.mark.parametrize("start_secs", [0.06, 0.2, 0.5])
async def test_it_hears_of_a_turn_what_the_strategy_hears(start_secs: float) -> None:
    """A VAD is certain of speech only when it has lasted; the turn began before that."""
    heard = []
    for kind in ("strategy", "analyzer"):
        clock = ManualClock()
        script = Script()
        asked = TurnDetector(model=script.spec(pre_speech=0.2), clock=clock)
        if kind == "strategy":
            call = Call(TurnDetectorUserTurnStopStrategy(detector=asked, clock=clock), clock=clock)
        else:
            call = call_with(TurnDetectorAnalyzer(detector=asked, clock=clock), clock)
        async with call:
            await call.speak(1.0)
            await call.send(VADUserStartedSpeakingFrame(start_secs=start_secs))
            await call.speak(0.6)
            await call.speak(0.2, level=1)
            await call.stop_speaking(0.2)
            await call.until(lambda script=script: script.seen)
        heard.append(script.seen[0])
    assert len(heard[0]) == len(heard[1])
    assert (heard[0] == heard[1]).all()


async def test_it_may_be_used_again_after_cleanup() -> None:
    clock = ManualClock()
    analyzer = TurnDetectorAnalyzer(detector=detector(Script(), clock), clock=clock)
    analyzer.set_sample_rate(16_000)
    for _ in range(2):
        assert analyzer.append_audio(b"\x01\x00" * 320, True) is EndOfTurnState.INCOMPLETE
        assert await analyzer.analyze_end_of_turn() == (EndOfTurnState.INCOMPLETE, None)
        await analyzer.cleanup()
        await analyzer.cleanup()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"detector": "x"}, TypeError, "detector must be"),
        ({"endpointing": "x"}, TypeError, "options must be EndpointingOptions"),
        ({"vad_stop_secs": -1.0}, ValueError, "vad_stop_secs must be"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        TurnDetectorAnalyzer(**options)


def test_without_arguments() -> None:
    analyzer = TurnDetectorAnalyzer(detector=TurnDetector(model="smart-turn"))
    assert analyzer.params.max_delay == 2.5
