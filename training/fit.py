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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eot_core.models import graph, smart_turn
from eot_core.models.eot_open_head import FORMAT, SPOKEN, HeadInput, encode_vector
from training.data import Pause, read
from training.features import EDGES, Noisy, Snapshot, babble, extract, plain, telephone
from training.logistic import Features, Floats, Linear, calibrate, fit
from training.recipes import RECIPES, SHORT_FULL, SHORT_NONE, SPONTANEOUS, Recipe

Columns = dict[str, npt.NDArray[np.generic]]
ALL_OUTPUTS = (*graph.HIDDEN, graph.EMBEDDING, graph.LOGIT)
COPY_WEIGHT = 0.5
"""Of a copy, against the recording itself."""
COPY_SEED = 7
MIN_HOLDS = 100
"""Sources with fewer say too little of a threshold."""
DEFAULT_THRESHOLD = 0.5
"""Of smart-turn, and of the models made here: they are moved until as many ends are found with it."""


def outputs_of(recipe: Recipe) -> tuple[str, ...]:
    """What the encoder must give for ``recipe``; at 8 s everything, so that all models share one run."""
    return ALL_OUTPUTS if recipe.window == graph.FULL_WINDOW else graph.HIDDEN[:2]


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


Mask = npt.NDArray[np.bool_]


def fit_head(
    recipe: Recipe,
    pauses: Sequence[Pause],
    inside: Mask,
    features: Features,
    raw: Floats,
    copies: Sequence[Features] = (),
) -> Linear:
    """The head of ``recipe``, without the raw logit's share, fitted on some of the pauses.

    Args:
        recipe: how.
        pauses: n of them.
        inside: shape (n,), what to fit on.
        features: shape (n, d); ``copies`` likewise, of the same pauses.
        raw: smart-turn's logits, shape (n,).
    """
    chosen = [pause for pause, one in zip(pauses, inside.tolist(), strict=True) if one]
    label = np.array([pause.is_end for pause in chosen], dtype=np.float64)
    teacher = 1.0 / (1.0 + np.exp(-raw[inside]))
    target = (1.0 - recipe.teacher_share) * label + recipe.teacher_share * teacher
    weight = weights_of(chosen, recipe.emphasis)
    names = sorted({pause.source for pause in chosen})
    source = np.array([names.index(pause.source) for pause in chosen], dtype=np.intp)
    count = 1 + len(copies)
    return fit(
        np.concatenate([block[inside] for block in (features, *copies)]),
        np.tile(target, count),
        np.concatenate([weight] + [COPY_WEIGHT * weight] * len(copies)),
        recipe.penalty,
        groups=np.tile(source, count),
        group_penalty=recipe.source_penalty,
    )


class Fitted:
    """A head and how it does on speakers and sources that it was not fitted on."""

    def __init__(
        self,
        recipe: Recipe,
        pauses: Sequence[Pause],
        features: Features,
        raw: Floats,
        folds: int,
        seed: int,
        copies: Sequence[Features] = (),
    ) -> None:
        self.recipe = recipe
        label = np.array([pause.is_end for pause in pauses], dtype=np.float64)

        def held_out(masks: Iterable[Mask]) -> Floats:
            logit = recipe.raw_share * raw
            for inside in masks:
                logit[~inside] += fit_head(recipe, pauses, inside, features, raw, copies)(features[~inside])
            return logit

        self.speakers_out = held_out(by_speaker(pauses, folds, seed))
        """Logits of each pause from a head that was fitted without its speaker, shape (n,)."""
        several = len({pause.source for pause in pauses}) > 1
        self.sources_out = held_out(by_source(pauses)) if several else self.speakers_out
        """The same, without its source."""
        self.line = fit_head(recipe, pauses, np.ones(len(pauses), dtype=np.bool_), features, raw, copies)
        self.slope, offset = calibrate(self.speakers_out, label, weights_of(pauses, recipe.emphasis))
        held_out_logits = [self.slope * logit + offset for logit in (self.speakers_out, self.sources_out)]
        self.anchor = anchor_of(pauses, held_out_logits, raw)
        """Calibrated probability that is moved to :data:`DEFAULT_THRESHOLD`."""
        self.offset = offset - float(np.log(self.anchor / (1.0 - self.anchor)))


def by_source(pauses: Sequence[Pause]) -> Iterator[Mask]:
    """Masks of what to fit on, one for each source that is left out."""
    source = np.array([pause.source for pause in pauses])
    for name in sorted(set(source.tolist())):
        yield source != name


def by_speaker(pauses: Sequence[Pause], folds: int, seed: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Masks of what to fit on, one for each fold of speakers."""
    speakers = sorted({pause.speaker for pause in pauses})
    shuffled = np.random.default_rng(seed).permutation(len(speakers))
    fold = {speaker: int(place) % folds for speaker, place in zip(speakers, shuffled, strict=True)}
    own = np.array([fold[pause.speaker] for pause in pauses])
    for number in range(folds):
        yield own != number


def anchor_of(pauses: Sequence[Pause], logits: Sequence[Floats], raw: Floats) -> float:
    """The highest probability, in steps of 0.01, at which no source loses ends against smart-turn at its 0.5.

    Args:
        pauses: n of them; only their sources with at least :data:`MIN_HOLDS` holds count (all, where none has).
        logits: one array of shape (n,) for each way of leaving out; each has to hold.
        raw: smart-turn's logits, shape (n,).
    """
    holds = Counter(pause.source for pause in pauses if not pause.is_end)
    ends = Counter(pause.source for pause in pauses if pause.is_end)
    sources = [name for name in ends if holds[name] >= MIN_HOLDS] or list(ends)
    source = np.array([pause.source if pause.is_end else "" for pause in pauses])
    for anchor in np.round(np.arange(0.95, 0.045, -0.01), 2):
        least = np.log(anchor / (1.0 - anchor))
        found = (logit[source == name] >= least for name in sources for logit in logits)
        wanted = (raw[source == name] >= 0.0 for name in sources for _ in logits)
        if all(one.sum() >= other.sum() for one, other in zip(found, wanted, strict=True)):
            return float(anchor)
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
    if recipe.short_turns:
        inputs.append({"tensor": SPOKEN, "full": SHORT_FULL, "none": SHORT_NONE})
        added = recipe.short_turns / fitted.slope
        mean, scale, weights = np.append(mean, 0.0), np.append(scale, 1.0), np.append(weights, added)
    counts = Counter((p.source, p.language, "ends" if p.is_end else "holds") for p in pauses)
    rows = hashlib.sha256((data / "turns.jsonl").read_bytes()).hexdigest()
    return {
        "format": FORMAT,
        "model": recipe.name,
        "licence": "Apache-2.0",
        "encoder": {"name": smart_turn.NAME, "sha256": smart_turn.SHA256, "window": recipe.window, "inputs": inputs},
        "bias": round(line.bias, 6),
        "calibration": {"slope": round(fitted.slope, 6), "offset": round(fitted.offset, 6)},
        "default_threshold": DEFAULT_THRESHOLD,
        "thresholds": dict.fromkeys(smart_turn.LANGUAGES, DEFAULT_THRESHOLD),
        "provenance": {
            "fitted_with": "training/fit.py",
            "seed": seed,
            "graph_revision": graph.REVISION,
            "penalty": recipe.penalty,
            "raw_share": recipe.raw_share,
            "teacher_share": recipe.teacher_share,
            "emphasis": recipe.emphasis,
            "source_penalty": recipe.source_penalty,
            "short_turns": recipe.short_turns,
            "copies": list(recipe.copies),
            "anchor": fitted.anchor,
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

    raw = raw_logits(pauses, arguments.cache)
    for recipe in RECIPES:
        if arguments.model and recipe.name not in arguments.model:
            continue
        features, *copies = blocks(recipe, pauses, arguments.cache)
        fitted = Fitted(recipe, pauses, features, raw, arguments.folds, arguments.seed, copies)
        path = arguments.out / f"{recipe.name}.json"
        path.write_text(json.dumps(document(fitted, pauses, arguments.data, arguments.seed), indent=1) + "\n")
        print(f"{path}: anchor {fitted.anchor:.2f}, slope {fitted.slope:.3f}, {features.shape[1]} features")


def blocks(
    recipe: Recipe, pauses: Sequence[Pause], cache: Path, *, split: str = "train", voices: Sequence[Pause] = ()
) -> list[Features]:
    """Features of the recordings as they are, then of their copies; each of shape (n, d).

    Args:
        recipe: what the head sees.
        pauses: n of them, all of ``split``.
        cache: folder for what the encoder gave.
        split: for the names of the cached files.
        voices: whose recordings are mixed in as babble; ``pauses`` where there are none.
    """
    outputs = outputs_of(recipe)
    return [
        design(
            _columns(pauses, kind, recipe.window, outputs, cache, split=split, voices=voices), recipe.inputs, outputs
        )
        for kind in ("plain", *recipe.copies)
    ]


def raw_logits(pauses: Sequence[Pause], cache: Path, *, split: str = "train") -> Floats:
    """smart-turn's own logits from the edited graph, shape (n,)."""
    columns = _columns(pauses, "plain", graph.FULL_WINDOW, ALL_OUTPUTS, cache, split=split)
    return np.asarray(columns["logit"], dtype=np.float64)


def _columns(
    pauses: Sequence[Pause],
    kind: str,
    window: float,
    outputs: tuple[str, ...],
    cache: Path,
    *,
    split: str,
    voices: Sequence[Pause] = (),
) -> Columns:
    snapshot: Snapshot = telephone if kind == "phone" else plain
    if kind == "mild":
        snapshot = Noisy(babble(voices or pauses))
    seed = 0 if kind == "plain" else COPY_SEED
    return extract(pauses, snapshot, seed=seed, window=window, outputs=outputs, cache=cache, name=f"{split}-{kind}")


if __name__ == "__main__":
    main()
