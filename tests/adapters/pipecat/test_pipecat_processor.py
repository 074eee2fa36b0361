"""One processor in a pipeline, and an aggregator that is not configured."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from call import Call, Script, detector, final, make_processor, sound, stt_metadata
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMServiceMetadataFrame,
    ServiceMetadataFrame,
    StartFrame,
    STTMetadataFrame,
    TextFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.tests.utils import run_test
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies, UserTurnStrategies
from pipecat_speech import frames, silence, word

from adapters.pipecat import TurnDetectorAnalyzer, TurnDetectorProcessor
from adapters.pipecat.scripted import ScriptedSTT
from eot_core import EndpointingOptions, TurnDetector
from eot_core.clock import ManualClock
from eot_core.events import DecisionReason


@pytest.mark.parametrize("position", ["before the STT", "after the STT"])
async def test_a_bot_with_nothing_else_configured_takes_its_turns_with_the_detector(position: str) -> None:
    clock = ManualClock()
    processor = make_processor(clock)
    stt = ScriptedSTT(["I am ready"], language="de")
    before = [processor, stt] if position == "before the STT" else [stt, processor]
    async with Call(clock=clock, before=before) as call:
        call.listen(processor.strategy)
        await call.send(*frames(silence(0.5), word(), silence(0.6)))
        await call.until(lambda: call.predictions)
        assert call.turns == []
        await call.advance(0.3)
        await call.until(lambda: call.turns)
        assert call.turns[0][1] == "I am ready"
        assert [d.reason for d in call.decisions] == [DecisionReason.LIKELY]
        assert call.decisions[0].delay == pytest.approx(0.3)
        assert processor.strategy.stt_latency == 0.05
        assert len(call.sink.of(VADUserStartedSpeakingFrame)) == 1


async def test_unlikely_turns_of_an_aggregator_that_is_not_configured() -> None:
    clock = ManualClock()
    processor = make_processor(clock, Script(0.1))
    async with Call(clock=clock, before=[processor, ScriptedSTT(["I am"])]) as call:
        call.listen(processor.strategy)
        await call.send(*frames(silence(0.5), word(), silence(0.6)))
        await call.until(lambda: call.predictions)
        await call.advance(1.5)
        assert call.turns == []
        await call.advance(1.0)
        await call.until(lambda: call.turns)
        assert call.decisions[0].delay == pytest.approx(2.5)


async def test_every_frame_is_passed_in_order_and_only_a_recommendation_is_added() -> None:
    sent: list[Frame] = [*sound(0.06), final(), TextFrame("hello"), stt_metadata()]
    down, up = await run_test(TurnDetectorProcessor(vad_analyzer=None), frames_to_send=sent)
    added = [f for f in down if type(f) is ServiceMetadataFrame]
    assert len(added) == 1
    assert [f.id for f in down if f not in added and f not in sent] == []
    kinds = (InputAudioRawFrame, TranscriptionFrame)
    assert [f for f in down if isinstance(f, kinds)] == [f for f in sent if isinstance(f, kinds)]
    assert {f.id for f in sent} <= {f.id for f in down}
    assert {type(f) for f in up} == {ServiceMetadataFrame}


async def test_a_warning_when_the_applications_own_strategies_win(log: list[str]) -> None:
    clock = ManualClock()
    params = LLMUserAggregatorParams(user_turn_strategies=UserTurnStrategies())
    processor = make_processor(clock)
    async with Call(clock=clock, before=[processor], params=params) as call:
        await call.start_speaking()
        await call.start_speaking()
        assert not processor.strategy.active
    (line,) = [line for line in log if "does not decide" in line]
    assert line.startswith("WARNING")
    assert "scripted" in line
    assert "user_turn_strategies, which always win" in line


async def test_a_warning_when_another_strategy_took_the_place(log: list[str]) -> None:
    clock = ManualClock()
    processor = make_processor(clock)
    async with Call(clock=clock, before=[processor]) as call:
        await call.settle()
        assert processor.strategy.active
        await call.aggregator._user_turn_controller.update_strategies(UserTurnStrategies())
        await call.start_speaking()
    (line,) = [line for line in log if "does not decide" in line]
    assert "replaced by another" in line


async def test_no_warning_when_all_is_well(log: list[str]) -> None:
    clock = ManualClock()
    async with Call(clock=clock, before=[make_processor(clock)]) as call:
        await call.utter_without_prediction()
    assert [line for line in log if line.startswith(("WARNING", "ERROR"))] == []


async def test_turns_without_an_aggregator() -> None:
    clock = ManualClock()
    processor = make_processor(clock, emit_turn_frames=True)
    started: list[Any] = []
    processor.add_event_handler("on_user_turn_started", lambda *_: started.append(1))
    async with Call(clock=clock, before=[processor], aggregator=False) as call:
        call.listen(processor.strategy)
        await call.send(*frames(silence(0.5), word(), silence(0.6)))
        await call.until(lambda: call.predictions)
        assert len(call.sink.of(UserStartedSpeakingFrame)) == len(call.source.of_up(UserStartedSpeakingFrame)) == 1
        assert len(call.sink.of(InterruptionFrame)) == 1
        assert call.sink.of(UserStoppedSpeakingFrame) == []
        await call.advance(0.3)
        await call.until(lambda: call.sink.of(UserStoppedSpeakingFrame))
        assert len(call.source.of_up(UserStoppedSpeakingFrame)) == 1
        assert started == [1]


async def test_an_aggregator_that_is_not_configured_follows_the_turns_that_are_emitted() -> None:
    clock = ManualClock()
    processor = make_processor(clock, emit_turn_frames=True)
    async with Call(clock=clock, before=[processor, ScriptedSTT(["I am ready"])]) as call:
        call.listen(processor.strategy)
        await call.send(*frames(silence(0.5), word(), silence(0.6)))
        await call.until(lambda: call.predictions)
        await call.advance(0.3)
        await call.until(lambda: call.turns)
        assert call.turns[0][1] == "I am ready"
        assert len(call.sink.of(UserStoppedSpeakingFrame)) == 1


class _TurnBasedSTT(FrameProcessor):
    """Recommends to take turns by itself, after the pipeline has started."""

    def __init__(self, kind: type[ServiceMetadataFrame]) -> None:
        super().__init__()
        self._kind = kind

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            more = {"ttfs_p99_latency": 0.4} if self._kind is STTMetadataFrame else {}
            await self.broadcast_frame(
                self._kind, service_name="flux", user_turn_strategies=ExternalUserTurnStrategies(), **more
            )


@pytest.mark.parametrize("kind", [ServiceMetadataFrame, STTMetadataFrame])
@pytest.mark.parametrize("first", ["processor", "stt"])
async def test_a_service_that_recommends_to_take_turns_itself_does_not_replace_the_detector(
    first: str, kind: type[ServiceMetadataFrame], log: list[str]
) -> None:
    clock = ManualClock()
    processor = make_processor(clock)
    before: list[FrameProcessor] = [processor, _TurnBasedSTT(kind)]
    if first == "stt":
        before.reverse()
    async with Call(clock=clock, before=before) as call:
        await call.send(*sound(0.02))
        assert processor.strategy.active
    assert any("flux recommends to take the turns by itself" in line for line in log)


class _RealtimeLLM(FrameProcessor):
    """Announces itself when the pipeline starts."""

    def __init__(self, strategies: UserTurnStrategies | None) -> None:
        super().__init__()
        self._strategies = strategies

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self.broadcast_frame(
                LLMServiceMetadataFrame,
                service_name="realtime",
                is_realtime_service=True,
                user_turn_strategies=self._strategies,
            )


class _SlowStart(FrameProcessor):
    """Connects once it has passed the start on, and holds what comes after it until then."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("recommends", [None, ExternalUserTurnStrategies()])
@pytest.mark.parametrize("emits", [False, True])
async def test_a_realtime_service_without_transcripts(
    emits: bool, recommends: UserTurnStrategies | None, slow: bool
) -> None:
    """Whatever it recommends, and whoever announces first: turns end without a transcript."""
    clock = ManualClock()
    processor = make_processor(clock, vad_analyzer=None, emit_turn_frames=emits)
    before: list[FrameProcessor] = [processor, *([_SlowStart()] if slow else [])]
    async with Call(clock=clock, before=before, after=[_RealtimeLLM(recommends)]) as call:
        call.listen(processor.strategy)
        await call.until(lambda: processor.strategy.active)
        await call.settle()
        await call.utter()
        await call.advance(0.2)
        await call.until(lambda: call.turns)


@pytest.mark.parametrize(("chosen", "waits"), [(True, False), (False, True), (None, True)])
async def test_realtime_mode_that_the_application_chose(chosen: bool | None, waits: bool) -> None:
    """No service says that it is one: the aggregator alone knows."""
    clock = ManualClock()
    processor = make_processor(clock, vad_analyzer=None)
    pair = LLMContextAggregatorPair(LLMContext(), realtime_service_mode=chosen)
    async with Call(clock=clock, before=[processor, pair.user()], aggregator=False) as call:
        await call.until(lambda: processor.strategy.active)
        await call.settle()
        assert processor.strategy.wait_for_transcript is waits


async def test_two_that_emit_are_one_too_many(log: list[str]) -> None:
    clock = ManualClock()
    first, second = make_processor(clock, emit_turn_frames=True), make_processor(clock, emit_turn_frames=True)
    async with Call(clock=clock, before=[first, second]) as call:
        await call.settle()
        assert len(call.sink.of(ServiceMetadataFrame)) == 2
    assert any("keep one of the two" in line for line in log)


async def test_two_detectors_are_one_too_many(log: list[str]) -> None:
    clock = ManualClock()
    first, second = make_processor(clock), make_processor(clock)
    async with Call(clock=clock, before=[first, second]) as call:
        await call.settle()
        assert first.strategy.active != second.strategy.active
    assert any("keep one of the two" in line for line in log)


def test_detector_options_go_to_the_detector() -> None:
    processor = TurnDetectorProcessor(model="smart-turn-v3.2", unlikely_threshold=0.7, prediction_timeout=2.0)
    assert processor.detector.model == "smart-turn-v3.2"
    assert processor.detector.prediction_timeout == 2.0


@pytest.mark.parametrize("name", ["turn-detector-v1-mini", "v1-mini"])
def test_v1_mini_is_refused_with_its_licence(name: str) -> None:
    with pytest.raises(ValueError, match="LiveKit Model License"):
        TurnDetectorProcessor(model=name)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"detector": 3}, TypeError, "detector must be"),
        ({"detector": detector(Script()), "model": "x"}, TypeError, "give it its options: model"),
        ({"vad_analyzer": "silero"}, TypeError, "vad_analyzer must be"),
        ({"emit_turn_frames": 1}, TypeError, "emit_turn_frames must be"),
        ({"user_turn_stop_timeout": 2.0}, ValueError, r"user_turn_stop_timeout .* must be more than max_delay"),
        ({"modle": "smart-turn"}, TypeError, "TurnDetectorProcessor has no option 'modle'"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        TurnDetectorProcessor(**options)


def test_a_max_delay_that_pipecat_would_not_wait_for_is_warned_of(log: list[str]) -> None:
    TurnDetectorProcessor(model="smart-turn", endpointing=EndpointingOptions(max_delay=6.0))
    assert any("user_turn_stop_timeout" in line for line in log)


def test_delays_of_the_detectors_own_are_in_force_from_the_start(log: list[str]) -> None:
    own = TurnDetector(model="smart-turn", endpointing=EndpointingOptions(min_delay=0.4, max_delay=6.0))
    processor = TurnDetectorProcessor(detector=own, emit_turn_frames=True)
    assert processor.strategy.endpointing == own.endpointing
    assert processor._user_turn_controller._user_turn_stop_timeout > 6.0
    assert any("user_turn_stop_timeout" in line for line in log)
    assert TurnDetectorAnalyzer(detector=own).params.max_delay == 6.0
