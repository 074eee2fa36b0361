"""Heads of a calibration file in a pipeline: which one judges a pause."""

from __future__ import annotations

from pathlib import Path

import pytest
from call import Call, interim
from own_head_files import WITH_HEAD, write_own_heads
from pipecat.transcriptions.language import Language

from adapters.pipecat import TurnDetector, TurnDetectorUserTurnStopStrategy
from eot_core.clock import ManualClock

pytest.importorskip("onnx")
MODEL = "eot-open-1-fast-4s"


@pytest.mark.parametrize(("language", "judges"), [(None, "en"), (Language.DE_AT, "de"), (Language.FR, None)])
async def test_the_language_of_a_transcript_picks_the_head_of_the_same_pause(
    language: Language | None, judges: str | None, tmp_path: Path
) -> None:
    clock = ManualClock()
    path = write_own_heads(tmp_path / "c.json", {"en": 0.5, "de": -0.5}, MODEL, languages=("fr",))
    detector = TurnDetector(model=MODEL, calibration=path, clock=clock)
    detector.warm_up()
    strategy = TurnDetectorUserTurnStopStrategy(detector=detector, clock=clock)
    async with Call(strategy, clock=clock) as call:
        await call.start_speaking()
        await call.speak()
        if language is not None:
            await call.send(interim("was auch immer", language=language))
        await call.stop_speaking()
        await call.until(lambda: call.decisions)
        (decision,) = call.decisions
        if judges is None:
            assert decision.model == MODEL
            assert decision.threshold != WITH_HEAD["threshold"]
        else:
            assert decision.model.startswith(f"{MODEL}+{judges}-")
            assert decision.threshold == WITH_HEAD["threshold"]
