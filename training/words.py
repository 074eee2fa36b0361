"""Share of spoken words that each model takes for a turn: ``python -m training.words FOLDER [--most 40]``.

For single words, one a file, in any format and rate that soundfile reads, one folder a language. A word is an answer
and its end the end of a turn, so this is the share of one-word answers that do not wait for the maximum delay. It says
nothing of holds: see the sets "short turns" of ``training.report`` for those.

Files in which Silero hears no speech, or more than one stretch of it, are left out. Each model hears what it does in a
call, from 0.7 s before Silero is sure of the speech to 0.2 s after its end; what a file lacks at its ends is filled
with noise as soft as its quietest 5 %.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from eot_core.audio import to_pcm
from eot_core.models.base import SAMPLE_RATE
from eot_core.models.registry import resolve_model
from eot_core.models.spoken import spoken_seconds
from eot_core.vad import SileroVAD, SpeechEnded, SpeechStarted

MODELS = ("smart-turn-v3.2", "eot-open-1", "eot-open-1-fast")
SUFFIXES = (".ogg", ".opus", ".wav", ".flac", ".mp3")
LENGTHS = (0.0, 0.5, 0.8, 1.3, float("inf"))
"""Bounds of the rows, in seconds of speech as the heads count it."""
_BEFORE, _AFTER = 1.0, 1.5
"""Seconds of noise that are added to a file, for the VAD to be sure of its first and last word."""
_LEAD, _HEARD = 0.7, 0.2

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Word:
    """One file."""

    language: str
    """Its folder's name."""
    spoken: float
    """Seconds."""
    probabilities: tuple[float, ...]
    """Of :data:`MODELS`."""


def with_quiet(wave: Wave, rng: np.random.Generator) -> Wave:
    """The file between two stretches of noise, all at 16 kHz, shape (n,)."""
    frames = wave[: len(wave) // 160 * 160].reshape(-1, 160)
    level = min(0.003, float(np.sqrt(np.quantile((frames**2).mean(axis=1), 0.05))))
    before, after = (level * rng.standard_normal(round(s * SAMPLE_RATE)) for s in (_BEFORE, _AFTER))
    return np.concatenate([before, wave, after]).astype(np.float32)


def word_in(wave: Wave, vad: SileroVAD) -> Wave | None:
    """What a model hears of the only stretch of speech, at 16 kHz; None where there is none, or more than one."""
    events = [e for e in vad.stream().push(to_pcm(wave), SAMPLE_RATE) if isinstance(e, SpeechStarted | SpeechEnded)]
    if [type(event) for event in events] != [SpeechStarted, SpeechEnded]:
        return None
    started, ended = events
    assert isinstance(ended, SpeechEnded)
    first, last = max(0.0, started.at - _LEAD), ended.speech_ended_at + _HEARD
    return wave[round(first * SAMPLE_RATE) : round(last * SAMPLE_RATE)]


def words(folder: Path, most: int) -> Iterator[Word]:
    """Up to ``most`` words of each folder, the same ones each time."""
    vad, rng = SileroVAD(), np.random.default_rng(0)
    models = [resolve_model(name).load() for name in MODELS]
    found = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    random.Random(0).shuffle(found)
    taken: dict[Path, int] = {}
    for path in found:
        if taken.get(path.parent, 0) >= most:
            continue
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = soxr.resample(wave.mean(axis=1), rate, SAMPLE_RATE)
        heard = word_in(with_quiet(mono, rng), vad) if len(mono) >= SAMPLE_RATE // 10 else None
        if heard is None:
            continue
        taken[path.parent] = taken.get(path.parent, 0) + 1
        pcm = to_pcm(heard)
        language = path.parent.relative_to(folder).as_posix()
        yield Word(language, spoken_seconds(heard), tuple(model.predict(pcm) for model in models))


def row(label: str, some: Sequence[Word]) -> str:
    """A line of the table: how many words there are, and how many of them each model finds."""
    thresholds = [resolve_model(name).default_threshold for name in MODELS]
    counts = [sum(word.probabilities[i] >= threshold for word in some) for i, threshold in enumerate(thresholds)]
    return f"| {label} | {len(some)} | " + " | ".join(f"{count / len(some):.2f} ({count})" for count in counts) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=40, help="words of each folder (default: 40)")
    arguments = parser.parse_args()
    found = list(words(arguments.folder, arguments.most))
    if not found:
        parser.error(f"{arguments.folder}: no file with one stretch of speech in it")
    print("| words | of them | " + " | ".join(MODELS) + " |\n" + "|---" * (len(MODELS) + 2) + "|")
    print(row("all", found))
    for low, high in itertools.pairwise(LENGTHS):
        if some := [word for word in found if low <= word.spoken < high]:
            print(row(f"{low:g}-{high:g} s of speech", some))
    for language in sorted({word.language for word in found}):
        print(row(language, [word for word in found if word.language == language]))


if __name__ == "__main__":
    main()
