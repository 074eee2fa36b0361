"""What ``eot bench`` writes: looked at before anything is scored, written when everything is measured."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ..evaluation.benchmark import Benchmark
    from ..evaluation.scoring import ScoredSet


def check_outputs(args: argparse.Namespace) -> None:
    """Refuse what could not be written, or would take the place of what the command did not write.

    Raises:
        ValueError: the message names the argument.
        DatasetError: a package is missing; the message says what to install.
    """
    from ..evaluation.benchmark import is_report
    from ..evaluation.output_file import check_folder, check_output

    dataset = Path(args.dataset).expanduser()
    if args.json is not None:
        check_output("--json", args.json, dataset, is_report)
    if args.html is not None:
        from ..evaluation.report import is_report_page
        from ..evaluation.report_errors import audio_folder

        check_output("--html", args.html, dataset, is_report_page)
        if args.json is not None and args.json.resolve() == args.html.resolve():
            raise ValueError(f"--html: {args.html} is where --json is written to: name another file")
        if args.audio == "link":
            check_folder("--html", audio_folder(args.html))
    if args.plots is not None:
        from ..evaluation.plots import PLOTS, is_plot

        check_folder("--plots", args.plots)
        for name in PLOTS:
            check_output("--plots", args.plots / name, dataset, is_plot)
    if args.predictions is not None:
        from ..evaluation.dataset import pyarrow

        pyarrow("parquet")
        check_folder("--predictions", args.predictions)
    if args.html is not None or args.plots is not None:
        from ..evaluation.plots import matplotlib

        matplotlib()


def check_predictions(args: argparse.Namespace, models: Sequence[str]) -> None:
    """The same for the files of ``--predictions``, which are named for the models."""
    if args.predictions is None:
        return
    from ..evaluation.output_file import check_output
    from ..evaluation.predictions import is_written_here

    for model in models:
        path = _predictions_file(args.predictions, model)
        check_output("--predictions", path, Path(args.dataset).expanduser(), is_written_here)


def write_outputs(args: argparse.Namespace, result: Benchmark, scored: ScoredSet | None, err: TextIO) -> bool:
    """Write what was asked for; False where something could not be, which is said, and takes nothing else with it."""
    writers: list[Callable[[], object]] = []
    if args.json is not None:
        from ..evaluation.output_file import write_output

        text = json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n"
        writers.append(partial(write_output, args.json, text))
    if args.predictions is not None and scored is not None:
        from ..evaluation.predictions import write_predictions

        writers += [
            partial(write_predictions, _predictions_file(args.predictions, model), scored, model)
            for model in scored.scores
        ]
    if args.plots is not None:
        from ..evaluation.plots import write_plots

        writers.append(partial(write_plots, result, args.plots))
    if args.html is not None:
        writers.append(partial(_write_report, args, result, scored, err))
    written = True
    for write in writers:
        try:
            write()
        except OSError as error:
            written = False
            print(f"eot bench: {error}", file=err)
    return written


def _write_report(args: argparse.Namespace, result: Benchmark, scored: ScoredSet | None, err: TextIO) -> None:
    from ..evaluation.progress import Progress
    from ..evaluation.report import write_report

    progress = Progress("report", err, terse=True)
    try:
        write_report(args.html, result, scored, audio=args.audio, on_progress=progress)
    finally:
        progress.close()


def _predictions_file(folder: Path, model: str) -> Path:
    return folder / f"{model}.predictions.parquet"
