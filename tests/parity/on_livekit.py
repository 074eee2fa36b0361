"""A trace through a real ``AgentSession``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents import NOT_GIVEN, Agent, AgentSession, APIConnectOptions, LanguageCode, NotGivenOr, llm, stt
from livekit.agents.voice.io import AudioInput, AudioOutput, AudioOutputCapabilities

from adapters.livekit import VAD, TurnDetector
from adapters.livekit.scripted import ScriptedLLM, ScriptedTTS
from adapters.livekit.stream import TurnDetectorStream
from tests.adapters.livekit.silent_realtime import SilentRealtimeSession

from .models import detector_options
from .stage import Happening, Stage
from .trace import Judged, Played, Said, Trace, Turn

_VOICE_RATE = 24_000


async def play(trace: Trace) -> Played:
    """The call, as LiveKit takes it."""
    stage = Stage(trace, "livekit")
    with stage.set():
        detector = _Detector(stage, **detector_options(trace, stage.timeline))
        stage.listen(detector)
        handling: dict[str, Any] = {"turn_detection": detector}
        if trace.delays is not None:
            handling["endpointing"] = dict(zip(("min_delay", "max_delay"), trace.delays, strict=True))
        options: dict[str, Any] = {"llm": ScriptedLLM() if trace.stt else _Realtime(), "turn_handling": handling}
        recognizer = _STT()
        if trace.stt:
            options["stt"] = recognizer
        if trace.agent_speaks is not None:
            options["tts"] = ScriptedTTS()
            options["aec_warmup_duration"] = None  # there is no echo to get used to, and Pipecat waits for none
        session: AgentSession[None] = AgentSession(vad=VAD(), **options)
        session.input.audio = _Microphone(stage)
        if trace.agent_speaks is not None:
            session.output.audio = _Speaker(stage)
        notes = _Notes(stage)
        logger = logging.getLogger("livekit.agents")
        level = logger.level
        logger.addHandler(notes)
        logger.setLevel(logging.DEBUG)
        await session.start(_Listener(stage))
        try:
            await stage.call(_happenings(stage, session, recognizer))
            stage.ended = True
        finally:
            await session.aclose()
            logger.removeHandler(notes)
            logger.setLevel(level)
    return stage.played


def _happenings(stage: Stage, session: AgentSession[None], recognizer: _STT) -> list[Happening]:
    happenings: list[Happening] = []
    for at, said in stage.trace.words():

        async def write(said: Said = said) -> None:
            recognizer.write(said)

        happenings.append((at, write))
    if stage.trace.agent_speaks is not None:
        begin, seconds = stage.trace.agent_speaks

        async def speak() -> None:
            session.say("something long", audio=_voice(seconds), add_to_chat_ctx=False)

        happenings.append((begin, speak))
    return happenings


class _Listener(Agent):
    def __init__(self, stage: Stage) -> None:
        super().__init__(instructions="Repeat what you are told.")
        self._stage = stage
        self.heard: list[str] = []

    async def on_user_turn_completed(self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage) -> None:
        played = self._stage.played
        if played.turns and played.turns[-1].text is None:
            played.turns[-1] = Turn(played.turns[-1].at, new_message.text_content)


class _Detector(TurnDetector):
    """Notes when LiveKit says that the turn was committed, which it says to the detector's stream."""

    def __init__(self, stage: Stage, **options: Any) -> None:
        super().__init__(**options)
        self._stage = stage

    def stream(self, *, conn_options: NotGivenOr[APIConnectOptions | None] = NOT_GIVEN) -> TurnDetectorStream:  # type: ignore[override]
        stream = super().stream(conn_options=conn_options)
        flush, stage = stream.flush, self._stage

        def noted(reason: str | None = None) -> None:
            if reason == "turn committed" and not stage.ended:
                stage.played.turns.append(Turn(stage.timeline.now, None))
            flush(reason)

        stream.flush = noted  # type: ignore[method-assign]
        return stream


class _Notes(logging.Handler):
    """LiveKit logs each look at a prediction, with what it compared it to."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() != "eot prediction":
            return
        entry: dict[str, Any] = record.__dict__
        if entry["probability"] is None:
            return
        self._stage.played.judged.append(
            Judged(
                self._stage.timeline.now,
                entry["probability"],
                entry["unlikely_threshold"],
                entry["endpointing_delay"],
            )
        )


class _Microphone(AudioInput):
    def __init__(self, stage: Stage) -> None:
        super().__init__(label="trace")
        self._stage = stage
        self._left = iter(stage.frames)

    async def __anext__(self) -> rtc.AudioFrame:
        at, pcm = next(self._left, (None, None))
        if at is None or pcm is None:
            await asyncio.Event().wait()
            raise StopAsyncIteration
        await self._stage.until(at)
        return rtc.AudioFrame(np.ascontiguousarray(pcm).tobytes(), self._stage.trace.rate, 1, len(pcm))


async def _voice(seconds: float) -> AsyncIterator[rtc.AudioFrame]:
    samples = _VOICE_RATE // 50
    for _ in range(round(seconds * 50)):
        yield rtc.AudioFrame(bytes(2 * samples), _VOICE_RATE, 1, samples)


class _Speaker(AudioOutput):
    """Plays what it is given, in the time that it takes."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(label="trace", capabilities=AudioOutputCapabilities(pause=False), sample_rate=_VOICE_RATE)
        self._stage = stage
        self._pushed = 0.0
        self._began: float | None = None
        self._playing: asyncio.TimerHandle | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if self._began is None:
            import time

            self._began = self._stage.loop.time()
            self.on_playback_started(created_at=time.time())
        self._pushed += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._began is not None:
            self._playing = self._stage.loop.call_at(self._began + self._pushed, self._finish, False)

    def clear_buffer(self) -> None:
        if self._began is not None:
            if self._stage.played.interrupted_at is None and not self._stage.ended:
                self._stage.played.interrupted_at = self._stage.timeline.now
            self._finish(True)

    def _finish(self, interrupted: bool) -> None:
        if self._playing is not None:
            self._playing.cancel()
        assert self._began is not None
        heard = min(self._pushed, self._stage.loop.time() - self._began)
        self._playing, self._began, self._pushed = None, None, 0.0
        self.on_playback_finished(playback_position=heard, interrupted=interrupted)


class _STT(stt.STT[Any]):
    """Writes what it is told to."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        self._written: asyncio.Queue[Said] = asyncio.Queue()

    def write(self, said: Said) -> None:
        self._written.put_nowait(said)

    def stream(self, **options: Any) -> stt.RecognizeStream:
        return _Recognition(self, self._written, options["conn_options"])

    async def _recognize_impl(self, buffer: Any, **options: Any) -> stt.SpeechEvent:
        raise NotImplementedError("streams only")


class _Recognition(stt.RecognizeStream):
    def __init__(self, parent: _STT, written: asyncio.Queue[Said], conn_options: APIConnectOptions) -> None:
        self._written = written
        super().__init__(stt=parent, conn_options=conn_options)

    async def _run(self) -> None:
        while True:
            said = await self._written.get()
            kind = stt.SpeechEventType.FINAL_TRANSCRIPT if said.final else stt.SpeechEventType.INTERIM_TRANSCRIPT
            data = stt.SpeechData(language=LanguageCode(said.language or ""), text=said.text, confidence=1.0)
            self._event_ch.send_nowait(stt.SpeechEvent(type=kind, alternatives=[data]))


class _Realtime(llm.RealtimeModel):
    """A model that hears by itself, and leaves the turns to us."""

    def __init__(self) -> None:
        super().__init__(
            capabilities=llm.RealtimeCapabilities(
                message_truncation=False,
                turn_detection=False,
                user_transcription=False,
                auto_tool_reply_generation=False,
                audio_output=False,
                manual_function_calls=False,
            )
        )

    def session(self, **_: Any) -> llm.RealtimeSession[Any]:
        return SilentRealtimeSession(self)

    async def aclose(self) -> None:
        pass
