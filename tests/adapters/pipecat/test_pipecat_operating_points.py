"""An operating point gives its table's threshold and delays: in the strategy, and in the analyzer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from call import Call, Script, final, interim
from pipecat.frames.frames import MetricsFrame
from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregatorParams
from pipecat.turns.user_stop import TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies

from adapters.pipecat import TurnDetectorAnalyzer, TurnDetectorUserTurnStopStrategy
from eot_core import EndpointingOptions, ModelSpec, OperatingPoint, TurnDetector
from eot_core.clock import ManualClock
from eot_core.endpointing import DETECTOR_MIN_DELAY
from eot_core.models.eot_open import EOT_OPEN_1
from eot_core.models.smart_turn import SMART_TURN_V3_2

POINTS = [
    OperatingPoint(max_cutoff_rate=0.03),
    OperatingPoint(max_cutoff_rate=0.1),
    OperatingPoint(max_latency=0.4),
    OperatingPoint("patient"),
]
MODELS = [EOT_OPEN_1, SMART_TURN_V3_2]
WORDS = "these are many words"


def scripted(spec: ModelSpec, script: Script) -> ModelSpec:
    return replace(spec, load=lambda: script, file=None, sha256=None)


def low(options: EndpointingOptions) -> float:
    return max(DETECTOR_MIN_DELAY, options.min_delay)


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.description)
@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
async def test_a_language_that_is_switched_in_mid_call(spec: ModelSpec, point: OperatingPoint) -> None:
    clock, script = ManualClock(), Script()
    asked = TurnDetector(model=scripted(spec, script), operating_point=point, clock=clock)
    async with Call(TurnDetectorUserTurnStopStrategy(detector=asked, clock=clock), clock=clock) as call:
        for tag in ("ja", "pt-BR", "en-GB", "zh_Hans_CN", "sv"):
            wanted = point.resolve(spec.name, tag)
            for script.probability, delay in (
                (wanted.threshold, low(wanted.options)),
                (wanted.threshold - 0.001, wanted.options.max_delay),
            ):
                turns, scores = len(call.turns), len(call.predictions)
                await call.start_speaking()
                await call.speak()
                await call.send(interim(WORDS, language=tag))
                await call.stop_speaking(0.2)
                await call.until(lambda scores=scores: len(call.predictions) > scores)
                await call.send(final(WORDS, language=tag, finalized=True))
                assert (call.decisions[-1].threshold, call.decisions[-1].language) == (wanted.threshold, tag)
                await call.advance(delay - 0.2 - 0.01)
                assert len(call.turns) == turns
                await call.advance(0.02)
                await call.until(lambda turns=turns: len(call.turns) > turns)
                await call.advance(1.0)


@pytest.mark.parametrize(
    ("options", "threshold", "delays"),
    [
        ({"unlikely_threshold": 0.33}, 0.33, None),
        ({"unlikely_threshold": {"de": 0.33}}, 0.33, None),
        ({"unlikely_threshold": {"ja": 0.33}}, None, None),
        ({"endpointing": EndpointingOptions(0.5, 1.7)}, None, (0.5, 1.7)),
    ],
)
async def test_what_is_given_goes_before_it(
    options: dict[str, object], threshold: float | None, delays: tuple[float, float] | None
) -> None:
    clock, script, point = ManualClock(), Script(), OperatingPoint(max_cutoff_rate=0.1)
    asked = TurnDetector(model=scripted(SMART_TURN_V3_2, script), operating_point=point, clock=clock, **options)
    wanted = point.resolve(SMART_TURN_V3_2.name, "de")
    threshold = threshold or wanted.threshold
    delays = delays or (low(wanted.options), wanted.options.max_delay)
    async with Call(TurnDetectorUserTurnStopStrategy(detector=asked, clock=clock), clock=clock) as call:
        await call.send(interim(WORDS, language="de"))
        for script.probability, delay in zip((threshold, threshold - 0.001), delays, strict=True):
            await call.utter()
            assert call.decisions[-1].threshold == threshold
            assert call.decisions[-1].delay == pytest.approx(delay)


@pytest.mark.parametrize("language", ["en", "pt-BR", "ja"])
@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
async def test_in_the_stock_strategy(spec: ModelSpec, language: str) -> None:
    clock, script, point = ManualClock(), Script(), OperatingPoint(max_latency=0.4)
    wanted = point.resolve(spec.name, language)
    asked = TurnDetector(model=scripted(spec, script), operating_point=point, clock=clock)
    analyzer = TurnDetectorAnalyzer(detector=asked, language=language, clock=clock)
    stock = TurnAnalyzerUserTurnStopStrategy(turn_analyzer=analyzer, wait_for_transcript=False)
    params = LLMUserAggregatorParams(user_turn_strategies=UserTurnStrategies(stop=[stock]))
    async with Call(clock=clock, params=params) as call:
        for turn, (script.probability, delay) in enumerate(
            ((wanted.threshold, low(wanted.options)), (wanted.threshold - 0.001, wanted.options.max_delay)), start=1
        ):
            await call.utter_without_prediction()
            await call.until(lambda turn=turn: len(script.seen) == turn)
            await call.until(lambda: analyzer._metrics)
            await call.advance(delay - 0.2 - 0.01)
            await call.speak(0.02, level=1)
            assert len(call.turns) == turn - 1
            await call.advance(0.02)
            await call.speak(0.02, level=1)
            await call.until(lambda turn=turn: len(call.turns) == turn)
            data = call.sink.of(MetricsFrame)[-1].data[0]
            assert (data.threshold, data.delay) == (wanted.threshold, pytest.approx(delay))
