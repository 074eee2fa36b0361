"""A dataset whose right answers are known: the level of a pause is the probability that the toy model gives it."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from models.tiny_onnx import write_mean_model

from eot_core.evaluation.dataset import read_dataset
from eot_core.evaluation.items import Problem
from eot_core.evaluation.scorers import ModelScorer, Scorer
from eot_core.evaluation.scoring import ScoredSet, ScoringOptions, score_items
from eot_core.models.onnx_file import onnx_file

RATE = 16_000
WINDOW = 0.1
"""Seconds that the toy model hears: the second half of the 0.2 s before the moment of scoring."""

Pcm = npt.NDArray[np.int16]

# Each turn: (speech before, pause, probability), the last pause is the end. Durations in seconds.
TURNS: dict[str, list[tuple[float, float, float]]] = {
    "a-1": [(0.5, 0.3, 0.1), (0.5, 1.0, 0.9)],
    "a-2": [(0.5, 0.5, 0.2), (0.5, 1.0, 0.8)],
    "b-1": [(0.5, 0.8, 0.6), (0.5, 1.0, 0.7)],
    "b-2": [(0.5, 2.0, 0.3), (0.5, 1.0, 0.4)],
}


def write_wav(path: Path, pcm: Pcm, *, rate: int = RATE, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(pcm.astype("<i2").tobytes())
    return path


def turn(parts: list[tuple[float, float, float]], *, rate: int = RATE) -> tuple[Pcm, list[dict[str, float]]]:
    """Audio and spans. A pause has its probability as its level until it is scored; then one that no model may hear."""
    sound: list[Pcm] = []
    spans = []
    at = 0.0
    for speech, pause, probability in parts:
        sound.append(np.random.default_rng(1).integers(-9000, 9000, round(speech * rate)).astype(np.int16))
        heard = np.full(round(min(0.2, pause) * rate), round(probability * 32_768), dtype=np.int16)
        sound += [heard, np.full(round(pause * rate) - len(heard), -20_000, dtype=np.int16)]
        spans.append({"start": round(at + speech, 6), "end": round(at + speech + pause, 6)})
        at += speech + pause
    return np.concatenate(sound), spans


def write_known(folder: Path, turns: dict[str, list[tuple[float, float, float]]] = TURNS) -> Path:
    """``turns.jsonl`` and its recordings; the speaker is what comes before the dash."""
    rows = []
    for name, parts in turns.items():
        pcm, spans = turn(parts)
        write_wav(folder / f"{name}.wav", pcm)
        rows.append(row(name, f"{name}.wav", spans))
    return write_rows(folder / "turns.jsonl", rows)


def row(name: str, audio: Any, spans: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "language": "en",
        "audio": audio,
        "silence_spans": spans,
        "speaker": name.split("-")[0],
        "split": "test",
        **more,
    }


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def toy_model(folder: Path) -> ModelScorer:
    """Says the mean level of what it hears."""
    path = write_mean_model(folder / "toy.onnx", ["batch", "samples"], ends_in="Identity")
    return ModelScorer(onnx_file(path, window=WINDOW, name="toy"), fingerprint="toy-1")


class Problems(list[Problem]):
    """Collects what was said."""

    def __call__(self, problem: Problem) -> None:
        self.append(problem)

    def messages(self, item: str) -> list[str]:
        return [p.message for p in self if p.item == item]


UNCHECKED = ScoringOptions(check_speech=False)


def scored(
    path: Path, *scorers: Scorer, options: ScoringOptions = UNCHECKED, cache: Path | None = None
) -> tuple[ScoredSet, Problems]:
    """The rows of ``path`` with the scores of ``scorers``, and what was said on the way."""
    problems = Problems()
    items = read_dataset(path, on_problem=problems)
    return score_items(items, scorers, options, cache=cache, on_problem=problems), problems
