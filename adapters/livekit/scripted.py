"""Stand-ins for the paid parts of an agent: an STT, an LLM and a TTS that follow a script, offline and without keys.

They speak LiveKit's own interfaces, so that everything around them (session, VAD, turn detector) is the real thing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions, LanguageCode, llm, stt, tts, utils, vad
from livekit.agents.types import NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given

_PROVIDER: Final = "scripted"
_TTS_SAMPLE_RATE: Final = 24_000
_SYLLABLE: Final = 0.16
"""Seconds that a word takes, about three times as fast as a person speaks: a demonstration should not drag on."""
_LOUDNESS: Final = 0.1
_PITCHES: Final = (220.0, 247.0, 262.0, 247.0)
"""Hz; the words of a reply go round these."""


class ScriptedSTT(stt.STT[Literal["scripted"]]):
    """Writes down the next line of a script whenever somebody has spoken.

    Args:
        lines: what is said, one line for each stretch of speech; after the last one, the length of the speech is
            written down instead.
        vad: tells when somebody has spoken; every stream opens one of its own on it.
        language: BCP-47 tag that goes out with every transcript.
    """

    def __init__(self, lines: Sequence[str], *, vad: vad.VAD, language: str = "en") -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))
        self._lines = tuple(lines)
        self._vad = vad
        self._language = LanguageCode(language)

    @property
    def model(self) -> str:
        return "scripted-stt"

    @property
    def provider(self) -> str:
        return _PROVIDER

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> stt.RecognizeStream:
        tag = LanguageCode(language) if is_given(language) else self._language
        return _ScriptedRecognition(self, self._lines, self._vad, tag, conn_options)

    async def _recognize_impl(
        self, buffer: utils.AudioBuffer, *, language: NotGivenOr[str] = NOT_GIVEN, conn_options: APIConnectOptions
    ) -> stt.SpeechEvent:
        tag = LanguageCode(language) if is_given(language) else self._language
        spoken = rtc.combine_audio_frames(buffer).duration
        return _final(self._lines[0] if self._lines else _unscripted(spoken), tag)


class _ScriptedRecognition(stt.RecognizeStream):
    def __init__(
        self,
        parent: ScriptedSTT,
        lines: Sequence[str],
        detector: vad.VAD,
        language: LanguageCode,
        conn_options: APIConnectOptions,
    ) -> None:
        self._lines = list(lines)
        self._detector = detector
        self._language = language
        super().__init__(stt=parent, conn_options=conn_options)

    async def _run(self) -> None:
        speech = self._detector.stream()
        forwarding = asyncio.create_task(self._forward(speech))
        try:
            async for event in speech:
                if event.type is vad.VADEventType.END_OF_SPEECH:
                    line = self._lines.pop(0) if self._lines else _unscripted(event.speech_duration)
                    self._event_ch.send_nowait(_final(line, self._language))
        finally:
            await utils.aio.cancel_and_wait(forwarding)
            await speech.aclose()

    async def _forward(self, speech: vad.VADStream) -> None:
        async for item in self._input_ch:
            if isinstance(item, rtc.AudioFrame):
                speech.push_frame(item)
        speech.end_input()


class ScriptedLLM(llm.LLM[Literal["scripted"]]):
    """Repeats what it was told: "You said: ..."."""

    @property
    def model(self) -> str:
        return "scripted-llm"

    @property
    def provider(self) -> str:
        return _PROVIDER

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> llm.LLMStream:
        return _ScriptedReply(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _ScriptedReply(llm.LLMStream):
    async def _run(self) -> None:
        said = ""
        for item in self._chat_ctx.items:
            if isinstance(item, llm.ChatMessage) and item.role == "user":
                said = item.text_content or ""
        reply = f"You said: {said}" if said else "Hello."
        self._event_ch.send_nowait(
            llm.ChatChunk(id=utils.shortuuid("script-"), delta=llm.ChoiceDelta(role="assistant", content=reply))
        )


class ScriptedTTS(tts.TTS[Literal["scripted"]]):
    """Hums: one soft tone for each word, int16 mono at 24 kHz."""

    def __init__(self) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False), sample_rate=_TTS_SAMPLE_RATE, num_channels=1
        )

    @property
    def model(self) -> str:
        return "scripted-tts"

    @property
    def provider(self) -> str:
        return _PROVIDER

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _ScriptedVoice(tts=self, input_text=text, conn_options=conn_options)


class _ScriptedVoice(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid("script-"),
            sample_rate=_TTS_SAMPLE_RATE,
            num_channels=1,
            mime_type="audio/pcm",
        )
        time = np.arange(int(_SYLLABLE * _TTS_SAMPLE_RATE)) / _TTS_SAMPLE_RATE
        # Each tone swells and fades, so that words can be told apart and nothing clicks.
        envelope = np.sin(np.pi * time / _SYLLABLE) * _LOUDNESS * 32767
        for number, _ in enumerate(self._input_text.split()):
            tone = envelope * np.sin(2 * np.pi * _PITCHES[number % len(_PITCHES)] * time)
            output_emitter.push(np.round(tone).astype("<i2").tobytes())
        output_emitter.flush()


def _unscripted(seconds: float) -> str:
    return f"({seconds:.1f} seconds of speech)"


def _final(text: str, language: LanguageCode) -> stt.SpeechEvent:
    return stt.SpeechEvent(
        type=stt.SpeechEventType.FINAL_TRANSCRIPT,
        request_id=utils.shortuuid("script-"),
        alternatives=[stt.SpeechData(language=language, text=text, confidence=1.0)],
    )
