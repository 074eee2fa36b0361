"""A record of what was decided, for whoever has to explain a turn, or wants to tune: ``EOT_DECISION_LOG=path.jsonl``.

Off by default; the variable is looked at when a stream is made. One JSON object per line, appended and on its way to
the disk when the event is over. What every line has:

=========  ============================================================================================================
schema     "eot-decision-log/1"
kind       "prediction", "fallback", "speech" (the user speaks, or speaks on), "turn_ended"
time       wall-clock time, ISO 8601, UTC
at         seconds of the stream's own clock: subtract these, not ``time``
stream     the conversation; random, and the same in all of its lines
=========  ============================================================================================================

A prediction has besides: ``request``, ``asked_at`` (seconds of the same clock; null where nothing could be asked),
``model``, ``sha256`` of its weights (null for the cloud's and for a user's file; of the head, where one of a
calibration file gave the score: ``model`` names it), ``source``, ``outcome``, ``reason``, ``probability``,
``threshold``, ``language``, ``queue_time``, ``network_time``, ``inference_time``, ``detection_delay``, ``min_delay``,
``max_delay`` and ``exponent`` (null where the framework's own delays hold), and ``audio``. A fallback has ``from``,
``to``, ``reason``, ``recovered``; a turn's end ``reason``. Transcripts, credentials and addresses are in none of them.

With ``EOT_DECISION_LOG_AUDIO=folder`` the audio that each request was about is kept too, as 16 kHz WAV, named in
``audio``. THAT IS THE SPEECH OF PERSONS: have their consent, keep it no longer than needed. Files are readable by their
owner only.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import threading
import time
import wave
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

from .events import FallbackOccurred, Prediction

if TYPE_CHECKING:
    from .clock import Clock
    from .models.base import PcmArray
    from .session import DetectorSession
    from .transports.base import InferenceRequest

logger = logging.getLogger("eot_core")

SCHEMA = "eot-decision-log/1"
PATH = "EOT_DECISION_LOG"
AUDIO = "EOT_DECISION_LOG_AUDIO"
MAX_BYTES = 100 * 1024 * 1024
"""A log that has grown to this is renamed to ``path.1`` (one that was there is lost) and begun anew. About 200,000
predictions."""
MAX_AUDIO_BYTES = 2 * 1024**3
"""No audio is kept beyond this; about 8,000 requests of 8 s. What is there already counts."""


class DecisionLog:
    """A log file, and a folder for audio. For any number of threads and processes; never raises."""

    def __init__(
        self, path: str, audio: str | None = None, *, max_bytes: int = MAX_BYTES, max_audio_bytes: int = MAX_AUDIO_BYTES
    ) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))
        self.audio = os.path.abspath(os.path.expanduser(audio)) if audio else None
        self._max_bytes = max_bytes
        self._max_audio_bytes = max_audio_bytes
        self._audio_bytes: int | None = None
        self._lock = threading.Lock()
        self._complained: set[str] = set()
        self._torn = False
        """The last line that was written lacks its end."""

    def write(self, row: dict[str, Any]) -> None:
        """Append a line."""
        try:
            line = (json.dumps({"schema": SCHEMA, **row}, allow_nan=False) + "\n").encode()
            # Opened anew each time (some 20 us), so that a rename by another process, or by logrotate, is noticed. One
            # write to a file opened for appending: lines of threads and processes do not mix.
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _CLOEXEC, 0o600)
            try:
                self._append(descriptor, line)
                full = os.fstat(descriptor).st_size >= self._max_bytes
            finally:
                os.close(descriptor)
            if full:
                self._rotate()
        except (OSError, ValueError, TypeError) as error:
            self._complain(f"{PATH}: cannot write {self.path}: {error}")

    def _append(self, descriptor: int, line: bytes) -> None:
        if self._torn and os.fstat(descriptor).st_size:
            line = b"\n" + line
        self._torn = os.write(descriptor, line) < len(line)
        if self._torn:  # the disk became full in the middle of it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def keep_audio(self, request_id: str, pcm: PcmArray) -> str | None:
        """Keep what a request was about: int16 mono at 16 kHz, shape (n,).

        Returns:
            Path of the WAV, or None where none was kept.
        """
        if self.audio is None or len(pcm) == 0:
            return None
        try:
            data = _wav(pcm)
            with self._lock:
                if self._audio_bytes is None:
                    os.makedirs(self.audio, mode=0o700, exist_ok=True)
                    self._audio_bytes = sum(e.stat().st_size for e in os.scandir(self.audio) if e.is_file())
                if self._audio_bytes + len(data) > self._max_audio_bytes:
                    self._complain(f"{AUDIO}: {self.audio} holds {self._audio_bytes:,} bytes: no more audio is kept")
                    return None
                self._audio_bytes += len(data)
            path = os.path.join(self.audio, re.sub(r"[^A-Za-z0-9_-]", "_", request_id) + ".wav")
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(data)
            return path
        except (OSError, ValueError, TypeError) as error:
            self._complain(f"{AUDIO}: cannot write to {self.audio}: {error}")
            return None

    def _rotate(self) -> None:
        with self._lock, open(self.path + ".lock", "a", opener=_private) as lock:
            _lock_file(lock.fileno())
            # Whoever held the lock before may have done it.
            if os.path.exists(self.path) and os.path.getsize(self.path) >= self._max_bytes:
                os.replace(self.path, self.path + ".1")

    def _complain(self, message: str) -> None:
        kind = message.split(":", 1)[0]
        if kind not in self._complained:
            self._complained.add(kind)
            logger.warning("%s (said once)", message)


class StreamLog:
    """The lines of one conversation. Never raises."""

    def __init__(self, log: DecisionLog, session: DetectorSession, clock: Clock) -> None:
        self._log = log
        self._session = session
        self._clock = clock
        self._asked: dict[str, tuple[float, str | None]] = {}
        self._last: str | None = None

    def asked(self, request: InferenceRequest) -> None:
        """A request was started; again, where another model takes over."""
        if request.request_id not in self._asked:
            kept = self._log.keep_audio(request.request_id, request.pcm)
            self._asked[request.request_id] = (request.created_at, kept)

    def event(self, payload: object) -> None:
        """A :class:`Prediction`, whatever its outcome, or a :class:`FallbackOccurred`; anything else is ignored."""
        match payload:
            case Prediction():
                self._write("prediction", self._prediction(payload))
            case FallbackOccurred():
                self._write(
                    "fallback",
                    {
                        "from": payload.from_model,
                        "to": payload.to_model,
                        "reason": payload.reason,
                        "recovered": payload.recovered,
                    },
                )

    def speech(self) -> None:
        """The user speaks. Said once, until something else happens."""
        if self._last != "speech":
            self._write("speech", {})

    def turn_ended(self, reason: str | None) -> None:
        """The turn was ended. Said once, until something else happens."""
        if self._last not in (None, "turn_ended"):
            self._write("turn_ended", {"reason": None if reason is None else str(reason)[:200]})

    def _prediction(self, prediction: Prediction) -> dict[str, Any]:
        asked_at, audio = self._asked.pop(prediction.request_id, (None, None))
        session = self._session
        delays = session.endpointing(None)
        local = session.options.local
        return {
            "request": prediction.request_id,
            "asked_at": None if asked_at is None else round(asked_at, 6),
            "model": prediction.model,
            "sha256": None if local is None else local.sha256_of(prediction.model),
            "source": prediction.source,
            "outcome": prediction.outcome.value,
            "reason": prediction.reason,
            "probability": prediction.probability,
            "threshold": session.threshold(None),
            "language": session.language,
            "queue_time": round(prediction.queue_time, 6),
            "network_time": round(prediction.network_time, 6),
            "inference_time": round(prediction.inference_time, 6),
            "detection_delay": round(prediction.detection_delay, 6),
            "min_delay": None if delays is None else delays.min_delay,
            "max_delay": None if delays is None else delays.max_delay,
            "exponent": None if delays is None else delays.exponent,
            "audio": audio,
        }

    def _write(self, kind: str, more: dict[str, Any]) -> None:
        self._last = kind
        now = datetime.fromtimestamp(time.time(), UTC)
        self._log.write(
            {
                "kind": kind,
                "time": now.isoformat(timespec="milliseconds"),
                "at": round(self._clock.now(), 6),
                "stream": self._session.session_id,
                **more,
            }
        )


_logs: dict[tuple[str, str | None], DecisionLog] = {}
_logs_lock = threading.Lock()


def for_stream(session: DetectorSession, clock: Clock) -> StreamLog | None:
    """The log of a new stream; None where ``EOT_DECISION_LOG`` is not set."""
    path = os.environ.get(PATH)
    if not path:
        return None
    audio = os.environ.get(AUDIO) or None
    with _logs_lock:
        log = _logs.setdefault((path, audio), DecisionLog(path, audio))
    return StreamLog(log, session, clock)


_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


def _wav(pcm: PcmArray) -> bytes:
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(pcm.astype("<i2").tobytes())
    return buffer.getvalue()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _lock_file(descriptor: int) -> None:
    """Until it is closed. Where the system has no such locks, only the threads of this process are kept apart."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
