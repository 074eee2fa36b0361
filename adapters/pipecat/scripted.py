"""Stand-ins for the paid parts of a bot: an STT, an LLM and a TTS that follow a script, offline and without keys.

They are Pipecat services, so that everything around them (aggregators, VAD, turn detector) is the real thing.
"""

# Parts of pipecat carry no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import numpy as np
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.utils.time import time_now_iso8601

_TTS_SAMPLE_RATE: Final = 24_000
_SYLLABLE: Final = 0.16
"""Seconds that a word takes, about three times as fast as a person speaks: a demonstration should not drag on."""
_LOUDNESS: Final = 0.1
_PITCHES: Final = (220.0, 247.0, 262.0, 247.0)
"""Hz; the words of a reply go round these."""
_STT_LATENCY: Final = 0.05
"""Seconds from the end of speech; what is announced as this STT's 99th percentile. It writes at once."""


class ScriptedSTT(STTService):
    """Writes down the next line of a script whenever the pipeline's VAD says that somebody has spoken."""

    def __init__(self, lines: Sequence[str], *, language: str = "en", finalized: bool = True) -> None:
        """
        Args:
            lines: what is said, one line for each stretch of speech; after the last one, the length of the speech is
                written down instead.
            language: BCP-47 tag that goes out with every transcript.
            finalized: whether transcripts are marked as final.
        """
        super().__init__(ttfs_p99_latency=_STT_LATENCY, settings=STTSettings(model=None, language=None))
        self._lines = list(lines)
        self._language = language
        self._finalized = finalized
        self._speaking = False
        self._samples = 0

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Count the audio of the speech; nothing is recognised here."""
        if self._speaking:
            self._samples += len(audio) // 2
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Write when the VAD reports the end of speech."""
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._speaking, self._samples = True, 0
        elif isinstance(frame, VADUserStoppedSpeakingFrame) and self._speaking:
            self._speaking = False
            spoken = f"({self._samples / self.sample_rate:.1f} seconds of speech)"
            line = self._lines.pop(0) if self._lines else spoken
            written = TranscriptionFrame(line, "", time_now_iso8601(), finalized=self._finalized)
            written.language = self._language  # type: ignore[assignment]  # as the script says, in the list or not
            await self.push_frame(written)


class ScriptedLLM(LLMService):
    """Repeats what it was told: "You said: ..."."""

    def __init__(self) -> None:
        unused: dict[str, Any] = {field.name: None for field in dataclasses.fields(LLMSettings)} | {"extra": {}}
        super().__init__(settings=LLMSettings(**unused))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        said = ""
        for message in frame.context.get_messages():
            if isinstance(message, dict) and message.get("role") == "user":
                said = str(message.get("content", ""))
        await self.push_frame(LLMFullResponseStartFrame())
        await self.push_frame(LLMTextFrame(f"You said: {said}" if said else "Hello."))
        await self.push_frame(LLMFullResponseEndFrame())


class ScriptedTTS(TTSService):
    """Hums: one soft tone for each word, int16 mono at 24 kHz."""

    def __init__(self) -> None:
        super().__init__(
            sample_rate=_TTS_SAMPLE_RATE,
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model=None, voice=None, language=None),
        )

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Hum ``text``."""
        time = np.arange(int(_SYLLABLE * _TTS_SAMPLE_RATE)) / _TTS_SAMPLE_RATE
        # Each tone swells and fades, so that words can be told apart and nothing clicks.
        envelope = np.sin(np.pi * time / _SYLLABLE) * _LOUDNESS * 32767
        for number, _ in enumerate(text.split()):
            tone = envelope * np.sin(2 * np.pi * _PITCHES[number % len(_PITCHES)] * time)
            audio = np.round(tone).astype("<i2").tobytes()
            yield TTSAudioRawFrame(audio, _TTS_SAMPLE_RATE, 1, context_id=context_id)
