"""A trace through a real Pipecat pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMServiceMetadataFrame,
    OutputAudioRawFrame,
    StartFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.utils.time import time_now_iso8601
from pipecat.workers.runner import WorkerRunner

from adapters.pipecat import EOTVADAnalyzer, TurnDetectorProcessor
from eot_core import EndpointingOptions, TurnDecision, TurnDetector
from eot_core.events import DecisionReason

from .models import detector_options
from .stage import Happening, Stage
from .trace import Judged, Played, Said, Trace, Turn

_VOICE_RATE = 24_000
_STOP_TIMEOUT = 60.0
"""Seconds; ``user_turn_stop_timeout``. LiveKit has no such watchdog."""
_STT_LATENCY = 0.0
"""Seconds; ``ttfs_p99_latency``. LiveKit takes a final transcript as complete, and does not wait for another."""


async def play(trace: Trace) -> Played:
    """The call, as Pipecat takes it."""
    stage = Stage(trace, "pipecat")
    with stage.set():
        detector = TurnDetector(**detector_options(trace, stage.timeline))
        stage.listen(detector)
        delays = trace.delays
        processor = TurnDetectorProcessor(
            detector=detector, endpointing=None if delays is None else EndpointingOptions(*delays)
        )
        processor.strategy.add_event_handler("on_turn_decision", _Decisions(stage))
        aggregators = LLMContextAggregatorPair(
            LLMContext(),
            user_params=LLMUserAggregatorParams(vad_analyzer=EOTVADAnalyzer(), user_turn_stop_timeout=_STOP_TIMEOUT),
        )
        aggregators.user().add_event_handler("on_user_turn_stopped", _Turns(stage))
        microphone, speaker, recognizer = _Input(stage), _Output(stage), _STT()
        middle: list[FrameProcessor] = [recognizer] if trace.stt else []
        behind: list[FrameProcessor] = [] if trace.stt else [_Realtime()]
        worker = PipelineWorker(
            Pipeline([microphone, *middle, processor, aggregators.user(), *behind, speaker, aggregators.assistant()]),
            cancel_on_idle_timeout=False,
            enable_rtvi=False,
            enable_turn_tracking=False,  # counts turns for nobody here, a fifth of the time
            params=PipelineParams(audio_in_sample_rate=trace.rate, audio_out_sample_rate=_VOICE_RATE),
        )
        started = asyncio.Event()
        worker.add_event_handler("on_pipeline_started", lambda *_: started.set())
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        running = asyncio.create_task(runner.run())
        await asyncio.wait_for(started.wait(), 20)
        happenings = _happenings(stage, worker, recognizer)
        feeding = asyncio.create_task(microphone.feed())
        try:
            await stage.call(happenings)
            stage.ended = True
            await feeding
        finally:
            await worker.queue_frame(EndFrame())
            await asyncio.wait_for(running, 30)
    return stage.played


def _happenings(stage: Stage, worker: PipelineWorker, recognizer: _STT) -> list[Happening]:
    happenings: list[Happening] = []
    for at, said in stage.trace.words():

        async def write(said: Said = said) -> None:
            await recognizer.write(said)

        happenings.append((at, write))
    if stage.trace.agent_speaks is not None:
        begin, seconds = stage.trace.agent_speaks

        async def speak() -> None:
            audio = bytes(2 * round(seconds * _VOICE_RATE))
            await worker.queue_frame(TTSAudioRawFrame(audio, _VOICE_RATE, 1))

        happenings.append((begin, speak))
    return happenings


class _Decisions:
    """What the strategy made of each prediction."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __call__(self, strategy: Any, decision: TurnDecision) -> None:
        if decision.reason not in (DecisionReason.RESUMED, DecisionReason.EXTERNAL):
            self._stage.played.judged.append(
                Judged(
                    self._stage.timeline.now,
                    decision.probability,
                    decision.threshold,
                    decision.delay,
                )
            )


class _Turns:
    """When the aggregator says that the turn has ended."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __call__(self, aggregator: Any, strategy: Any, message: Any) -> None:
        if not self._stage.ended:
            self._stage.played.turns.append(Turn(self._stage.timeline.now, message.content))


class _Input(BaseInputTransport):
    """A transport's end: frames come when they have been spoken."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(TransportParams(audio_in_enabled=True))
        self._stage = stage

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def feed(self) -> None:
        rate = self._stage.trace.rate
        for at, pcm in self._stage.frames:
            await self._stage.until(at)
            audio = np.ascontiguousarray(pcm).tobytes()
            await self.push_audio_frame(InputAudioRawFrame(audio=audio, sample_rate=rate, num_channels=1))


class _Output(BaseOutputTransport):
    """Plays what it is given, in the time that it takes."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(TransportParams(audio_out_enabled=True))
        self._stage = stage
        self._playing = False

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        self._playing = True
        await asyncio.sleep(len(frame.audio) / 2 / frame.sample_rate)
        return True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        played, ended = self._stage.played, self._stage.ended
        if isinstance(frame, InterruptionFrame) and self._playing and played.interrupted_at is None and not ended:
            played.interrupted_at = self._stage.timeline.now
        await super().process_frame(frame, direction)


class _STT(STTService):
    """Writes what it is told to."""

    def __init__(self) -> None:
        super().__init__(ttfs_p99_latency=_STT_LATENCY, settings=STTSettings(model=None, language=None))

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        yield None

    async def write(self, said: Said) -> None:
        frame: TranscriptionFrame | InterimTranscriptionFrame
        if said.final:
            frame = TranscriptionFrame(said.text, "", time_now_iso8601(), finalized=True)
        else:
            frame = InterimTranscriptionFrame(said.text, "", time_now_iso8601())
        frame.language = said.language  # type: ignore[assignment]  # "multi" is no member of the enumeration
        await self.push_frame(frame)


class _Realtime(FrameProcessor):
    """A model that hears by itself, and leaves the turns to us."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self.broadcast_frame(LLMServiceMetadataFrame, service_name="realtime", is_realtime_service=True)
