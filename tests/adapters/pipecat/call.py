"""A real pipeline with a real user aggregator, driven frame by frame, on a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import Any
from unittest import mock

import numpy as np
from pipecat.frames.frames import (
    DataFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    StartFrame,
    STTMetadataFrame,
    SystemFrame,
    TranscriptionFrame,
    UninterruptibleFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregator, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.turns.user_mute import BaseUserMuteStrategy
from pipecat.turns.user_start import BaseUserTurnStartStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from adapters.pipecat import TurnDetectorProcessor, TurnDetectorUserTurnStopStrategy
from eot_core import ModelSpec, TurnDetector
from eot_core.clock import Clock, ManualClock

RATE = 16_000


class Mute(BaseUserMuteStrategy):
    """Mutes the user while it is ``on``."""

    def __init__(self, *, on: bool = False) -> None:
        super().__init__()
        self.on = on

    async def process_frame(self, frame: Frame) -> bool:
        await super().process_frame(frame)
        return self.on


class Script:
    """A model that says what it is told to say; ``hold`` keeps it from answering until ``release``."""

    def __init__(self, probability: float = 0.9) -> None:
        self.probability = probability
        self.seen: list[np.ndarray[Any, Any]] = []
        self._go = threading.Event()
        self._go.set()

    def hold(self) -> None:
        self._go.clear()

    def release(self) -> None:
        self._go.set()

    def predict(self, pcm: np.ndarray[Any, Any]) -> float:
        if not pcm.any():  # the warm-up
            return 0.0
        self.seen.append(pcm)
        self._go.wait(20)
        return self.probability

    def spec(self, **fields: Any) -> ModelSpec:
        values: dict[str, Any] = {
            "name": "scripted",
            "provider": "tests",
            "license": "Apache-2.0",
            "window": 8.0,
            "load": lambda: self,
            "default_threshold": 0.5,
        }
        return ModelSpec(**(values | fields))


@dataclass
class _Mark(SystemFrame):
    reached: asyncio.Event


@dataclass
class _DataMark(DataFrame, UninterruptibleFrame):  # an interruption clears the other ones away
    reached: asyncio.Event


class Tap(FrameProcessor):
    """Notes what passes, and when."""

    def __init__(self, clock: Clock, *, is_end: bool) -> None:
        super().__init__()
        self._clock = clock
        self._is_end = is_end
        self.down: list[tuple[float, Frame]] = []
        self.up: list[tuple[float, Frame]] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if self._is_end and isinstance(frame, _Mark | _DataMark):
            frame.reached.set()
        seen = self.down if direction is FrameDirection.DOWNSTREAM else self.up
        if not isinstance(frame, StartFrame | EndFrame):
            seen.append((self._clock.now(), frame))
        await self.push_frame(frame, direction)

    def of(self, kind: type[Frame]) -> list[Any]:
        return [frame for _, frame in self.down if isinstance(frame, kind)]

    def of_up(self, kind: type[Frame]) -> list[Any]:
        return [frame for _, frame in self.up if isinstance(frame, kind)]


class Call:
    """``async with Call(...) as call``: ``call.clock`` rules; ``call.turns`` are the turns that ended."""

    def __init__(
        self,
        strategy: TurnDetectorUserTurnStopStrategy | None = None,
        *,
        clock: Clock,
        params: LLMUserAggregatorParams | None = None,
        before: Sequence[FrameProcessor] = (),
        after: Sequence[FrameProcessor] = (),
        aggregator: bool = True,
    ) -> None:
        self.clock = clock
        self.strategy = strategy
        self.source, self.sink = Tap(clock, is_end=False), Tap(clock, is_end=True)
        self.turns: list[tuple[float, str | None]] = []
        self.started: list[float] = []
        self.inferences = 0
        self.predictions: list[Any] = []
        self.decisions: list[Any] = []
        if params is None:
            params = LLMUserAggregatorParams()
            if strategy is not None:
                params.user_turn_strategies = UserTurnStrategies(stop=[strategy])
        self._wall_clock = mock.patch("adapters.pipecat.timing.time", SimpleNamespace(time=lambda: 0.0))
        self.context = LLMContext()
        middle: list[FrameProcessor] = []
        if aggregator:
            self.aggregator = LLMUserAggregator(self.context, params=params)
            self.aggregator.add_event_handler("on_user_turn_started", self._on_started)
            self.aggregator.add_event_handler("on_user_turn_stopped", self._on_stopped)
            self.aggregator.add_event_handler("on_user_turn_inference_triggered", self._on_inference)
            middle = [self.aggregator]
        if strategy is not None:
            self.listen(strategy)
        self.worker = PipelineWorker(
            Pipeline([self.source, *before, *middle, *after, self.sink]),
            cancel_on_idle_timeout=False,
            enable_rtvi=False,
            params=PipelineParams(audio_in_sample_rate=RATE),
        )

    def listen(self, strategy: Any) -> None:
        strategy.add_event_handler("on_prediction", lambda _, p: self.predictions.append(p))
        strategy.add_event_handler("on_turn_decision", lambda _, d: self.decisions.append(d))

    def _on_started(self, *_: Any) -> None:
        self.started.append(self.clock.now())

    def _on_inference(self, *_: Any) -> None:
        self.inferences += 1

    def _on_stopped(self, _aggregator: Any, strategy: Any, message: Any) -> None:
        # Without a strategy it was the controller, out of patience: no test here means that.
        assert strategy is not None, "no strategy ended the turn"
        self.turns.append((self.clock.now(), message.content))

    async def __aenter__(self) -> Call:
        if isinstance(self.clock, ManualClock):  # on which frames take no time, however long they really take
            self._wall_clock.start()
        started = asyncio.Event()
        self.worker.add_event_handler("on_pipeline_started", lambda *_: started.set())
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        self._running = asyncio.create_task(runner.run())
        await asyncio.wait_for(started.wait(), 20)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.worker.queue_frame(EndFrame())
            await asyncio.wait_for(self._running, 20)
        finally:
            if isinstance(self.clock, ManualClock):
                self._wall_clock.stop()

    # -- what happens in the call ---------------------------------------------------------------------------------

    async def send(self, *frames: Frame) -> None:
        """Send, and return when all of it has gone through."""
        for frame in frames:
            await self.worker.queue_frame(frame)
        await self.settle()

    async def settle(self) -> None:
        """Return when what was queued so far has been through the pipeline."""
        for _ in range(3):  # what was queued may have queued more
            marks = [_Mark(asyncio.Event()), _DataMark(asyncio.Event())]
            for mark in marks:
                await self.worker.queue_frame(mark)
            for mark in marks:
                await asyncio.wait_for(mark.reached.wait(), 20)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Return when the condition holds; fails after 20 s."""
        give_up = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < give_up, "never happened"
            await asyncio.sleep(0.002)

    async def advance(self, seconds: float) -> None:
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(seconds)
        await asyncio.sleep(0.002)
        await self.settle()

    async def start_speaking(self) -> None:
        await self.send(VADUserStartedSpeakingFrame(start_secs=0.2))

    async def speak(self, seconds: float = 0.1, *, level: int = 3000) -> None:
        await self.send(*sound(seconds, level=level))

    async def stop_speaking(self, stop_secs: float = 0.2) -> None:
        """The speech ended ``stop_secs`` ago."""
        await self.send(VADUserStoppedSpeakingFrame(stop_secs=stop_secs))

    async def utter_without_prediction(self, seconds: float = 0.1, stop_secs: float = 0.2) -> None:
        """Start, speak, stop."""
        await self.start_speaking()
        await self.speak(seconds)
        await self.stop_speaking(stop_secs)

    async def utter(self) -> None:
        """Start, speak, stop, and see the prediction come in."""
        before = len(self.predictions)
        await self.utter_without_prediction()
        await self.until(lambda: len(self.predictions) > before)
        await self.settle()


def sound(seconds: float, *, level: int = 3000, rate: int = RATE, channels: int = 1) -> list[InputAudioRawFrame]:
    """Frames of 20 ms with noise."""
    random = np.random.default_rng(1)
    frames = []
    for _ in range(round(seconds / 0.02)):
        pcm = random.integers(-level, level, size=rate // 50 * channels, dtype=np.int16)
        frames.append(InputAudioRawFrame(audio=pcm.tobytes(), sample_rate=rate, num_channels=channels))
    return frames


def final(text: str = "hello there", *, finalized: bool = False, language: Any = None) -> TranscriptionFrame:
    return TranscriptionFrame(text, "user", "", language=language, finalized=finalized)


def interim(text: str = "hello", *, language: Any = None) -> InterimTranscriptionFrame:
    return InterimTranscriptionFrame(text, "user", "", language=language)


def stt_metadata(latency: float = 0.35) -> STTMetadataFrame:
    return STTMetadataFrame(service_name="stt", ttfs_p99_latency=latency)


def detector(script: Script, clock: Clock | None = None, **options: Any) -> TurnDetector:
    return TurnDetector(model=script.spec(), clock=clock, **options)


def make_strategy(clock: ManualClock, script: Script | None = None, **options: Any) -> TurnDetectorUserTurnStopStrategy:
    """A strategy that asks ``script``."""
    return TurnDetectorUserTurnStopStrategy(detector=detector(script or Script(), clock), clock=clock, **options)


def starting_with(*start: BaseUserTurnStartStrategy, clock: ManualClock, script: Script | None = None) -> Call:
    """A call whose turns begin so, and end with a strategy that asks ``script``."""
    strategy = make_strategy(clock, script)
    strategies = UserTurnStrategies(start=list(start), stop=[strategy])
    return Call(strategy, clock=clock, params=LLMUserAggregatorParams(user_turn_strategies=strategies))


@asynccontextmanager
async def with_stt(latency: float, script: Script | None = None) -> AsyncIterator[Call]:
    """A call with an STT that takes so long, in seconds, and a strategy that asks ``script``."""
    clock = ManualClock()
    async with Call(make_strategy(clock, script), clock=clock) as call:
        await call.send(stt_metadata(latency))
        yield call


def make_processor(clock: ManualClock, script: Script | None = None, **options: Any) -> TurnDetectorProcessor:
    """A processor that asks ``script``."""
    processor = TurnDetectorProcessor(detector=detector(script or Script(), clock), **options)
    processor.strategy._given_clock = clock
    return processor


def silent_at_the_end(pcm: np.ndarray[Any, Any]) -> float:
    """Seconds of digital silence."""
    (loud,) = np.nonzero(pcm)
    return (len(pcm) - 1 - int(loud[-1])) / RATE
