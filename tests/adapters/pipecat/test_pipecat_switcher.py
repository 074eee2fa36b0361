"""STTs behind a switcher, which lets no service's word pass but that of the STT in use."""

from __future__ import annotations

import pytest
from call import Call, Script, make_processor
from pipecat.frames.frames import Frame, ManuallySwitchServiceFrame, STTMetadataFrame, UserStoppedSpeakingFrame
from pipecat.pipeline.service_switcher import ServiceSwitcher, ServiceSwitcherStrategyManual
from pipecat.processors.frame_processor import FrameDirection
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies
from pipecat_speech import frames, silence, word

from adapters.pipecat.scripted import ScriptedSTT
from eot_core.clock import ManualClock


class _TurnBased(ScriptedSTT):
    """Recommends to take the turns itself."""

    async def push_frame(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        if isinstance(frame, STTMetadataFrame):
            frame.user_turn_strategies = ExternalUserTurnStrategies()
        await super().push_frame(frame, direction)


@pytest.mark.parametrize("emits", [False, True])
@pytest.mark.parametrize("kind", [ScriptedSTT, _TurnBased])
@pytest.mark.parametrize("place", ["before", "after"])
async def test_the_detector_takes_the_turns(place: str, kind: type[ScriptedSTT], emits: bool, log: list[str]) -> None:
    clock, script = ManualClock(), Script()
    stts = [kind(["I am ready"]), kind(["ich bin bereit"], language="de")]
    switcher = ServiceSwitcher(services=stts, strategy_type=ServiceSwitcherStrategyManual)
    processor = make_processor(clock, script, emit_turn_frames=emits)
    async with Call(clock=clock, before=[processor, switcher] if place == "before" else [switcher, processor]) as call:
        call.listen(processor.strategy)
        await call.settle()
        for number, said in enumerate(("I am ready", "ich bin bereit"), start=1):
            for frame in frames(silence(0.5), word(), silence(0.6)):
                await call.send(frame)
            await call.until(lambda number=number: len(call.predictions) == number)
            await call.advance(0.3)
            await call.until(lambda number=number: len(call.turns) == number)
            assert call.turns[-1][1] == said
            assert len(call.sink.of(UserStoppedSpeakingFrame)) == number
            await call.send(ManuallySwitchServiceFrame(service=stts[1]))
        if not emits:
            assert processor.strategy.active
    assert [line for line in log if line.startswith(("WARNING", "ERROR")) and "older Silero" not in line] == []
