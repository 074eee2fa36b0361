"""Measure the models end to end: ``python -m training.report --data ../shared/audio --cache CACHE``.

Every pause of the ``test`` split (and of ``calls.jsonl``) is scored 0.2 s into its silence, with the turn's audio and
nothing after it, by the models as users load them. Prints Markdown: AUC, cutoffs at 300 and 600 ms, latency at 5 % and
10 % with raw counts, and 95 % intervals by cluster bootstrap (by speaker; by recording in sets of fewer than five).
Then, for each set, how many ends are found and how many holds are fired at with each model's default threshold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eot_core.evaluation.evaluate import Evaluation, differences, evaluate
from eot_core.evaluation.pauses import Pauses
from eot_core.evaluation.sweep import Budget
from eot_core.models import graph
from eot_core.models.registry import resolve_model
from eot_core.models.whisper_features import log_mel
from training import features
from training.data import Pause, Wave, load, read
from training.features import encoder

Floats = npt.NDArray[np.float64]
BASELINE = "smart-turn-v3.2"
EDITED = "smart-turn, graph edited"
MODELS = (BASELINE, EDITED, "eot-open-1", "eot-open-1-fast", "eot-open-1-fast-6s", "eot-open-1-fast-4s")
ELAPSED, SILENCE = "elapsed time only", "silence only"
FEWEST_SPEAKERS = 5


def scorer(model: str) -> Callable[[npt.NDArray[np.int16]], float]:
    if model != EDITED:
        return resolve_model(model).load().predict
    session = encoder(graph.FULL_WINDOW, (graph.LOGIT,))

    def predict(pcm: npt.NDArray[np.int16]) -> float:
        mel = log_mel(pcm.astype(np.float32) / 32768.0)[np.newaxis]
        return float(1.0 / (1.0 + np.exp(-session.run(None, {graph.INPUT: mel})[0][0, 0])))

    return predict


def scores(model: str, pauses: Sequence[Pause], band: str, cache: Path, version: str) -> Floats:
    """Probabilities, shape (n,); kept in ``cache`` under the model's name and ``version`` (its head's checksum)."""
    rows = json.dumps([model, version, band, [(p.turn, p.source, p.start) for p in pauses]])
    file = cache / f"scores-{hashlib.sha256(rows.encode()).hexdigest()[:16]}.npy"
    if file.is_file():
        return np.asarray(np.load(file), dtype=np.float64)
    predict = scorer(model)
    snapshot = {"": features.plain, "telephone": features.telephone, "short": features.shortly}[band]
    found = np.zeros(len(pauses))
    known: tuple[Path, int] | None = None
    wave: Wave = np.zeros(0, dtype=np.float32)
    for index, pause in enumerate(pauses):
        if (pause.audio, pause.channel) != known:
            known, wave = (pause.audio, pause.channel), load(pause.audio, pause.channel)
        heard, _, _ = snapshot(wave, pause, np.random.default_rng([0, index]))
        found[index] = predict(np.clip(np.round(heard * 32767.0), -32768, 32767).astype(np.int16))
    np.save(file, found)
    return found


def sets(pauses: Sequence[Pause]) -> Iterator[tuple[str, str, list[int]]]:
    """Name, band and members of each set."""
    for source in sorted({pause.source for pause in pauses}):
        members = [index for index, pause in enumerate(pauses) if pause.source == source]
        yield source, "", members
        if source in ("alphanumeric", "speechocean762"):
            yield f"{source}, telephone band", "telephone", members
            yield f"{source}, short turns", "short", members


def collected(pauses: Sequence[Pause], score: Floats) -> Pauses:
    speakers = {pause.speaker for pause in pauses}
    cluster = [pause.speaker if len(speakers) >= FEWEST_SPEAKERS else pause.turn for pause in pauses]
    return Pauses(
        score=score,
        duration=np.array([pause.duration for pause in pauses]),
        is_end=np.array([pause.is_end for pause in pauses]),
        cluster=np.array(cluster),
    ).counted()


def line(result: Evaluation, against: Evaluation) -> str:
    gain = differences(result, against)["auc"] if result is not against else None
    cells = [result.model, f"{result.auc:.3f}{_interval(result.auc_interval)}" if result.auc == result.auc else "-"]
    cells.append("" if gain is None else f"{gain['gain']:+.3f}{_interval(gain['interval'], '+')}")
    cells += [_cell(b.budget, b.best, b.interval, result.holds) for b in result.families[0].budgets]
    return "| " + " | ".join(cells) + " |"


def _cell(budget: Budget, best: Any, interval: Any, holds: int) -> str:
    if best is None:
        return "none"
    if budget.kind == "latency":
        return f"{best.cutoff_rate:.3f} ({best.cutoffs}/{holds}){_interval(interval)}"
    return f"{best.latency:.3f} s{_interval(interval)}"


def _interval(interval: tuple[float, float] | None, sign: str = "") -> str:
    return "" if interval is None else f" [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]"


def version_of(model: str) -> str:
    head = Path("eot_core/models/heads") / f"{model}.json"
    return hashlib.sha256(head.read_bytes()).hexdigest() if head.is_file() else str(graph.REVISION)


def at_default(model: str, pauses: Sequence[Pause], score: Floats) -> str:
    """Ends found, of how many, and holds fired at, of how many, as cells of a table."""
    spec = resolve_model(BASELINE if model == EDITED else model)
    fired = score >= spec.default_threshold
    end = np.array([pause.is_end for pause in pauses])
    return " | ".join(f"{int(fired[which].sum())} of {int(which.sum())}" for which in (end, ~end))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--model", action="append", help="only these (the baseline is always there)")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    models = [m for m in MODELS if not arguments.model or m in arguments.model or m == BASELINE]
    pauses = [pause for pause in read(arguments.data) if pause.split == "test"]
    defaults: list[str] = []
    for name, band, members in sets(pauses):
        chosen = [pauses[index] for index in members]
        columns = {m: scores(m, chosen, band, arguments.cache, version_of(m)) for m in models}
        defaults += [f"| {name} | {m} | {at_default(m, chosen, column)} |" for m, column in columns.items()]
        elapsed = np.array([pause.start - pause.speech_start for pause in chosen])
        columns[ELAPSED] = elapsed / (elapsed.max() + 1e-9)
        columns[SILENCE] = np.zeros(len(chosen))
        results = {
            model: evaluate(model, collected(chosen, column), resamples=arguments.resamples)
            for model, column in columns.items()
        }
        baseline = results[BASELINE]
        print(f"\n**{name}**: {baseline.ends} ends, {baseline.holds} holds, {baseline.clusters} clusters\n")
        if not baseline.families:
            print("No holds, or no ends.")
            continue
        print("| model | AUC | gain | cutoffs @300 ms | @600 ms | latency @5 % | @10 % |")
        print("|---|---|---|---|---|---|---|")
        for result in results.values():
            print(line(result, baseline), flush=True)
    print("\n| set | model | ends found | holds fired at |\n|---|---|---|---|", *defaults, sep="\n")


if __name__ == "__main__":
    main()
