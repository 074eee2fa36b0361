"""What is held out where, and what a default threshold does on a set."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("scipy", reason="scipy fits the heads")
pytest.importorskip("soundfile", reason="soundfile reads the recordings")
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from eot_core.models import graph  # noqa: E402
from eot_core.models.eot_open_head import HeadInput  # noqa: E402
from training.data import Pause  # noqa: E402
from training.fit import MIN_HOLDS  # noqa: E402
from training.held_out import FOLDS, cases, logits  # noqa: E402
from training.recipes import RECIPES, SPONTANEOUS  # noqa: E402
from training.report import at_default  # noqa: E402

ONE = Pause(
    turn="t", source="read", split="train", language="en", speaker="s", audio=Path("x"), channel=0, turn_start=0.0,
    speech_start=0.0, onsets=(0.0,), start=1.0, duration=1.0, is_end=True,
)  # fmt: skip


def some(source: str, split: str, ends: int, holds: int) -> list[Pause]:
    return [
        replace(ONE, source=source, split=split, speaker=f"{source}-{split}-{n % 6}", is_end=n < ends)
        for n in range(ends + holds)
    ]


PAUSES = [
    *some(SPONTANEOUS, "train", 20, MIN_HOLDS),
    *some("read", "train", 30, MIN_HOLDS),
    *some("few", "train", 30, MIN_HOLDS - 1),
    *some(SPONTANEOUS, "test", 10, 10),
]


def test_what_is_shown_was_never_fitted_on() -> None:
    found = {name: (masks, shown) for name, masks, shown in cases(PAUSES, seed=0)}
    assert list(found) == [
        f"{SPONTANEOUS}, all speakers in folds",
        f"{SPONTANEOUS}, whole source held out",
        "read, whole source held out",
    ]
    speaker = np.array([pause.speaker for pause in PAUSES])
    for masks, shown in found.values():
        assert np.all([np.any([~mask[n] for mask in masks]) for n in np.flatnonzero(shown)])
        for mask in masks:
            assert not set(speaker[mask]) & set(speaker[shown & ~mask])
    masks, shown = found[f"{SPONTANEOUS}, all speakers in folds"]
    assert len(masks) == FOLDS
    assert shown.sum() == 20 + MIN_HOLDS + 20
    (mask,), shown = found[f"{SPONTANEOUS}, whole source held out"]
    assert {PAUSES[n].split for n in np.flatnonzero(mask | shown)} == {"train"}
    assert {PAUSES[n].source for n in np.flatnonzero(mask)} == {"read", "few"}


def test_held_out_logits_come_from_the_others_and_hold_the_raw_share() -> None:
    recipe = replace(
        RECIPES[0], inputs=(HeadInput(graph.EMBEDDING),), penalty=0.01, raw_share=0.5, emphasis=1.0, copies=()
    )
    rng = np.random.default_rng(0)
    end = np.array([pause.is_end for pause in PAUSES])
    features = (rng.normal(size=(len(PAUSES), 3)) + end[:, None]).astype(np.float32)
    raw = rng.normal(size=len(PAUSES))
    outside = np.arange(len(PAUSES)) % 2 == 0
    found = logits(recipe, PAUSES, [features], raw, [~outside])
    assert np.isnan(found[~outside]).all()
    moved = logits(recipe, PAUSES, [features], raw + 2.0 * outside, [~outside])
    np.testing.assert_allclose(moved[outside] - found[outside], 1.0)
    relabelled = [
        replace(p, is_end=not p.is_end) if out else p for p, out in zip(PAUSES, outside.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(logits(recipe, relabelled, [features], raw, [~outside]), found)


def test_counts_at_the_default_threshold() -> None:
    pauses = some("read", "test", 3, 2)
    assert at_default("eot-open-1", pauses, np.array([0.9, 0.5, 0.49, 0.6, 0.1])) == "2 of 3 | 1 of 2"
    assert at_default("smart-turn, graph edited", pauses, np.array([0.4, 0.5, 0.4, 0.4, 0.1])) == "1 of 3 | 0 of 2"
