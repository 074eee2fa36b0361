"""Thirty calls at once: random speech, words, mutes, interruptions and models that break, ended at random moments."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

from call import RATE, Mute, Script, Tap, final, interim, sound, stt_metadata
from leftovers import Left
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InterruptionFrame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregator, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.turns.user_stop import TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from adapters.pipecat import (
    EOTVADAnalyzer,
    TurnDetectorAnalyzer,
    TurnDetectorProcessor,
    TurnDetectorUserTurnStopStrategy,
)
from eot_core import DetectorStream, EndpointingOptions, TurnDetector
from eot_core.clock import LoopClock

CALLS = 30
KINDS = ("processor", "emitting", "strategy", "analyzer")
QUICK = EndpointingOptions(min_delay=0.05, max_delay=0.2)


class _Moody(Script):
    """A model that says anything, and now and then nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._chance = random.Random(0)

    def predict(self, pcm: Any) -> float:
        mood = self._chance.random()
        if pcm.any() and mood < 0.03:
            raise RuntimeError("the model broke")
        return float("nan") if mood < 0.06 else self._chance.random()


class _Call:
    """One pipeline, and what happens to it."""

    def __init__(self, number: int, detector: TurnDetector) -> None:
        self._chance = random.Random(number)
        self._mute = Mute()
        self._speaks = False
        self._tap = Tap(LoopClock(asyncio.get_running_loop()), is_end=False)
        params = LLMUserAggregatorParams(user_mute_strategies=[self._mute], user_turn_stop_timeout=0.6)
        before: list[FrameProcessor] = []
        after: list[FrameProcessor] = [self._tap]
        self.kind = KINDS[number % len(KINDS)]
        match self.kind:
            case "processor":
                vad = self._chance.choice((None, "auto", EOTVADAnalyzer()))
                before = [TurnDetectorProcessor(detector=detector, endpointing=QUICK, vad_analyzer=vad)]
            case "emitting":
                processor = TurnDetectorProcessor(detector=detector, endpointing=QUICK, emit_turn_frames=True)
                before, after = [processor, self._tap], []  # an aggregator that is muted lets no start pass
            case "strategy":
                strategy = TurnDetectorUserTurnStopStrategy(detector=detector, endpointing=QUICK)
                params.user_turn_strategies = UserTurnStrategies(stop=[strategy])
            case "analyzer":
                analyzer = TurnDetectorAnalyzer(detector=detector, endpointing=QUICK)
                stock = TurnAnalyzerUserTurnStopStrategy(turn_analyzer=analyzer)
                params.user_turn_strategies = UserTurnStrategies(stop=[stock])
        self._aggregator = LLMUserAggregator(LLMContext(), params=params)
        self._worker = PipelineWorker(
            Pipeline([*before, self._aggregator, *after]),
            cancel_on_idle_timeout=False,
            enable_rtvi=False,
            params=PipelineParams(audio_in_sample_rate=RATE),
        )

    async def run(self) -> int:
        """Returns the number of turns that began."""
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self._worker)
        started = asyncio.Event()
        self._worker.add_event_handler("on_pipeline_started", lambda *_: started.set())
        running = asyncio.create_task(runner.run())
        await asyncio.wait_for(started.wait(), 20)
        await self._worker.queue_frame(stt_metadata(0.05))
        for _ in range(self._chance.randrange(10, 40)):
            await self._happen()
            await asyncio.sleep(self._chance.uniform(0.0, 0.1))
        match self._chance.randrange(3):
            case 0:
                await self._worker.queue_frame(EndFrame())
            case 1:
                await self._worker.cancel()
            case 2:
                running.cancel()
        await asyncio.wait({running}, timeout=20)
        assert running.done()
        kinds = (UserStartedSpeakingFrame, UserStoppedSpeakingFrame)
        turns = [type(frame) for _, frame in self._tap.down if isinstance(frame, kinds)]
        assert turns[0::2] == [UserStartedSpeakingFrame] * len(turns[0::2]), self.kind
        assert turns[1::2] == [UserStoppedSpeakingFrame] * len(turns[1::2]), self.kind
        return len(turns[0::2])

    async def _happen(self) -> None:
        chance = self._chance
        match chance.choices(range(9), (30, 25, 15, 5, 4, 4, 2, 1, 10))[0]:
            case 0:
                if not self._speaks:
                    await self._send(VADUserStartedSpeakingFrame(start_secs=0.05))
                    self._speaks = True
                await self._send(*sound(0.1))
            case 1:
                if self._speaks or chance.random() < 0.1:
                    await self._send(VADUserStoppedSpeakingFrame(stop_secs=chance.choice((0.0, 0.2, 0.2, 0.2))))
                self._speaks = False
            case 2:
                language = chance.choice((None, "de", "en", "sv", "multi"))
                await self._send(final("some words here", finalized=chance.random() < 0.5, language=language))
            case 3:
                await self._send(interim("some"))
            case 4:
                self._mute.on = not self._mute.on
            case 5:
                await self._send(InterruptionFrame())
            case 6:
                await self._send(
                    ProposedUserStartedSpeakingFrame() if chance.random() < 0.5 else ProposedUserStoppedSpeakingFrame()
                )
            case 7:
                controller = self._aggregator._user_turn_controller
                await controller.update_strategies(controller.user_turn_strategies)
            case 8:
                await self._send(*sound(0.06, level=1))

    async def _send(self, *frames: Frame) -> None:
        for frame in frames:
            await self._worker.queue_frame(frame)


async def test_nothing_is_doubled_or_left_behind(log: list[str]) -> None:
    loop: Any = asyncio.get_running_loop()
    detector = TurnDetector(model=_Moody().spec(pre_speech=0.2), prediction_timeout=0.5)
    detector.warm_up()
    LLMUserAggregator(LLMContext())  # onnxruntime opens files of its own with the first model of the process
    told: list[str] = []
    loop.set_exception_handler(lambda _loop, context: told.append(str(context)))
    before = Left.now()
    calls = [asyncio.create_task(_Call(number, detector).run()) for number in range(CALLS)]
    await asyncio.wait(calls)
    await asyncio.sleep(0.1)
    assert sum(call.result() for call in calls) > CALLS
    calls.clear()
    gc.collect()
    streams = [found for found in gc.get_objects() if isinstance(found, DetectorStream)]
    assert [stream for stream in streams if not stream.closed] == []
    assert [future for stream in streams for future in stream._futures.values() if not future.done()] == []
    assert before.more() == []
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []
    assert told == []
    assert [line for line in log if "dangling" in line or line.startswith("ERROR")] == []
