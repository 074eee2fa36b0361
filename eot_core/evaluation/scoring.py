"""From items to scored pauses: causal, resumable, and losing nothing to an item that cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cli.audio_file import AudioFileError
from ..models.base import SAMPLE_RATE, ModelError
from . import checks
from .cache import ScoreCache, item_key
from .items import Item, Problem
from .recording import Recording
from .scored import ScoredPause, ScoredSet, ScoringOptions
from .scorers import Scorer

__all__ = ["ScoredPause", "ScoredSet", "ScoringOptions", "score_items"]

_SLACK = 1e-6
_KEPT_EVERY = 100
"""Scores of one recording that are computed between two writes: hours of a call may be one recording."""


def score_items(
    items: Sequence[Item],
    scorers: Sequence[Scorer],
    options: ScoringOptions | None = None,
    *,
    cache: Path | None = None,
    on_problem: Callable[[Problem], None],
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> ScoredSet:
    """Score every pause of every item with every model.

    A pause is in the result only where every model that could be loaded gave it a score, so that all are compared on
    the same pauses. What was computed is in ``cache`` at once: an interrupted run goes on where it was. Where the cache
    cannot be written, ``on_problem`` is told once, and nothing more is kept.

    Args:
        items: see :func:`eot_core.evaluation.dataset.read_dataset`.
        scorers: see :func:`eot_core.evaluation.scorers.make_scorers`.
        options: None takes the defaults.
        cache: folder for scores; None keeps none.
        on_problem: told of everything that was left out, and why.
        on_progress: told after each item: how many are done, of how many.
    """
    options = options or ScoringOptions()
    result = ScoredSet(options)
    ready: list[Scorer] = []
    for scorer in scorers:
        try:
            scorer.prepare()
            ready.append(scorer)
        except ModelError as error:
            result.failed[scorer.name] = str(error)
    run = _Run(options, ready, cache, on_problem, result)
    try:
        for number, item in enumerate(items, start=1):
            run.item(item)
            on_progress(number, len(items))
    finally:
        run.close()
    run.finish()
    result.notes += run.notes()
    return result


@dataclass(frozen=True, slots=True)
class _Row:
    """The scores of one recording."""

    item: Item
    indices: list[int]
    lengths: list[int]
    """How many scores each of the pauses has."""
    scores: dict[str, list[float]]
    """By model, those of all pauses in a row; models that failed are not there."""


class _Run:
    def __init__(
        self,
        options: ScoringOptions,
        scorers: Sequence[Scorer],
        cache: Path | None,
        on_problem: Callable[[Problem], None],
        result: ScoredSet,
    ) -> None:
        self._options = options
        self._scorers = scorers
        self._on_problem = on_problem
        self._told = False
        self._caches = {s.name: self._opened(cache, s.fingerprint) for s in scorers}
        self._checked = self._opened(cache, checks.FINGERPRINT)
        self._check = options.check_speech
        self._result = result
        self._seen: Counter[str] = Counter()
        self._rates: dict[int, set[Path | str]] = {}
        self._rows: list[_Row] = []
        self._failures: dict[str, list[Problem]] = {}

    def close(self) -> None:
        for cache in (*self._caches.values(), self._checked):
            cache.close()

    def item(self, item: Item) -> None:
        try:
            recording = item.audio.open(self._channel(item))
        except AudioFileError as error:
            self._on_problem(Problem(item.id, str(error)))
            return
        try:
            self._item(item, recording)
        except (AudioFileError, ModelError) as error:
            self._on_problem(Problem(item.id, str(error)))
        finally:
            recording.close()

    def _item(self, item: Item, recording: Recording) -> None:
        indices = self._indices(item, recording)
        if not indices:
            return
        checksum = item.audio.checksum()
        if self._check and not self._sounds_right(item, recording, checksum):
            return
        moments = [self._moments(item, i, recording) for i in indices]
        flat = [t for some in moments for t in some]
        key = item_key(checksum, item.turn_start, self._channel(item))
        scores: dict[str, list[float]] = {}
        for scorer in self._scorers:
            try:
                scores[scorer.name] = self._score(scorer, item, recording, key, flat)
            except ModelError as error:
                self._failures.setdefault(scorer.name, []).append(Problem(item.id, str(error)))
        self._describe(item, recording, indices)
        self._rows.append(_Row(item, indices, [len(some) for some in moments], scores))

    def finish(self) -> None:
        """Keep the pauses that every model scored; a model that failed on most recordings does not count."""
        result = self._result
        for model, problems in self._failures.items():
            if 2 * len(problems) > len(self._rows):
                first = problems[0].message
                result.failed[model] = f"failed on {_recordings(len(problems))} of {len(self._rows)}: {first}"
                continue
            for problem in problems:  # it is left out for all models
                self._on_problem(problem)
        models = [s.name for s in self._scorers if s.name not in result.failed]
        result.scores = {model: [] for model in models}
        wide = len(self._options.moments)
        for row in self._rows:
            if any(model not in row.scores for model in models):
                continue
            result.pauses += [ScoredPause(row.item, i) for i in row.indices]
            for model in models:
                at = 0
                for number in row.lengths:
                    some = row.scores[model][at : at + number]
                    result.scores[model].append(some + [float("nan")] * (wide - number))
                    at += number

    def _channel(self, item: Item) -> int | None:
        return self._options.channel if item.channel is None else item.channel

    def _indices(self, item: Item, recording: Recording) -> list[int]:
        """Spans that are to be scored."""
        chosen = []
        for i, span in enumerate(item.spans):
            is_end = i == len(item.spans) - 1
            if span.end > recording.duration + 0.05:
                self._on_problem(
                    Problem(
                        item.id,
                        f"silence_spans[{i}] ends at {span.end:.2f} s, the recording at {recording.duration:.2f} s: "
                        "mislabelled, or cut short",
                    )
                )
                return []
            if is_end:
                if span.duration < self._options.score_at - _SLACK:
                    self._on_problem(
                        Problem(
                            item.id,
                            f"its last silence lasts {span.duration:.2f} s: too short to be scored at "
                            f"{self._options.score_at:g} s, so that its end of turn is left out (nothing is padded)",
                        )
                    )
                    continue
            elif not self._options.min_hold - _SLACK <= span.duration <= self._options.max_hold + _SLACK:
                continue
            chosen.append(i)
        return chosen

    def _moments(self, item: Item, index: int, recording: Recording) -> list[float]:
        span = item.spans[index]
        until = min(span.end, recording.duration)
        first, *later = self._options.moments
        if first > span.duration + _SLACK:
            return []  # over before a model is asked
        return [span.start + first, *(span.start + t for t in later if span.start + t <= until + _SLACK)]

    def _score(self, scorer: Scorer, item: Item, recording: Recording, key: str, moments: list[float]) -> list[float]:
        known = self._caches[scorer.name].get(key, moments)
        fresh: dict[float, float] = {}
        kept = 0
        try:
            for at, score in zip(moments, known, strict=True):
                if score is None:
                    fresh[at] = scorer.score(item, recording, at)
                    if len(fresh) - kept >= _KEPT_EVERY:
                        self._keep(scorer.name, key, item, dict(list(fresh.items())[kept:]))
                        kept = len(fresh)
        finally:  # also of what was interrupted, or failed, in the middle
            self._keep(scorer.name, key, item, dict(list(fresh.items())[kept:]))
        return [fresh[at] if score is None else score for at, score in zip(moments, known, strict=True)]

    def _opened(self, folder: Path | None, fingerprint: str | None) -> ScoreCache:
        try:
            return ScoreCache(folder, fingerprint)
        except OSError as error:
            self._not_kept(error)
            return ScoreCache(None, None)

    def _keep(self, name: str | None, key: str, item: Item, scores: dict[float, float]) -> None:
        """Keep a model's scores, or (None) what was found of the labels."""
        cache = self._checked if name is None else self._caches[name]
        try:
            cache.put(key, item.id, scores)
        except OSError as error:
            self._not_kept(error)
            cache.forget()

    def _not_kept(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            self._on_problem(
                Problem(
                    "cache",
                    f"scores are not kept, so that a run that is interrupted cannot go on where it was ({error}): make "
                    "room or choose another folder (--cache)",
                    left_out=False,
                )
            )

    def _sounds_right(self, item: Item, recording: Recording, checksum: str) -> bool:
        # A share for the turn, one for each span, and one for what follows: kept under the moments at which they begin.
        key = item_key(f"{checksum} {item.spans}", item.turn_start, self._channel(item))
        moments = [-1.0, *(span.start for span in item.spans), item.spans[-1].end]
        kept = self._checked.get(key, moments)
        shares = [share for share in kept if share is not None]
        if len(shares) < len(kept):
            try:
                shares = checks.speech_shares(item, recording)
            except ModelError as error:
                self._check = False
                self._result.notes.append(f"labels were not checked for speech: {error}")
                return True
            self._keep(None, key, item, dict(zip(moments, shares, strict=True)))
        problems = checks.judge(item, shares)
        for problem in problems:
            self._on_problem(problem)
        return not any(problem.left_out for problem in problems)

    def _describe(self, item: Item, recording: Recording, indices: list[int]) -> None:
        self._rates.setdefault(recording.rate, set()).add(item.audio.path or item.id)  # a call has many turns
        self._seen["several channels"] += recording.channels > 1 and item.channel is None
        for i in indices:
            kind = "end" if i == len(item.spans) - 1 else "hold"
            span = item.spans[i]
            heard = recording.read(span.start, min(span.end, span.start + self._options.score_at))
            self._seen[kind] += 1
            self._seen[f"digital {kind}"] += len(heard) > 0 and int(np.max(heard)) == int(np.min(heard))

    def notes(self) -> list[str]:
        notes = []
        for rate, recordings in sorted(self._rates.items()):
            if rate != SAMPLE_RATE:
                up = f"upsampled, with nothing in them above {rate / 2000:g} kHz"
                notes.append(
                    f"{_recordings(len(recordings))} at {rate} Hz: {up if rate < SAMPLE_RATE else 'downsampled'}"
                )
        if self._seen["several channels"]:
            what = "mixed down to their mean" if self._options.channel is None else f"channel {self._options.channel}"
            notes.append(
                f"{_recordings(self._seen['several channels'])} with several channels: {what}; in a recorded call "
                "choose the caller's channel"
            )
        ends, holds = self._share("end"), self._share("hold")
        if self._seen["end"] and self._seen["hold"] and abs(ends - holds) > 0.05:
            notes.append(
                f"digital silence in {ends:.0%} of the ends but {holds:.0%} of the holds: padding tells the label, "
                "so that figures on this set are too good; cut the recordings from longer ones, or pad both alike"
            )
        return notes

    def _share(self, kind: str) -> float:
        return self._seen[f"digital {kind}"] / self._seen[kind] if self._seen[kind] else 0.0


def _recordings(number: int) -> str:
    return f"{number} recording{'s' * (number != 1)}"
