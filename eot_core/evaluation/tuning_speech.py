"""Who speaks when: Silero VAD over a recording of any length, one channel at a time. Kept, so that it is heard once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from ..models.base import SAMPLE_RATE
from ..vad import SileroVAD, SpeechEnded, SpeechStarted, VADOptions
from ..vad.silero import SHA256
from .recording import Recording

Segments = list[tuple[float, float]]
"""[start, end] of speech in seconds of the recording, in order."""

OPTIONS = VADOptions(min_speech_duration=0.09, min_silence_duration=0.09)
"""Finer than live, where a pause is one of 0.25 s: three windows of 32 ms, so that a silence of 0.1 s is one."""
PIECE = 30.0
"""Seconds that are decoded at a time."""
MAX_VAD_RATE = 48_000
"""Hz; above, a piece is resampled before the VAD hears it."""


def speech_segments(recording: Recording, vad: SileroVAD, heard: Callable[[float], None] | None = None) -> Segments:
    """Speech on the recording's channel.

    Args:
        recording: open, with the channel chosen.
        vad: its options are not used; :data:`OPTIONS` are.
        heard: told how many more seconds were listened to.

    Raises:
        ModelError: the VAD cannot be loaded.
        AudioFileError: the recording cannot be decoded.
    """
    stream = vad.stream(OPTIONS)
    segments: Segments = []
    start: float | None = None
    at = 0.0
    while at < recording.duration:
        until = min(recording.duration, at + PIECE)
        if recording.rate > MAX_VAD_RATE:
            pcm, rate = recording.read_16k(at, until), SAMPLE_RATE
        else:
            pcm, rate = recording.read(at, until), recording.rate
        for event in stream.push(pcm, rate):
            if isinstance(event, SpeechStarted):
                start = event.speech_started_at
            elif isinstance(event, SpeechEnded) and start is not None:
                segments.append((round(start, 3), round(event.speech_ended_at, 3)))
                start = None
        if heard is not None:
            heard(until - at)
        at = until
    if start is not None:
        segments.append((round(start, 3), round(recording.duration, 3)))
    return [(start, end) for start, end in segments if end > start]


class SegmentCache:
    """Segments by content and channel, a small file each."""

    def __init__(self, folder: Path | None, not_kept: Callable[[OSError], None] = lambda error: None) -> None:
        """
        Args:
            folder: the cache of scores; a folder in it is made. None keeps nothing.
            not_kept: told why something is not kept; what was heard counts all the same.
        """
        self._folder: Path | None = None
        self._not_kept = not_kept
        if folder is not None:
            version = hashlib.sha256(f"1 {SHA256} {OPTIONS}".encode()).hexdigest()[:12]
            self._folder = folder / f"speech-{version}"
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                not_kept(error)
                self._folder = None

    def get(self, checksum: str, channel: int) -> Segments | None:
        """What was kept; None where nothing was, or it cannot be read."""
        path = self._path(checksum, channel)
        if path is None or not path.is_file():
            return None
        try:
            return [(float(start), float(end)) for start, end in json.loads(path.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            return None

    def put(self, checksum: str, channel: int, segments: Segments) -> None:
        """Keep them; whole, or not at all."""
        path = self._path(checksum, channel)
        if path is None:
            return
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            part.write_text(json.dumps(segments), encoding="utf-8")
            part.replace(path)
        except OSError as error:
            self._not_kept(error)
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def _path(self, checksum: str, channel: int) -> Path | None:
        return None if self._folder is None else self._folder / f"{checksum}-{channel}.json"
