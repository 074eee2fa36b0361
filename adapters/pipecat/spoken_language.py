"""Which language the user speaks, by what the STT names."""

from __future__ import annotations

from pipecat.frames.frames import InterimTranscriptionFrame, TranscriptionFrame

_SHORT_TRANSCRIPT = 5
"""Characters up to which a transcript's language is not trusted to replace one that is known; livekit-agents'
MIN_LANGUAGE_DETECTION_LENGTH (``voice/audio_recognition.py``)."""


class SpokenLanguage:
    """Follows the transcripts of a call."""

    def __init__(self) -> None:
        self.tag: str | None = None
        """BCP-47 tag, as the STT wrote it; None: none was named."""

    def heard(self, frame: TranscriptionFrame | InterimTranscriptionFrame) -> bool:
        """Take note of what a transcript names. Returns whether it is another language than before."""
        language = str(frame.language) if frame.language else None
        if language is None or language == self.tag:
            return False
        if self.tag is not None and len(frame.text) <= _SHORT_TRANSCRIPT:
            return False
        self.tag = language
        return True
