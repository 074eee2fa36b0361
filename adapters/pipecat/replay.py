"""A recording, in real time, through a real Pipecat pipeline with our turn detector and our VAD."""

# Parts of pipecat carry no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from eot_core import EndpointingOptions, TurnDetector
from eot_core.cli.audio_file import Pcm, read_audio
from eot_core.cli.local_gateway import LocalGateway
from eot_core.cli.rows import Row
from eot_core.data import demo_recording, demo_transcript
from eot_core.models.registry import default_model

from .processor import TurnDetectorProcessor
from .replay_rows import RowBuilder
from .scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS
from .timing import end_of_speech

FRAME: Final = 0.02
"""Seconds of audio in a frame, as Pipecat's transports push them."""
_MAX_RATE: Final = 48_000
_PATIENCE: Final = 1.0
"""Seconds after which a turn that could end has ended, and a reply that is written is there."""
_TEARDOWN: Final = 10.0
"""Seconds that a pipeline may take to end."""


async def play(push: Callable[[Frame], Any], pcm: Pcm, sample_rate: int, *, silence: float = 0.0) -> None:
    """Push a recording in frames, each when it would have been captured.

    Args:
        push: an async function that takes a frame, e.g. a worker's ``queue_frame``.
        pcm: int16 mono, shape (n,).
        sample_rate: in Hz.
        silence: seconds of it to add: nobody takes a turn to be over before some have passed.
    """
    pcm = np.concatenate((pcm, np.zeros(round(silence * sample_rate), np.int16)))
    loop = asyncio.get_running_loop()
    step, began = round(FRAME * sample_rate), loop.time()
    for start in range(0, len(pcm), step):
        captured_at = began + (start + step) / sample_rate
        await asyncio.sleep(max(0.0, captured_at - loop.time()))
        audio = pcm[start : start + step].astype("<i2").tobytes()
        await push(InputAudioRawFrame(audio=audio, sample_rate=sample_rate, num_channels=1))


async def replay(
    pcm: Pcm,
    sample_rate: int,
    *,
    detector: TurnDetector,
    lines: Sequence[str] = (),
    language: str | None = None,
    endpointing: EndpointingOptions | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> tuple[Row, ...]:
    """Play a recording to a bot with scripted STT, LLM and TTS, and an aggregator that is not configured.

    Args:
        pcm: int16 mono, shape (n,).
        sample_rate: in Hz.
        detector: what decides; warm it up first, or the first pause may be scored late.
        lines: what is said, a line for each stretch of speech.
        language: BCP-47 tag of the speech; None: English.
        endpointing: None: 0.3 and 2.5 s.
        on_row: called on the event loop with each row as soon as it is certain.

    Returns:
        A row for each pause and each turn, in order.
    """
    if sample_rate > _MAX_RATE:
        import soxr

        pcm, sample_rate = soxr.resample(pcm, sample_rate, _MAX_RATE), _MAX_RATE
    call = _Replay(detector, lines, language, endpointing, sample_rate, on_row)
    return await call.run(pcm)


async def replay_pipecat(
    audio_path: str | Path | None = None,
    *,
    model: str | None = None,
    language: str | None = None,
    transcript: str | Path | None = None,
    gateway: LocalGateway | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> tuple[Row, ...]:
    """The same for ``eot replay --framework pipecat``.

    Args:
        audio_path: the recording; None: the bundled one.
        model: full name of the model, or the path of an ONNX file; None: the default local model.
        language: BCP-47 tag of the speech; None: English.
        transcript: a UTF-8 file with what is said, a line for each stretch of speech; None: not known.
        gateway: through which the detector's cloud model is reached; None: the model runs in this process.
        on_row: called with each row as soon as it is certain.

    Raises:
        AudioFileError: the recording cannot be read.
        ModelError: the model cannot be loaded; the message says what to install.
        ValueError: the model is unknown, or may not run here (ModelLicenseError).
        OSError: the transcript cannot be read.
    """
    if audio_path is None:
        audio_path, transcript = demo_recording(), transcript or demo_transcript()
    if gateway is None:
        detector = TurnDetector(model=model or default_model())
    else:
        detector = TurnDetector(
            version="v1", base_url=gateway.url, api_key=gateway.api_key, api_secret=gateway.api_secret
        )
    lines = [] if transcript is None else await asyncio.to_thread(_lines, transcript)
    pcm, rate = await asyncio.to_thread(read_audio, audio_path)
    await asyncio.to_thread(detector.warm_up)
    return await replay(pcm, rate, detector=detector, lines=lines, language=language, on_row=on_row)


def _lines(path: str | Path) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


class _Ear(FrameProcessor):
    """Hears of speech before the aggregator does."""

    def __init__(self, on_started: Callable[[float], None], on_ended: Callable[[float], None]) -> None:
        super().__init__()
        self._on_started = on_started
        self._on_ended = on_ended

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            now = asyncio.get_running_loop().time()
            if isinstance(frame, VADUserStartedSpeakingFrame):
                self._on_started(now - max(0.0, time.time() - frame.timestamp) - frame.start_secs)
            elif isinstance(frame, VADUserStoppedSpeakingFrame):
                ended = end_of_speech(now, timestamp=frame.timestamp, stop_secs=frame.stop_secs, last_audio_at=None)
                self._on_ended(ended)
        await self.push_frame(frame, direction)


class _Replay:
    def __init__(
        self,
        detector: TurnDetector,
        lines: Sequence[str],
        language: str | None,
        endpointing: EndpointingOptions | None,
        sample_rate: int,
        on_row: Callable[[Row], None] | None,
    ) -> None:
        self._rows: list[Row] = []
        self._on_row = on_row
        self._builder = RowBuilder(detector.model)
        self._rate = sample_rate
        self._began = 0.0
        turns = TurnDetectorProcessor(detector=detector, endpointing=endpointing)
        self._max_delay = turns.strategy.endpointing.max_delay
        turns.strategy.add_event_handler("on_prediction", lambda _, prediction: self._builder.predicted(prediction))
        turns.strategy.add_event_handler("on_turn_decision", lambda _, decision: self._builder.decided(decision))
        pair = LLMContextAggregatorPair(LLMContext())
        user, assistant = pair.user(), pair.assistant()
        user.add_event_handler("on_user_turn_stopped", self._on_turn_stopped)
        assistant.add_event_handler("on_assistant_turn_stopped", self._on_reply)
        stt = ScriptedSTT(lines, language=language or "en")
        ear = _Ear(self._on_speech_started, self._on_speech_ended)
        self._worker = PipelineWorker(
            Pipeline([turns, ear, stt, user, ScriptedLLM(), ScriptedTTS(), assistant]),
            params=PipelineParams(audio_in_sample_rate=sample_rate),
            cancel_on_idle_timeout=False,
            enable_rtvi=False,
        )

    async def run(self, pcm: Pcm) -> tuple[Row, ...]:
        started = asyncio.Event()
        self._worker.add_event_handler("on_pipeline_started", lambda *_: started.set())
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self._worker)
        running = asyncio.create_task(runner.run())
        try:
            waiting = asyncio.create_task(started.wait())
            await asyncio.wait((waiting, running), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if running.done():
                running.result()
                raise RuntimeError("the pipeline ended before it began: see the log")
            self._began = asyncio.get_running_loop().time()
            await play(self._worker.queue_frame, pcm, self._rate, silence=self._max_delay + _PATIENCE)
        finally:
            await self._worker.queue_frame(EndFrame())
            done, _ = await asyncio.wait((running,), timeout=_TEARDOWN)
            if not done:
                running.cancel()
        self._take(self._builder.finish())
        return tuple(self._rows)

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    def _take(self, rows: list[Row]) -> None:
        for row in rows:
            self._rows.append(row)
            if self._on_row is not None:
                self._on_row(row)

    def _on_speech_started(self, at: float) -> None:
        self._take(self._builder.speech_started(at - self._began))

    def _on_speech_ended(self, at: float) -> None:
        self._builder.speech_ended(at - self._began)

    def _on_turn_stopped(self, _aggregator: Any, _strategy: Any, message: Any) -> None:
        self._take(self._builder.turn_ended(self._now(), message.content or None))

    def _on_reply(self, _aggregator: Any, message: Any) -> None:
        self._take(self._builder.replied(message.content))
