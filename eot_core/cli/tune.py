"""``eot tune``: thresholds and delays from one's own calls, as a calibration file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from .tune_arguments import add_arguments, check_arguments, checksum_of, model_names, model_scorers, not_for

if TYPE_CHECKING:
    from ..evaluation.items import Item, Problem
    from ..evaluation.pauses import Pauses
    from ..evaluation.progress import Progress
    from ..evaluation.sweep import Budget
    from ..evaluation.tuning_features import PauseFeatures
    from ..evaluation.tuning_own import TunedLanguage

EXIT_OK: Final = 0
EXIT_PARTLY: Final = 1
"""The file was written, but a language, a model or the budget that was asked for is not in it."""
EXIT_FAILED: Final = 2

_KINDS: Final = {"logs": "decision logs", "labels": "labelled data", "recordings": "recordings without labels"}


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``argparse.ArgumentParser.add_subparsers`` returned."""
    parser = subparsers.add_parser(
        "tune",
        help="thresholds, delays and heads from your own calls",
        description="Choose threshold and delays for each language from recorded calls, within a budget, fit a head "
        "where there is enough data, and write "
        'them to a file for TurnDetector(calibration="FILE"). Figures are of calls that were not chosen on, with '
        "95 % intervals. What was heard and scored is kept: an interrupted run goes on where it was. Exit code 0: "
        "written; 1: written, but not for every language, model or the budget that was asked for; 2: nothing was "
        "written.",
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, *, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Run ``eot tune``; returns the exit code."""
    from ..evaluation.dataset import DatasetError
    from ..models.base import ModelError

    out, err = out or sys.stdout, err or sys.stderr
    try:
        tune = _Tune(args, out, err)
        try:
            return tune.run()
        finally:
            tune.close()
    except (DatasetError, ModelError, ValueError, OSError) as error:
        print(f"eot tune: {error}", file=err)
        return EXIT_FAILED
    except KeyboardInterrupt:
        kept = "" if args.no_cache else "; what was heard and scored is kept: run it again to go on"
        print(f"eot tune: interrupted{kept}", file=err)
        return EXIT_FAILED


class _Tune:
    def __init__(self, args: argparse.Namespace, out: TextIO, err: TextIO) -> None:
        from ..evaluation.cache_folder import NotKept, open_cache
        from ..evaluation.language_folders import parse_language
        from ..evaluation.tuning_budgets import parse_budget
        from ..evaluation.tuning_features import head_scorers

        check_arguments(args)
        self._args = args
        self._out = out
        self._err = err
        self._budget: Budget = parse_budget(args.budget)
        self._language = parse_language(args.language)
        self._say: Callable[[str], None] = lambda message: print(message, file=err)
        self._not_kept = NotKept(lambda message: self._say(f"eot tune: {message}"))
        names = model_names(args.model)
        plain = model_scorers(names)
        self._checksums = {s.name: checksum_of(s, name) for s, name in zip(plain, names, strict=True)}
        self._cache: Path | None = None if args.no_cache else open_cache(args.cache, self._not_kept)
        self._scorers = plain if args.no_head else head_scorers(plain, self._cache, self._not_kept)
        self._features: dict[str, PauseFeatures] = {}
        self._path = Path(args.dataset).expanduser()
        self._dataset = Path(os.path.abspath(self._path)).name  # of "." too; not where it lies

    def run(self) -> int:
        from ..evaluation.tuning_file import calibration, report_lines, write_calibration

        scores, failed = self._scores()
        tuned = [one for model, pauses in scores.items() for one in self._tune(model, pauses)]
        written = [one for one in tuned if one.shipped.points]
        for one in tuned:
            model, language = one.shipped.model, one.shipped.language
            why = dict(one.shipped.missing).get(self._budget, "")
            if one in written or not why.startswith("too little"):
                for line in report_lines(one, self._budget):
                    print(line, file=self._out)
            if one not in written:
                print(f"{model}, {language}: {why}. Nothing is written for it.", file=self._out)
        for model, why in failed.items():
            print(f"eot tune: {model}: {why}", file=self._err)
        if not written:
            raise ValueError(f"nothing was written to {self._args.output}: no budget can be tuned for on these calls")
        settings = {"budget": self._args.budget, "curve": self._args.curve, "seed": self._args.seed}
        write_calibration(self._args.output, calibration(self._dataset, written, self._checksums, settings))
        names = " and ".join(dict.fromkeys(_named(one, self._budget) for one in written))
        print(f"{self._args.output}: written for {names}", file=self._out)
        whole = not failed and all(one.shipped.point(self._budget) is not None for one in tuned)
        return EXIT_OK if whole else EXIT_PARTLY

    def close(self) -> None:
        from ..evaluation.tuning_features import HeadScorer

        for scorer in self._scorers:
            if isinstance(scorer, HeadScorer):
                scorer.close()

    def _tune(self, model: str, pauses: Pauses) -> list[TunedLanguage]:
        from ..evaluation.tuning_budgets import NAMED, OTHERS
        from ..evaluation.tuning_own import tune_language

        spec = next(s.spec for s in self._scorers if s.name == model)
        curves = ["step", "continuous"] if self._args.curve == "auto" else [self._args.curve]
        if self._args.rescore and pauses.later.shape[1]:
            curves.append("rescored")
        features = self._features.get(model)
        tuned = []
        for language in sorted(set(pauses.language.tolist())):
            rows = pauses.language == language
            tuned.append(
                tune_language(
                    model,
                    language,
                    pauses.where(rows),
                    None if features is None else features.where(rows),
                    self._budget,
                    dataset=self._dataset,
                    seed=self._args.seed,
                    resamples=self._args.resamples,
                    budgets=(self._budget, *NAMED, *OTHERS),
                    today=spec.thresholds.get(language, spec.default_threshold),
                    curves=curves,
                )
            )
        return tuned

    def _scores(self) -> tuple[dict[str, Pauses], dict[str, str]]:
        """Pauses by model, and the models that could not be used."""
        from ..evaluation.dataset_kind import has_labels, refuse_for_tune
        from ..evaluation.tuning_logs import find_logs

        refuse_for_tune(self._path)
        logs = find_logs(self._path)
        labelled = not logs and has_labels(self._path)
        if not labelled and self._args.split is not None:
            raise ValueError("--split counts for labelled data only: recordings and decision logs have no splits")
        kind = "logs" if logs else "labels" if labelled else "recordings"
        for name in not_for(self._args, kind):
            self._say(f"eot tune: {name} says nothing of {_KINDS[kind]}: it is passed over")
        if logs:
            return self._from_logs(logs), {}
        return self._from_labels() if labelled else self._from_recordings()

    def _from_logs(self, logs: Sequence[Path]) -> dict[str, Pauses]:
        from ..evaluation.tuning_features import HeadScorer
        from ..evaluation.tuning_logs import read_logs, score_logged

        pauses = read_logs(logs, language=self._language, on_problem=self._on_problem)
        with _Shown(self, "scoring") as progress:
            result = score_logged(
                pauses,
                self._scorers,
                cache=self._cache,
                on_problem=self._on_problem,
                on_progress=progress,
                not_kept=self._not_kept,
            )
        if not result.pauses:
            raise ValueError(f"{self._path}: none of its pauses could be scored")
        self._features = {s.name: s.of_logs(result) for s in self._scorers if isinstance(s, HeadScorer)}
        return {scorer.name: result.for_model(scorer.name) for scorer in self._scorers}

    def _from_recordings(self) -> tuple[dict[str, Pauses], dict[str, str]]:
        from ..evaluation.tuning_calls import read_calls

        with _Shown(self, "listening") as progress:
            calls = read_calls(
                self._path,
                language=self._language,
                caller=self._args.caller_channel,
                agent=self._args.agent_channel,
                cache=self._cache,
                on_problem=self._on_problem,
                on_progress=progress,
                on_note=lambda note: self._say(f"eot tune: {note}"),
                not_kept=self._not_kept,
            )
        if not calls.items:
            raise ValueError(f"{self._path}: no turn was found in any recording")
        self._say(f"eot tune: {len(calls.items)} turns in {calls.calls} calls ({calls.seconds / 60:.0f} minutes)")
        if calls.at_once:
            self._say(
                f"eot tune: {len(calls.at_once)} ends are left out: the other side began before the detector "
                "would have been asked"
            )
        return self._score(calls.items, check=False, quiet=calls.at_once)

    def _from_labels(self) -> tuple[dict[str, Pauses], dict[str, str]]:
        from ..evaluation.dataset import read_dataset
        from ..evaluation.predictions import is_predictions

        if is_predictions(self._path):
            raise ValueError(
                f"{self._path}: holds another run's scores, of which nothing is known; give audio with labels"
            )
        items = read_dataset(
            self._path, split=self._args.split, language=self._language, on_problem=self._on_problem
        )  # fmt: skip
        alone = sum(item.cluster == item.id for item in items)
        if alone:
            self._say(
                f"eot tune: {alone} of {len(items)} rows name neither speaker nor call: each counts as one of its own. "
                "Where they are of fewer, intervals are too narrow"
            )
        return self._score(items, check=not self._args.no_check)

    def _score(
        self, items: Sequence[Item], *, check: bool, quiet: frozenset[str] = frozenset()
    ) -> tuple[dict[str, Pauses], dict[str, str]]:
        from ..evaluation.scoring import ScoringOptions, score_items
        from ..evaluation.simulation import RESCORE_EVERY
        from ..evaluation.tuning_features import HeadScorer

        def on_problem(problem: Problem) -> None:
            if problem.item == "cache" and self._not_kept.told:
                return  # the same disk, told in other words
            if problem.item not in quiet or not problem.message.startswith("its last silence"):
                self._on_problem(problem)

        options = ScoringOptions(rescore_every=RESCORE_EVERY if self._args.rescore else None, check_speech=check)
        with _Shown(self, "scoring") as progress:
            scored = score_items(
                items, self._scorers, options, cache=self._cache, on_problem=on_problem, on_progress=progress
            )
        for note in scored.notes:
            self._say(f"note: {note}")
        if not scored.scores:
            raise ValueError("; ".join(f"{model}: {why}" for model, why in scored.failed.items()))
        if not scored.pauses:
            raise ValueError(f"{self._path}: none of its pauses could be scored")
        ready = [s for s in self._scorers if isinstance(s, HeadScorer) and s.name in scored.scores]
        self._features = {scorer.name: scorer.of_items(scored) for scorer in ready}
        return {model: scored.for_model(model) for model in scored.scores}, scored.failed

    def _on_problem(self, problem: Problem) -> None:
        self._say(f"eot tune: {problem}")


def _named(tuned: TunedLanguage, budget: Budget) -> str:
    from ..evaluation.tuning_budgets import budget_name

    head = tuned.head is not None and tuned.head.document is not None
    without = "" if tuned.shipped.point(budget) is not None else f", without {budget_name(budget)}"
    return f"{tuned.shipped.model} ({tuned.shipped.language}{', with a head of your own' if head else ''}{without})"


class _Shown:
    """Progress for as long as something lasts; what is said meanwhile goes above the bar."""

    def __init__(self, tune: _Tune, what: str) -> None:
        from ..evaluation.progress import Progress

        self._tune = tune
        self._progress: Progress = Progress(what, tune._err)
        self._before = tune._say

    def __enter__(self) -> Progress:
        self._tune._say = self._progress.say
        return self._progress

    def __exit__(self, *_: object) -> None:
        self._tune._say = self._before
        self._progress.close()
