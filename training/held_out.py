"""What the recipes do on speakers and sources that they were not fitted on, and what the default threshold does there:
``python -m training.held_out --data ../shared/audio --cache CACHE``.

Three folds by speaker over the ``train`` split and the other speakers of the spontaneous source; each large source
left out as a whole; and, over the ``train`` split, the shares of ends found and holds fired at. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eot_core.evaluation.evaluate import evaluate
from eot_core.models.eot_open import HEADS
from training.data import Pause, read
from training.fit import MIN_HOLDS, Mask, blocks, by_source, by_speaker, fit_head, raw_logits
from training.logistic import Features, Floats
from training.recipes import RECIPES, SPONTANEOUS, Recipe
from training.report import collected, line

EDITED = "edited"
FOLDS = 3


def cases(pauses: Sequence[Pause], seed: int) -> Iterator[tuple[str, list[Mask], Mask]]:
    """Name, masks of what to fit on, and mask of what to show."""
    source = np.array([pause.source for pause in pauses])
    split = np.array([pause.split for pause in pauses])
    spontaneous = source == SPONTANEOUS
    yield f"{SPONTANEOUS}, all speakers in folds", list(by_speaker(pauses, FOLDS, seed)), spontaneous
    for inside in by_source(pauses):
        shown = ~inside & (split == "train")
        holds = sum(not pause.is_end for pause, one in zip(pauses, shown.tolist(), strict=True) if one)
        if holds >= MIN_HOLDS:
            yield f"{source[~inside][0]}, whole source held out", [inside & (split == "train")], shown


def logits(
    recipe: Recipe, pauses: Sequence[Pause], features: Sequence[Features], raw: Floats, masks: Sequence[Mask]
) -> Floats:
    """Logits of the pauses outside of each mask from a head that was fitted inside; nan where there is none."""
    found = np.full(len(pauses), np.nan)
    for inside in masks:
        line = fit_head(recipe, pauses, inside, features[0], raw, features[1:])
        found[~inside] = line(features[0][~inside]) + recipe.raw_share * raw[~inside]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", action="append", help="name of one model; may be repeated (default: 8 s ones)")
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    everything = read(arguments.data)
    train = [pause for pause in everything if pause.split == "train"]
    more = [pause for pause in everything if pause.split == "test" and pause.source == SPONTANEOUS]
    pauses, cache = train + more, arguments.cache
    raw = np.concatenate([raw_logits(train, cache), raw_logits(more, cache, split="spontaneous")])
    print("| set | model | AUC | gain over edited | cutoffs @300 ms | @600 ms | latency @5 % | @10 % |")
    print("|---|---|---|---|---|---|---|---|")
    thresholds: list[str] = []
    for recipe in RECIPES:
        if recipe.name not in (arguments.model or ("eot-open-1", "eot-open-1-fast")):
            continue
        of_train = blocks(recipe, train, cache)
        of_more = blocks(recipe, more, cache, split="spontaneous", voices=train)
        features = [np.concatenate(pair) for pair in zip(of_train, of_more, strict=True)]
        head = json.loads((HEADS / f"{recipe.name}.json").read_text(encoding="utf-8"))
        slope, offset = head["calibration"]["slope"], head["calibration"]["offset"]
        for name, masks, shown in cases(pauses, arguments.seed):
            logit = slope * logits(recipe, pauses, features, raw, masks) + offset
            members = [pause for pause, one in zip(pauses, shown.tolist(), strict=True) if one]

            edited, ours = (
                evaluate(model, collected(members, 1.0 / (1.0 + np.exp(-score[shown]))), resamples=arguments.resamples)
                for model, score in ((EDITED, raw), (recipe.name, logit))
            )
            label = f"| {name} ({edited.ends} ends, {edited.holds} holds) "
            print(label + line(edited, edited), label + line(ours, edited), sep="\n", flush=True)
            end = np.array([pause.is_end for pause in members])
            cells = [f"{(score[shown][which] >= 0).mean():.3f}" for which in (end, ~end) for score in (raw, logit)]
            thresholds.append(f"| {recipe.name} | {name} | " + " | ".join(cells) + " |")
    print("\nAt 0.5:\n\n| model | set | ends found, edited | ours | holds fired at, edited | ours |")
    print("|---|---|---|---|---|---|", *thresholds, sep="\n")


if __name__ == "__main__":
    main()
