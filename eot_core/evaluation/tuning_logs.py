"""Pauses from decision logs (:mod:`eot_core.decision_log`) with audio: what happened after a pause is its label.

- The caller spoke on before the turn was ended: a hold.
- The turn was ended, and the caller spoke on within a second: a hold that was cut off.
- The turn was ended, and the caller did not: an end.

That is less sure than two-channel recordings. A caller who was cut off and waited counts as an end; how long a hold
lasted is known from the moment in which the detector was told of speech, some 0.1 s late. Where turn-detector-v1-mini
decided, nothing is taken: its scores tune nothing, and these labels came of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..cli.audio_file import AudioFileError
from ..decision_log import SCHEMA
from ..languages import language_key
from ..models import v1_mini
from ..models.base import ModelError, ModelLicenseError
from ..vad import SileroVAD
from ..vad.silero import SHA256
from .cache import ScoreCache, item_key
from .dataset import DatasetError
from .items import Item, Problem, Span
from .pauses import MAX_HOLD, Pauses
from .recording import AudioRef, Recording
from .scorers import Scorer
from .tuning_speech import speech_segments

CUT_OFF_WITHIN = 1.0
"""Seconds; whoever speaks on so soon after the end of the turn had not finished."""
_ANY_VERSION = SCHEMA.partition("/")[0] + "/"
_FIRST_LINES = 20


@dataclass(frozen=True, slots=True)
class LoggedPause:
    """One pause of one conversation."""

    request: str
    stream: str
    language: str
    audio: Path
    """What the model was given."""
    asked_at: float
    resumed_at: float | None
    """When the caller spoke on; None for an end. Both in seconds of the conversation's clock."""


@dataclass(slots=True)
class LoggedScores:
    """Scores of every pause that every model scored."""

    pauses: list[LoggedPause] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)
    """Seconds of silence at the end of each pause's audio."""
    scores: dict[str, list[float]] = field(default_factory=dict)

    def for_model(self, model: str) -> Pauses:
        """What is tuned on."""
        silence = np.array(self.silences, dtype=np.float64)
        held = [MAX_HOLD if p.resumed_at is None else p.resumed_at - p.asked_at for p in self.pauses]
        return Pauses(
            score=np.array(self.scores[model], dtype=np.float64),
            duration=np.maximum(0.0, np.array(held, dtype=np.float64)) + silence,
            is_end=np.array([p.resumed_at is None for p in self.pauses], dtype=np.bool_),
            cluster=np.array([p.stream for p in self.pauses], dtype=np.str_),
            answered_at=silence,
            language=np.array([p.language for p in self.pauses], dtype=np.str_),
        )


def find_logs(path: Path) -> list[Path]:
    """Decision logs at ``path``, or directly in it; what was rotated away (``.1``) comes first."""
    files = path.iterdir() if path.is_dir() else [path]
    return sorted((f for f in files if _is_log(f)), key=lambda f: (not f.name.endswith(".1"), f.name))


def _is_log(file: Path) -> bool:
    if not file.name.endswith((".jsonl", ".jsonl.1", ".log", ".log.1")):
        return False
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            # The first line may be the rest of one, where somebody kept the end of a log.
            return any(_ANY_VERSION in lines.readline(2_000) for _ in range(_FIRST_LINES))
    except OSError:
        return False


def read_logs(
    files: Sequence[Path], *, language: str | None = None, on_problem: Callable[[Problem], None]
) -> list[LoggedPause]:
    """The pauses whose outcome is known, and whose audio was kept.

    Args:
        files: decision logs, the older ones first.
        language: key; of lines that name none, and those of other languages are left out.
        on_problem: told of what cannot be used.

    Raises:
        DatasetError: a log cannot be read, or no pause is left.
        ModelLicenseError: all pauses were decided by v1-mini.
    """
    streams: dict[str, list[tuple[float, int, str, dict[str, Any], Path]]] = {}
    for file in files:
        for row in _lines(file, on_problem):
            event = _event(row)
            if event is not None:
                streams.setdefault(str(row.get("stream")), []).append((*event, row, file.parent))
    reader = _Reader(language, on_problem)
    for stream, events in streams.items():
        reader.stream(stream, sorted(events, key=lambda event: event[:2]))
    reader.report(files[0].name if files else "decision log")
    return reader.pauses


def _lines(file: Path, on_problem: Callable[[Problem], None]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    others: dict[str, list[int]] = {}
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    row = None
                if isinstance(row, dict) and row.get("schema") == SCHEMA:
                    rows.append(row)
                elif line.strip():
                    others.setdefault(_what_else(row), []).append(number)
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read: {error}") from error
    for why, numbers in others.items():
        first = f"line {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} lines, the first is line {numbers[0]}"
        on_problem(Problem(file.name, f"{first}: {why}"))
    return rows


def _what_else(row: Any) -> str:
    schema = row.get("schema") if isinstance(row, dict) else None
    if isinstance(schema, str) and schema.startswith(_ANY_VERSION):
        return f"{schema} is not known to this version, which reads {SCHEMA}"
    return f"no line of a decision log ({SCHEMA})"


_ORDER = {"turn_ended": 0, "speech": 1, "prediction": 2}


def _event(row: dict[str, Any]) -> tuple[float, int, str] | None:
    """When it was, an order among what was at the same time, and what it was. A prediction: when it was asked for."""
    kind = row.get("kind")
    at = row.get("asked_at") if kind == "prediction" else row.get("at")
    if kind not in _ORDER or isinstance(at, bool) or not isinstance(at, int | float):
        return None
    return float(at), _ORDER[kind], str(kind)


class _Reader:
    def __init__(self, language: str | None, on_problem: Callable[[Problem], None]) -> None:
        self._language = language
        self._on_problem = on_problem
        self.pauses: list[LoggedPause] = []
        self._spoken: str | None = None
        self._licensed = self._no_audio = self._no_language = self._unknown = self._other_language = 0

    def stream(self, stream: str, events: list[tuple[float, int, str, dict[str, Any], Path]]) -> None:
        asked: tuple[float, dict[str, Any], Path] | None = None
        ended_at: float | None = None
        # The first pause comes before the speech recogniser has named a language.
        self._spoken = next((k for _, _, _, row, _ in events if (k := language_key(row.get("language")))), None)
        for at, _, kind, row, folder in events:
            if kind == "prediction":
                if ended_at is not None:
                    self._pause(stream, asked, None)
                    asked = ended_at = None
                if asked is None:
                    asked = at, row, folder
                elif row.get("model") == v1_mini.NAME:  # asked again in the same pause, and it had a part
                    asked = asked[0], row, folder
            elif kind == "turn_ended":
                ended_at = at if asked is not None else None
            else:
                cut_off = ended_at is not None and at - ended_at <= CUT_OFF_WITHIN
                self._pause(stream, asked, at if ended_at is None or cut_off else None)
                asked = ended_at = None
        if ended_at is not None:
            self._pause(stream, asked, None)
        elif asked is not None:
            self._unknown += 1

    def _pause(self, stream: str, asked: tuple[float, dict[str, Any], Path] | None, resumed_at: float | None) -> None:
        if asked is None:
            return
        at, row, folder = asked
        language = language_key(row.get("language")) or self._spoken or self._language
        if row.get("model") == v1_mini.NAME:
            self._licensed += 1
        elif not row.get("audio"):
            self._no_audio += 1
        elif language is None:
            self._no_language += 1
        elif self._language not in (None, language):
            self._other_language += 1
        else:
            audio = _audio(str(row["audio"]), folder)
            self.pauses.append(LoggedPause(str(row.get("request")), stream, language, audio, at, resumed_at))

    def report(self, name: str) -> None:
        for count, why in (
            (self._licensed, f"were decided by {v1_mini.NAME}, whose scores tune nothing ({v1_mini.LICENSE})"),
            (self._no_audio, "have no audio: set EOT_DECISION_LOG_AUDIO=FOLDER as well"),
            (self._no_language, "name no language: give --language TAG"),
            (self._other_language, f"are in another language than {self._language}"),
            (self._unknown, "were cut short by the end of the log: what came after them is not known"),
        ):
            if count:
                self._on_problem(Problem(name, f"{count} pauses {why}"))
        if self.pauses:
            return
        if self._licensed:
            raise ModelLicenseError(f"{v1_mini.REFUSAL}; its scores train, tune and calibrate nothing")
        raise DatasetError(f"{name}: no pause is left whose audio was kept and whose end is known")


def _audio(path: str, folder: Path) -> Path:
    """Where the audio is, if the log and its folder were moved together."""
    kept = Path(path)
    moved = (folder / kept.name, folder / kept.parent.name / kept.name)
    return next((p for p in (kept, *moved) if p.is_file()), kept)


def score_logged(
    pauses: Sequence[LoggedPause],
    scorers: Sequence[Scorer],
    *,
    cache: Path | None = None,
    on_problem: Callable[[Problem], None],
    on_progress: Callable[[int, int], None] = lambda done, of: None,
    not_kept: Callable[[OSError], None] = lambda error: None,
) -> LoggedScores:
    """Score the audio of every pause with every model; what was computed is in ``cache`` at once.

    ``not_kept`` is told where it cannot be: the work goes on all the same.

    Raises:
        ModelError: a model, or the VAD, cannot be loaded.
        OSError: what the cache has cannot be read.
    """
    vad = SileroVAD()
    vad.warm_up()
    for scorer in scorers:
        scorer.prepare()
    silences = ScoreCache(cache, f"silero-tail-{SHA256}")
    caches = [ScoreCache(cache, scorer.fingerprint) for scorer in scorers]
    result = LoggedScores(scores={scorer.name: [] for scorer in scorers})
    try:
        for number, pause in enumerate(pauses, start=1):
            try:
                _score(pause, scorers, caches, silences, vad, result, not_kept)
            except (AudioFileError, ModelError) as error:
                on_problem(Problem(pause.request, str(error)))
            on_progress(number, len(pauses))
    finally:
        for kept in (silences, *caches):
            kept.close()
    return result


def _score(
    pause: LoggedPause,
    scorers: Sequence[Scorer],
    caches: Sequence[ScoreCache],
    silences: ScoreCache,
    vad: SileroVAD,
    result: LoggedScores,
    not_kept: Callable[[OSError], None],
) -> None:
    audio = AudioRef(path=pause.audio)
    recording = audio.open()
    try:
        end = recording.duration
        key = item_key(audio.checksum(), 0.0, None, is_excerpt=True)
        (silence,) = silences.get(key, [end])
        if silence is None:
            silence = _silence_at_the_end(recording, vad)
            _keep(silences, key, pause, {end: silence}, not_kept)
        if silence >= end:
            raise AudioFileError(f"{pause.audio}: no speech is heard in it: silent, or not speech")
        spans = (Span(end - silence, end + MAX_HOLD),)
        item = Item(pause.request, pause.language, audio, spans, pause.stream, is_excerpt=True)
        scores: list[float] = []
        for scorer, kept in zip(scorers, caches, strict=True):
            (score,) = kept.get(key, [end])
            if score is None:
                score = scorer.score(item, recording, end)
                _keep(kept, key, pause, {end: score}, not_kept)
            scores.append(score)
    finally:
        recording.close()
    result.pauses.append(pause)
    result.silences.append(silence)
    for scorer, score in zip(scorers, scores, strict=True):
        result.scores[scorer.name].append(score)


def _keep(
    cache: ScoreCache,
    key: str,
    pause: LoggedPause,
    scores: Mapping[float, float],
    not_kept: Callable[[OSError], None],
) -> None:
    try:
        cache.put(key, pause.request, scores)
    except OSError as error:
        not_kept(error)
        cache.forget()


def _silence_at_the_end(recording: Recording, vad: SileroVAD) -> float:
    segments = speech_segments(recording, vad)
    return round(recording.duration - segments[-1][1], 3) if segments else recording.duration
