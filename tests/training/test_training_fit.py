"""The pure parts of the fitting script: weights, folds, the anchor of the default threshold, what is fitted on."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
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
from training.fit import (  # noqa: E402
    ALL_OUTPUTS,
    MIN_HOLDS,
    Fitted,
    anchor_of,
    by_source,
    by_speaker,
    design,
    fit_head,
    outputs_of,
    weights_of,
)
from training.recipes import COARSE, FINE, RECIPES, SPONTANEOUS, Recipe  # noqa: E402

ONE = Pause(
    turn="t", source="read", split="train", language="en", speaker="s", audio=Path("x"), channel=0, turn_start=0.0,
    speech_start=0.0, onsets=(0.0,), start=1.0, duration=1.0, is_end=True,
)  # fmt: skip
PLAIN = replace(
    RECIPES[0],
    inputs=(HeadInput(graph.EMBEDDING),),
    penalty=1e-3,
    raw_share=0.0,
    emphasis=1.0,
    teacher_share=0.0,
    source_penalty=0.0,
    short_turns=0.0,
    copies=(),
)


def pauses_of(*counts: tuple[str, bool, int]) -> list[Pause]:
    return [
        replace(ONE, turn=f"{source}{end}{n}", source=source, speaker=f"{source}-{n % 5}", is_end=end)
        for source, end, count in counts
        for n in range(count)
    ]


def test_a_source_and_class_weighs_the_root_of_its_size() -> None:
    pauses = pauses_of(("read", True, 100), ("read", False, 25), (SPONTANEOUS, True, 4), (SPONTANEOUS, False, 16))
    weight = weights_of(pauses, emphasis=3.0)
    source = np.array([pause.source for pause in pauses])
    end = np.array([pause.is_end for pause in pauses])
    sums = [
        weight[(source == name) & (end == which)].sum() for name in ("read", SPONTANEOUS) for which in (True, False)
    ]
    assert sums == pytest.approx([10.0, 5.0, 3.0 * 2.0, 3.0 * 4.0])
    assert weight.min() > 0


def test_every_speaker_is_left_out_once_and_is_never_on_both_sides() -> None:
    pauses = pauses_of(("a", True, 20), ("b", False, 15))
    speaker = np.array([pause.speaker for pause in pauses])
    masks = list(by_speaker(pauses, 4, seed=2))
    assert len(masks) == 4
    assert np.sum([~mask for mask in masks], axis=0).tolist() == [1] * len(pauses)
    for mask in masks:
        assert not set(speaker[mask]) & set(speaker[~mask])
    again = list(by_speaker(pauses, 4, seed=2))
    assert all((one == other).all() for one, other in zip(masks, again, strict=True))


def test_every_source_is_left_out_whole() -> None:
    pauses = pauses_of(("b", True, 3), ("a", False, 2), ("c", True, 1))
    left_out = [
        [p.source for p, one in zip(pauses, mask.tolist(), strict=True) if not one] for mask in by_source(pauses)
    ]
    assert left_out == [["a", "a"], ["b", "b", "b"], ["c"]]


def anchored(found: list[float], raw: list[float], *, holds: int = MIN_HOLDS) -> float:
    """Of one source with these held-out probabilities of its ends."""
    pauses = pauses_of(("a", True, len(found)), ("a", False, holds))
    logit = np.concatenate([np.log(np.array(found) / (1 - np.array(found))), np.full(holds, -9.0)])
    return anchor_of(pauses, [logit], np.concatenate([raw, np.full(holds, -9.0)]))


def test_the_anchor_finds_as_many_ends_as_smart_turn() -> None:
    assert anchored([0.905, 0.605, 0.305, 0.105], [1.0, 1.0, 1.0, -1.0]) == 0.30
    assert anchored([0.905, 0.605, 0.305, 0.105], [1.0, 1.0, -1.0, -1.0]) == 0.60
    assert anchored([0.905, 0.605, 0.305, 0.105], [1.0, 1.0, 1.0, 1.0]) == 0.10
    assert anchored([0.905, 0.01], [1.0, 1.0]) == 0.05  # nothing would do: the lowest
    assert anchored([0.905, 0.605], [-1.0, -1.0]) == 0.95


def test_the_anchor_holds_for_each_source_with_enough_holds_and_each_way_of_leaving_out() -> None:
    pauses = pauses_of(
        ("a", True, 1), ("a", False, MIN_HOLDS), ("b", True, 1), ("b", False, MIN_HOLDS), ("few", True, 1),
        ("few", False, MIN_HOLDS - 1),
    )  # fmt: skip
    end = np.array([pause.is_end for pause in pauses])
    raw = np.where(end, 2.0, -2.0)

    def logits(a: float, b: float, few: float) -> np.ndarray:
        values = np.full(len(pauses), -9.0)
        values[end] = np.log(np.array([a, b, few]) / (1 - np.array([a, b, few])))
        return values

    assert anchor_of(pauses, [logits(0.805, 0.505, 0.105)], raw) == 0.50
    assert anchor_of(pauses, [logits(0.805, 0.505, 0.105), logits(0.405, 0.905, 0.9)], raw) == 0.40


def test_a_source_of_few_holds_counts_where_there_is_no_other() -> None:
    assert anchored([0.705], [1.0], holds=3) == 0.70


def test_the_features_are_means_of_the_stretches_that_are_asked_for() -> None:
    rng = np.random.default_rng(0)
    columns = {
        "hidden": rng.normal(size=(3, 2, 9, 384)).astype(np.float32),
        "embedding": rng.normal(size=(3, 384)).astype(np.float32),
    }
    inputs = (HeadInput(graph.HIDDEN[1], 0, 10), HeadInput(graph.HIDDEN[0], 10, 60), HeadInput(graph.EMBEDDING))
    features = design(columns, inputs, graph.HIDDEN[:2])
    assert features.shape == (3, 3 * 384)
    hidden = columns["hidden"]
    np.testing.assert_allclose(features[:, :384], hidden[:, 1, :2].mean(axis=1), rtol=1e-5, atol=1e-6)
    weighted = (10 * hidden[:, 0, 2] + 15 * hidden[:, 0, 3] + 25 * hidden[:, 0, 4]) / 50
    np.testing.assert_allclose(features[:, 384:768], weighted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(features[:, 768:], columns["embedding"])


def toy(seed: int) -> tuple[list[Pause], np.ndarray]:
    """Two sources: the first number tells ends from holds, the second only which source it is, and one mostly ends."""
    pauses = pauses_of(("a", True, 380), ("a", False, 20), ("b", True, 20), ("b", False, 380))
    end = np.array([pause.is_end for pause in pauses])
    own = np.array([pause.source == "a" for pause in pauses])
    features = np.random.default_rng(seed).normal(size=(len(pauses), 2)).astype(np.float32)
    features[:, 0] += end
    features[:, 1] += 4.0 * own
    return pauses, features


def test_a_bias_for_each_source_keeps_its_name_out_of_the_weights() -> None:
    pauses, features = toy(0)
    everything, raw = np.ones(len(pauses), dtype=bool), np.zeros(len(pauses))
    free = fit_head(PLAIN, pauses, everything, features, raw)
    bound = fit_head(replace(PLAIN, source_penalty=1e6), pauses, everything, features, raw)
    share = [abs(line.weights[1]) / abs(line.weights[0]) for line in (free, bound)]
    assert share[0] < 0.25 * share[1]
    assert free.weights.shape == (2,)


def test_smart_turn_as_a_teacher_draws_the_head_to_its_verdict() -> None:
    pauses, features = toy(1)
    everything = np.ones(len(pauses), dtype=bool)
    against = -8.0 * features[:, 0].astype(float)
    alone = fit_head(PLAIN, pauses, everything, features, against)
    taught = fit_head(replace(PLAIN, teacher_share=0.9), pauses, everything, features, against)
    assert alone.weights[0] > 0 > taught.weights[0]


def test_copies_are_fitted_on_with_less_weight() -> None:
    pauses, features = toy(2)
    everything, raw = np.ones(len(pauses), dtype=bool), np.zeros(len(pauses))
    opposite = features * np.array([-1.0, 1.0], dtype=np.float32)
    alone = fit_head(PLAIN, pauses, everything, features, raw)
    one, three = (fit_head(PLAIN, pauses, everything, features, raw, [opposite] * count) for count in (1, 3))
    assert alone.weights[0] > one.weights[0] > 0 > three.weights[0]


def test_a_fitted_head_finds_at_one_half_what_smart_turn_finds() -> None:
    pauses, features = toy(3)
    end = np.array([pause.is_end for pause in pauses])
    raw = np.random.default_rng(3).normal(size=len(pauses)) + np.where(end, 1.0, -1.0)
    fitted = Fitted(replace(PLAIN, raw_share=0.3), pauses, features, raw, folds=3, seed=0)
    for logit in (fitted.speakers_out, fitted.sources_out):
        moved = fitted.slope * logit + fitted.offset
        own = np.array([pause.source == "b" and pause.is_end for pause in pauses])  # "a" has too few holds
        assert (moved[own] >= 0).sum() >= (raw[own] >= 0).sum()
    assert fitted.anchor > 0.05
    assert not np.array_equal(fitted.speakers_out, fitted.sources_out)
    again = Fitted(replace(PLAIN, raw_share=0.3), pauses, features, raw, folds=3, seed=0)
    np.testing.assert_array_equal(again.line.weights, fitted.line.weights)
    assert (again.slope, again.offset, again.anchor) == (fitted.slope, fitted.offset, fitted.anchor)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipes_ask_for_what_the_encoder_run_gives(recipe: Recipe) -> None:
    outputs = outputs_of(recipe)
    assert {item.tensor for item in recipe.inputs} <= set(outputs)
    frames = round(recipe.window * graph.FRAMES_PER_SECOND)
    for layer in {item.tensor for item in recipe.inputs if item.tensor in graph.HIDDEN}:
        stretches = [(item.newest, item.oldest) for item in recipe.inputs if item.tensor == layer]
        assert stretches[0][0] == 0
        fast = recipe.name.startswith("eot-open-1-fast")
        assert stretches[-1][1] == (FINE[-2] if fast and layer == graph.HIDDEN[1] else frames)
        assert all(one[1] == other[0] for one, other in pairwise(stretches))
    assert set(COARSE) <= set(FINE)
    assert set(recipe.copies) <= {"phone", "mild"}
    assert outputs in (ALL_OUTPUTS, graph.HIDDEN[:2])
