"""How much data a head of one's own takes (docs/tuning.md): ``python -m training.own_heads --data ../shared/audio``.

Some speakers of a source are drawn as those that are tuned on, ten times for each number of them; where
:mod:`eot_core.evaluation.tuning_head` would write a head, it is applied to all other speakers of that source. Then ends
and holds are interchanged at random: a head that is written for those is one for nothing. The encoder runs once for
each pause (15 ms); what its head sees is kept in the cache folder.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eot_core.evaluation.cache import item_key
from eot_core.evaluation.metrics import auc
from eot_core.evaluation.pauses import MAX_HOLD, Pauses
from eot_core.evaluation.tuning_features import FeatureStore, PauseFeatures
from eot_core.evaluation.tuning_head import HeadTrial, try_head
from eot_core.models.eot_open import EotOpen
from eot_core.models.own_head import standardisation
from eot_core.models.registry import resolve_model
from training.data import RATE, Pause, load, read
from training.features import MOMENT

SIZES = {
    "librispeech": (10, 20, 30, 50, 80),
    "speechocean762": (6, 10, 14, 18),
    "alphanumeric": (10, 20, 28),
}
"""Speakers that are tuned on, by source; of speechocean762 the test split only, which the shipped head does not know.
"""
MOST = 700
"""Pauses of a source and kind that are looked at."""
DRAWS, SHUFFLES = 10, 40
RESAMPLES = 300

Rows = npt.NDArray[np.intp]


def chosen(folder: Path) -> list[Pause]:
    """The pauses of :data:`SIZES`, at most :data:`MOST` of a source and kind."""
    count: Counter[tuple[str, bool]] = Counter()
    pauses = []
    for pause in read(folder):
        if pause.source not in SIZES or (pause.source == "speechocean762" and pause.split != "test"):
            continue
        count[pause.source, pause.is_end] += 1
        if count[pause.source, pause.is_end] <= MOST:
            pauses.append(pause)
    return pauses


def scored(pauses: Sequence[Pause], model: EotOpen, store: FeatureStore) -> tuple[Pauses, PauseFeatures]:
    """Scores of the shipped head, and what it saw."""
    rows: list[int] = []
    known: tuple[Path, int] | None = None
    for pause in pauses:
        key = item_key(f"{pause.source} {pause.turn}", pause.turn_start, pause.channel)
        kept = store.row(key, pause.start)
        if kept is None:
            if (pause.audio, pause.channel) != known:
                known, wave = (pause.audio, pause.channel), load(pause.audio, pause.channel)
            heard = wave[round(pause.turn_start * RATE) : round((pause.start + MOMENT) * RATE)]
            features = model.features((heard[-round(model.head.window * RATE) :] * 32767).astype(np.int16))
            kept = store.put(key, pause.start, model.head.score(features), features)
        rows.append(kept)
    return (
        Pauses(
            score=np.array([store.score(row) for row in rows]),
            duration=np.clip([pause.duration for pause in pauses], 0.2, MAX_HOLD),
            is_end=np.array([pause.is_end for pause in pauses]),
            cluster=np.array([f"{pause.source} {pause.speaker}" for pause in pauses]),
        ),
        PauseFeatures(store, np.array(rows, dtype=np.intp).reshape(-1, 1)),
    )


class Curve:
    """The measurement on one source."""

    def __init__(self, name: str, model: str, pauses: Pauses, features: PauseFeatures) -> None:
        self._name = name
        self._pauses = pauses
        self._features = features
        self._mean, self._scale = standardisation(model)

    def draw(self, speakers: int) -> str:
        """A line of the table."""
        ends, holds, before, gains = [], [], [], []
        for seed in range(DRAWS):
            names = np.random.default_rng([speakers, seed]).permutation(np.unique(self._pauses.cluster))[:speakers]
            inside = np.isin(self._pauses.cluster, names)
            trial = self._try(self._pauses.where(inside), self._features.where(inside), seed)
            ends.append(trial.ends)
            holds.append(trial.holds)
            before.append(trial.shipped_auc)
            if trial.gains:
                gains.append(self._gain(trial, ~inside))
        told = f"{np.mean(gains):+.3f} ({min(gains):+.3f})" if gains else ""
        sizes = f"{speakers}, {np.mean(ends):.0f}, {np.mean(holds):.0f}"
        return f"| {self._name} | {sizes} | {np.mean(before):.3f} | {len(gains)} of {DRAWS} | {told} |"

    def for_nothing(self) -> int:
        """Heads that are written on labels that mean nothing, of :data:`SHUFFLES`."""
        written = 0
        for seed in range(SHUFFLES):
            shuffled = replace(self._pauses, is_end=np.random.default_rng(seed).permutation(self._pauses.is_end))
            written += self._try(shuffled, self._features, seed).gains
        return written

    def _try(self, pauses: Pauses, features: PauseFeatures, seed: int) -> HeadTrial:
        return try_head(
            pauses, features, self._mean, self._scale, seed=seed, resamples=RESAMPLES, minimum=(2, 2, 2)
        )  # fmt: skip

    def _gain(self, trial: HeadTrial, others: npt.NDArray[np.bool_]) -> float:
        assert trial.weights is not None
        assert trial.centre is not None
        pauses, features = self._pauses.where(others), self._features.where(others)
        seen = (features.read(features.rows[:, 0]) - self._mean) / self._scale - trial.centre
        shipped = np.log(pauses.score / (1.0 - pauses.score))
        return auc(shipped + seen @ trial.weights, pauses.is_end) - auc(shipped, pauses.is_end)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with turns.jsonl")
    parser.add_argument("--cache", type=Path, help="folder for what the head sees (default: kept nowhere)")
    parser.add_argument("--model", default="eot-open-1")
    arguments = parser.parse_args()
    spec = resolve_model(arguments.model)
    model = spec.load()
    assert isinstance(model, EotOpen)
    store = FeatureStore(arguments.cache, f"own-heads-{spec.sha256}", len(model.head.weights))
    pauses = chosen(arguments.data)
    scores, features = scored(pauses, model, store)
    written = 0
    for name, sizes in SIZES.items():
        mask = np.array([pause.source == name for pause in pauses])
        curve = Curve(name, spec.name, scores.where(mask), features.where(mask))
        for size in sizes:
            print(curve.draw(size), flush=True)
        written += curve.for_nothing()
    print(f"wrong labels: {written} of {SHUFFLES * len(SIZES)}")
    store.close()


if __name__ == "__main__":
    main()
