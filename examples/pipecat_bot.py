"""A Pipecat bot whose turns are taken by adapters.pipecat.TurnDetectorProcessor, fully offline.

    python examples/pipecat_bot.py                  # the recording that comes with the package
    python examples/pipecat_bot.py recording.wav    # your own
    python examples/pipecat_bot.py --microphone     # talk to it: pip install 'pipecat-ai[local]'

STT, LLM and TTS follow a script here; with real ones, three lines change:

    stt=DeepgramSTTService(...), llm=OpenAILLMService(...), tts=CartesiaTTSService(...)
"""

import argparse
import asyncio
from pathlib import Path

from pipecat.frames.frames import EndFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.workers.runner import WorkerRunner

from adapters.pipecat import TurnDetectorProcessor
from adapters.pipecat.replay import play
from adapters.pipecat.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS
from eot_core.cli.audio_file import read_audio
from eot_core.data import demo_recording, demo_transcript

AFTERWARDS = 4.0  # seconds of silence in which the last turn ends and is answered


async def main(recording: Path | None, microphone: bool) -> None:
    pcm, rate = (None, 16_000) if microphone else read_audio(recording or demo_recording())
    lines = demo_transcript().read_text(encoding="utf-8").splitlines() if pcm is not None and not recording else []

    turns = TurnDetectorProcessor()  # the one line: it brings the detector, and a VAD where there is none
    aggregators = LLMContextAggregatorPair(LLMContext())
    user, assistant = aggregators.user(), aggregators.assistant()
    parts = [turns, ScriptedSTT(lines), user, ScriptedLLM(), ScriptedTTS()]
    if microphone:
        from pipecat.transports.local.audio import LocalAudioTransport, LocalAudioTransportParams

        transport = LocalAudioTransport(LocalAudioTransportParams(audio_in_enabled=True, audio_out_enabled=True))
        parts = [transport.input(), *parts, transport.output()]
    worker = PipelineWorker(Pipeline([*parts, assistant]), params=PipelineParams(audio_in_sample_rate=rate))

    @turns.strategy.event_handler("on_turn_decision")
    async def on_turn_decision(_strategy, decision):
        print(f"p={decision.probability:.2f} threshold={decision.threshold:.2f}: {decision.reason}")

    @user.event_handler("on_user_turn_stopped")
    async def on_user_turn_stopped(_aggregator, _strategy, message):
        print(f"user: {message.content}")

    @assistant.event_handler("on_assistant_turn_stopped")
    async def on_assistant_turn_stopped(_aggregator, message):
        print(f"bot:  {message.content}")

    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def on_pipeline_started(_worker, _frame):
        started.set()

    async def feed() -> None:
        await started.wait()
        if pcm is not None:
            await play(worker.queue_frame, pcm, rate, silence=AFTERWARDS)
            await worker.queue_frame(EndFrame())

    runner = WorkerRunner()
    await runner.add_workers(worker)
    await asyncio.gather(runner.run(), feed())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A Pipecat bot with our turn detector, without keys or network.")
    parser.add_argument("recording", nargs="?", type=Path, help="default: the bundled one")
    parser.add_argument("--microphone", action="store_true", help="talk to it instead")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.recording, arguments.microphone))
