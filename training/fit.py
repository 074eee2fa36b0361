"""Fit the heads: ``python -m training.fit --data ../shared/audio --cache CACHE``.

Reads the ``train`` split of a folder in the eot-bench schema (``turns.jsonl``), runs smart-turn's encoder over its
pauses (minutes, once; kept in the cache folder), fits each head in seconds and writes it as JSON. Same data and seed,
same file, up to the rounding of the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eot_core.models import graph, smart_turn
from eot_core.models.eot_open_head import FORMAT, HeadInput, encode_vector
from training.data import Pause, read
from training.features import EDGES, extract, plain
from training.logistic import Features, Floats, Linear, calibrate, fit
from training.recipes import RECIPES, SPONTANEOUS, Recipe

Columns = dict[str, npt.NDArray[np.generic]]
ALL_OUTPUTS = (*graph.HIDDEN, graph.EMBEDDING, graph.LOGIT)
MIN_DETECTED = 0.9
"""Share of ends that reach the default threshold, on average over the sources that have enough holds to tell."""
MIN_HOLDS = 100


def outputs_of(recipe: Recipe) -> tuple[str, ...]:
    """What the encoder must give for ``recipe``; at 8 s everything, so that all models share one run."""
    return ALL_OUTPUTS if recipe.window == graph.FULL_WINDOW else (graph.HIDDEN[1],)


def design(columns: Columns, inputs: Sequence[HeadInput], outputs: Sequence[str]) -> Features:
    """Features of a head, shape (n, d), from what :func:`training.features.extract` gives."""
    layers = [name for name in outputs if name in graph.HIDDEN]
    blocks: list[Features] = []
    for item in inputs:
        if item.tensor == graph.EMBEDDING:
            blocks.append(np.asarray(columns["embedding"], dtype=np.float32))
            continue
        low, high = EDGES.index(item.newest), EDGES.index(item.oldest)
        lengths = np.diff(EDGES)[low:high].astype(np.float32)
        means = columns["hidden"][:, layers.index(item.tensor), low:high].astype(np.float32)
        blocks.append(np.tensordot(means, lengths / lengths.sum(), axes=([1], [0])))
    return np.concatenate(blocks, axis=1)


def weights_of(pauses: Sequence[Pause], emphasis: float) -> Floats:
    """Each source and class counts as the square root of its size: a large source speaks louder, not alone."""
    sizes = Counter((pause.source, pause.is_end) for pause in pauses)
    return np.array(
        [
            sizes[pause.source, pause.is_end] ** -0.5 * (emphasis if pause.source == SPONTANEOUS else 1.0)
            for pause in pauses
        ]
    )


class Fitted:
    """A head and how it does on speakers that it was not fitted on."""

    def __init__(self, recipe: Recipe, pauses: Sequence[Pause], features: Features, raw: Floats, folds: int, seed: int):
        self.recipe = recipe
        label = np.array([pause.is_end for pause in pauses], dtype=np.float64)
        weight = weights_of(pauses, recipe.emphasis)
        teacher = 1.0 / (1.0 + np.exp(-raw))
        target = (1.0 - recipe.teacher_share) * label + recipe.teacher_share * teacher
        held_out = np.zeros(len(pauses))
        for inside in by_speaker(pauses, folds, seed):
            line = fit(features[inside], target[inside], weight[inside], recipe.penalty)
            held_out[~inside] = line(features[~inside])
        held_out += recipe.raw_share * raw
        self.line: Linear = fit(features, target, weight, recipe.penalty)
        self.slope, self.offset = calibrate(held_out, label, weight)
        probability = 1.0 / (1.0 + np.exp(-(self.slope * held_out + self.offset)))
        self.threshold = threshold_for(pauses, probability)


def by_speaker(pauses: Sequence[Pause], folds: int, seed: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Masks of what to fit on, one for each fold of speakers."""
    speakers = sorted({pause.speaker for pause in pauses})
    shuffled = np.random.default_rng(seed).permutation(len(speakers))
    fold = {speaker: int(place) % folds for speaker, place in zip(speakers, shuffled, strict=True)}
    own = np.array([fold[pause.speaker] for pause in pauses])
    for number in range(folds):
        yield own != number


def threshold_for(pauses: Sequence[Pause], probability: Floats) -> float:
    """The highest threshold, in steps of 0.01, that finds :data:`MIN_DETECTED` of the ends."""
    holds = Counter(pause.source for pause in pauses if not pause.is_end)
    sources = [name for name, count in holds.items() if count >= MIN_HOLDS] or list(holds)
    source = np.array([pause.source if pause.is_end else "" for pause in pauses])
    for threshold in np.round(np.arange(0.95, 0.04, -0.01), 2):
        found = [float((probability[source == name] >= threshold).mean()) for name in sources]
        if np.mean(found) >= MIN_DETECTED:
            return float(threshold)
    return 0.05


def document(fitted: Fitted, pauses: Sequence[Pause], data: Path, seed: int) -> dict[str, Any]:
    """The JSON file."""
    recipe, line = fitted.recipe, fitted.line
    inputs: list[dict[str, Any]] = [
        {"tensor": item.tensor}
        if item.tensor == graph.EMBEDDING
        else {"tensor": item.tensor, "newest": item.newest, "oldest": item.oldest}
        for item in recipe.inputs
    ]
    mean, scale, weights = line.mean, line.scale, line.weights
    if recipe.raw_share:
        inputs.append({"tensor": graph.LOGIT})
        mean, scale, weights = np.append(mean, 0.0), np.append(scale, 1.0), np.append(weights, recipe.raw_share)
    counts = Counter((p.source, p.language, "ends" if p.is_end else "holds") for p in pauses)
    rows = hashlib.sha256((data / "turns.jsonl").read_bytes()).hexdigest()
    return {
        "format": FORMAT,
        "model": recipe.name,
        "licence": "Apache-2.0",
        "encoder": {"name": smart_turn.NAME, "sha256": smart_turn.SHA256, "window": recipe.window, "inputs": inputs},
        "bias": round(line.bias, 6),
        "calibration": {"slope": round(fitted.slope, 6), "offset": round(fitted.offset, 6)},
        "default_threshold": fitted.threshold,
        "thresholds": dict.fromkeys(smart_turn.LANGUAGES, fitted.threshold),
        "provenance": {
            "fitted_with": "training/fit.py",
            "seed": seed,
            "graph_revision": graph.REVISION,
            "penalty": recipe.penalty,
            "raw_share": recipe.raw_share,
            "teacher_share": recipe.teacher_share,
            "emphasis": recipe.emphasis,
            "turns_sha256": rows,
            "speakers": len({pause.speaker for pause in pauses}),
            "pauses": {" ".join(key): count for key, count in sorted(counts.items())},
        },
        "mean": encode_vector(mean),
        "scale": encode_vector(scale),
        "weights": encode_vector(weights),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with turns.jsonl")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the encoder's hidden states")
    parser.add_argument("--out", type=Path, default=Path("eot_core/models/heads"))
    parser.add_argument("--model", action="append", help="name of one model; may be repeated (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folds", type=int, default=4)
    arguments = parser.parse_args()
    pauses = [pause for pause in read(arguments.data) if pause.split == "train"]
    if not pauses:
        parser.error(f"{arguments.data} has no pauses in its train split")
    arguments.out.mkdir(parents=True, exist_ok=True)

    def columns(window: float, outputs: tuple[str, ...]) -> Columns:
        return extract(
            pauses, plain, seed=0, window=window, outputs=outputs, cache=arguments.cache, name="train-plain"
        )  # fmt: skip

    raw = columns(graph.FULL_WINDOW, ALL_OUTPUTS)["logit"].astype(np.float64)
    for recipe in RECIPES:
        if arguments.model and recipe.name not in arguments.model:
            continue
        outputs = outputs_of(recipe)
        features = design(columns(recipe.window, outputs), recipe.inputs, outputs)
        fitted = Fitted(recipe, pauses, features, raw, arguments.folds, arguments.seed)
        path = arguments.out / f"{recipe.name}.json"
        path.write_text(json.dumps(document(fitted, pauses, arguments.data, arguments.seed), indent=1) + "\n")
        print(f"{path}: threshold {fitted.threshold:.2f}, slope {fitted.slope:.3f}, {features.shape[1]} features")


if __name__ == "__main__":
    main()
