"""The language that the STT names, inside a real pipeline, on a clock that is moved by hand."""

from __future__ import annotations

import pytest
from call import Call, Script, detector, final, interim
from pipecat.transcriptions.language import Language

from adapters.pipecat import TurnDetectorUserTurnStopStrategy
from eot_core import TurnDetector
from eot_core.clock import ManualClock
from eot_core.events import DecisionReason

NEAR = pytest.approx


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
