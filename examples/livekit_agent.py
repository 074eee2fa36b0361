"""A LiveKit agent whose turns are taken by adapters.livekit.TurnDetector, fully offline.

Drive it from a recording, without a LiveKit server or keys:

    eot console --audio recording.wav examples/livekit_agent.py

STT, LLM and TTS follow a script here; with real ones, three lines change:

    stt=deepgram.STT(), llm=openai.LLM(), tts=cartesia.TTS()
"""

import os
from pathlib import Path

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, TurnHandlingOptions

from adapters.livekit import VAD, TurnDetector
from adapters.livekit.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS

MODEL = os.environ.get("EOT_MODEL") or "turn-detector-v1-mini"  # or "eot-open-1"; both run on this machine
LANGUAGE = os.environ.get("EOT_LANGUAGE") or "en"
TRANSCRIPT = os.environ.get("EOT_TRANSCRIPT")  # a file with what is said, a line for each stretch of speech
LINES = Path(TRANSCRIPT).read_text(encoding="utf-8").splitlines() if TRANSCRIPT else []

server = AgentServer()


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    vad = VAD()
    session = AgentSession(
        vad=vad,
        stt=ScriptedSTT(LINES, vad=vad, language=LANGUAGE),
        llm=ScriptedLLM(),
        tts=ScriptedTTS(),
        # No loudspeaker, no echo: with a warm-up, LiveKit keeps from the STT what is said in the first 3 s of a reply.
        aec_warmup_duration=None,
        turn_handling=TurnHandlingOptions(turn_detection=TurnDetector(model=MODEL)),
    )
    await session.start(agent=Agent(instructions="Repeat what you are told."), room=ctx.room)
