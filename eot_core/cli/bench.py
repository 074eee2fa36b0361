"""``eot bench``: how good turn detection is on a dataset, for each model and against silence and time alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from . import scoring_arguments
from .bench_outputs import check_outputs, check_predictions, write_outputs

if TYPE_CHECKING:
    from ..evaluation.benchmark import Benchmark
    from ..evaluation.items import Problem
    from ..evaluation.scoring import ScoredSet, ScoringOptions

EXIT_OK: Final = 0
EXIT_PARTLY: Final = 1
"""There are figures, but a model is missing in them, or a file of them could not be written."""
EXIT_FAILED: Final = 2
DEFAULT_MODELS: Final = "eot-open-1,smart-turn-v3.2,vad,elapsed"


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``argparse.ArgumentParser.add_subparsers`` returned."""
    parser = subparsers.add_parser(
        "bench",
        help="how good turn detection is on a dataset",
        description="Score every pause of a dataset (eot-bench's schema) causally with every model, try every policy "
        "on the scores, and print AUC, false cutoffs at 300 and 600 ms, latency at 5 and 10 % cutoffs, with "
        "intervals. Scores are kept as they are computed: an interrupted run goes on where it was. Exit code 0: done; "
        "1: a model is missing in the figures, or a file could not be written; 2: nothing could be measured.",
    )
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="JSONL, parquet, a folder as Hugging Face datasets saves it, or a predictions.parquet of eot-bench",
    )
    parser.add_argument(
        "--models",
        default=DEFAULT_MODELS,
        metavar="A,B,...",
        help='names of local models, paths of ONNX files, "vad" for silence alone, "elapsed" for time alone '
        "(default: %(default)s); the first is what the others are compared with",
    )
    parser.add_argument("--split", metavar="NAME", help="only items of this split")
    parser.add_argument("--language", metavar="TAG", help="only items in this language")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N items")
    parser.add_argument(
        "--score-at", type=float, default=0.2, metavar="SECONDS", help="into each pause (default: %(default)s)"
    )
    parser.add_argument(
        "--rescore",
        action="store_true",
        help="also score each pause again every 0.2 s up to 1 s, and try policies that use it (several times the work)",
    )
    parser.add_argument("--channel", type=int, metavar="N", help="channel of recordings, from 0 (default: mix down)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report; its errors can be listened to")
    parser.add_argument(
        "--audio",
        choices=("embed", "link", "none"),
        default="embed",
        help="in the report: in the page, in a folder next to it, or not at all (default: %(default)s)",
    )
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write the plots as PNG (needs matplotlib)")
    parser.add_argument(
        "--predictions", type=Path, metavar="FOLDER", help="write MODEL.predictions.parquet as eot-bench does"
    )
    scoring_arguments.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, *, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Run ``eot bench``; returns the exit code."""
    from ..evaluation.dataset import DatasetError
    from ..models.base import ModelError

    out, err = out or sys.stdout, err or sys.stderr
    try:
        return _run(args, out, err)
    except BrokenPipeError:  # whoever reads the table has enough: the command's caller ends it quietly
        raise
    except (DatasetError, ModelError, ValueError, OSError) as error:
        print(f"eot bench: {error}", file=err)
        return EXIT_FAILED
    except KeyboardInterrupt:
        kept = "" if args.no_cache else "; what was scored is kept: run it again to go on"
        print(f"eot bench: interrupted{kept}", file=err)
        return EXIT_FAILED


def _run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    from ..evaluation.predictions import is_predictions
    from ..evaluation.tables import report_lines

    if not args.dataset:  # an unset variable of a script, and not the folder one happens to be in
        raise ValueError("DATASET is empty: name a file or a folder")
    scoring_arguments.check_numbers(args, (("--limit", args.limit, 1), ("--channel", args.channel, 0)))
    check_outputs(args)
    scored = None
    if is_predictions(args.dataset):
        result = _from_predictions(args, err)
    else:
        result, scored = _from_audio(args, err)
    if not result.overall:
        raise ValueError(f"{args.dataset}: no model could be measured")
    written = False
    try:
        written = write_outputs(args, result, scored, err)  # first: whoever reads the table may hang up ("| head")
    finally:
        for line in report_lines(result):
            print(line, file=out)
    if not any(evaluation.families for evaluation in result.overall.values()):
        print(f"eot bench: {args.dataset}: {result.notes[0]}", file=err)
        return EXIT_FAILED
    return EXIT_OK if written and not result.failed else EXIT_PARTLY


def _options(args: argparse.Namespace) -> ScoringOptions:
    from ..evaluation.scoring import ScoringOptions
    from ..evaluation.simulation import RESCORE_EVERY

    return ScoringOptions(
        score_at=args.score_at,
        rescore_every=RESCORE_EVERY if args.rescore else None,
        channel=args.channel,
        check_speech=not args.no_check,
    )


def _from_predictions(args: argparse.Namespace, err: TextIO) -> Benchmark:
    from ..evaluation.benchmark import benchmark
    from ..evaluation.dataset import DatasetError
    from ..evaluation.language_folders import parse_language
    from ..evaluation.predictions import read_predictions
    from ..evaluation.progress import Progress
    from ..evaluation.scorers import VAD

    for option in ("split", "limit", "channel", "predictions"):
        if getattr(args, option) is not None:
            raise ValueError(f"--{option} needs a dataset with its audio: {args.dataset} holds scores")
    if args.models != DEFAULT_MODELS:
        raise ValueError(f"--models needs a dataset with its audio: {args.dataset} holds the scores of one model")
    language = parse_language(args.language)
    read = read_predictions(args.dataset, _options(args))
    pauses, sources = read.pauses, read.sources
    if language is not None:
        chosen = pauses.language == language
        pauses, sources = pauses.where(chosen), [s for s, keep in zip(sources, chosen, strict=True) if keep]
    if len(pauses) == 0:
        raise DatasetError(f"{args.dataset}: no pause is left to use")
    name = Path(args.dataset).name
    model = name.removesuffix(".predictions.parquet").removesuffix(".parquet")
    by_model = {model: pauses}
    if model != VAD:
        by_model[VAD] = pauses.with_scores([0.5] * len(pauses))
    progress = Progress("measuring", err, terse=True)
    try:
        result = benchmark(
            name,
            by_model,
            sources=sources,
            settings={"score_at": args.score_at, "language": language},
            seed=args.seed,
            resamples=args.resamples,
            on_progress=progress,
        )
    finally:
        progress.close()
    result.notes += read.notes
    return result


def _from_audio(args: argparse.Namespace, err: TextIO) -> tuple[Benchmark, ScoredSet]:
    from ..evaluation.benchmark import from_scored
    from ..evaluation.cache_folder import NotKept, open_cache
    from ..evaluation.dataset import read_dataset
    from ..evaluation.dataset_kind import refuse_for_bench
    from ..evaluation.language_folders import parse_language
    from ..evaluation.progress import Progress
    from ..evaluation.scorers import make_scorers
    from ..evaluation.scoring import score_items
    from .local_models import refuse_cloud

    language, options = parse_language(args.language), _options(args)
    refuse_for_bench(Path(args.dataset).expanduser())
    names = [name.strip() for name in args.models.split(",") if name.strip()]
    refuse_cloud("--models", names)
    scorers = make_scorers(names)
    check_predictions(args, [scorer.name for scorer in scorers])
    problems: list[Problem] = []
    progress = Progress("scoring", err)

    def on_problem(problem: Problem) -> None:
        problems.append(problem)
        progress.say(f"eot bench: {problem}")

    items = read_dataset(args.dataset, split=args.split, language=language, on_problem=on_problem)
    not_kept = NotKept(lambda message: progress.say(f"eot bench: {message}"))
    cache = None if args.no_cache else open_cache(args.cache, not_kept)
    try:
        scored = score_items(
            items[: args.limit], scorers, options, cache=cache, on_problem=on_problem, on_progress=progress
        )
    finally:
        progress.close()
    for model, why in scored.failed.items():
        print(f"eot bench: {model}: {why}", file=err)
    if not scored.asked:
        raise ValueError(f"{args.dataset}: none of its pauses could be scored")
    measuring = Progress("measuring", err, terse=True)
    result = from_scored(
        Path(args.dataset).resolve().name,
        scored,
        settings={
            "score_at": args.score_at,
            "split": args.split,
            "language": language,
            "items": len(items[: args.limit]),
            "models": {s.name: s.fingerprint for s in scorers},
            "moments": list(options.moments),
            "channel": args.channel,
        },
        seed=args.seed,
        resamples=args.resamples,
        on_progress=measuring,
    )
    measuring.close()
    result.problems = problems
    return result, scored
