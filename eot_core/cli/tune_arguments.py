"""What ``eot tune`` takes: its arguments, checked, and made into models and kinds of data."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import scoring_arguments

if TYPE_CHECKING:
    from ..evaluation.scorers import ModelScorer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="a folder of two-channel recordings (WAV, FLAC, MP3), labelled data as eot bench reads it, or a decision "
        "log (EOT_DECISION_LOG) whose audio was kept",
    )
    parser.add_argument(
        "--budget",
        default="cutoff=0.05",
        metavar="KIND=VALUE",
        help="cutoff=0.05: at most 5 %% of the pauses inside turns are taken for their end, as quick as can be; "
        "latency=0.6: 0.6 s on average, with as few cutoffs as can be (default: %(default)s)",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="calibration file to write")
    parser.add_argument(
        "--model",
        metavar="A,B,...",
        help="names of local models, or paths of ONNX files (default: the one that runs where none is named: "
        "eot-open-1, or smart-turn-v3.2 where onnx is not installed)",
    )
    parser.add_argument("--language", metavar="TAG", help="of recordings; of labelled data: only items in it")
    parser.add_argument("--split", metavar="NAME", help="of labelled data: only items of this split")
    parser.add_argument(
        "--caller-channel", type=int, default=0, metavar="N", help="of recordings, from 0 (default: %(default)s)"
    )
    parser.add_argument(
        "--agent-channel", type=int, metavar="N", help="of recordings, from 0 (default: 1, or 0 if the caller has 1)"
    )
    parser.add_argument(
        "--curve",
        choices=("auto", "step", "continuous"),
        default="auto",
        help="step: minimum or maximum delay, by the threshold; continuous: the delay falls with the probability; "
        "auto: the step, unless the other is better on held-out calls (default: %(default)s)",
    )
    parser.add_argument(
        "--rescore",
        action="store_true",
        help="also score each pause every 0.2 s up to 1 s, and try the continuous curve with it (several times the "
        "work; not for decision logs)",
    )
    parser.add_argument(
        "--no-head",
        action="store_true",
        help="threshold and delays only: fit no head of your own (for eot-open-1 and the like, where there is enough "
        "data and it pays on held-out calls)",
    )
    scoring_arguments.add_arguments(parser)


def check_arguments(args: argparse.Namespace) -> None:
    """What :mod:`argparse` does not look at.

    Raises:
        ValueError: a number is too small, or the output cannot be written, or is somebody else's; the message names
            the argument.
    """
    from ..evaluation.output_file import check_output
    from ..evaluation.tuning_file import is_calibration

    channels = (("--caller-channel", args.caller_channel, 0), ("--agent-channel", args.agent_channel, 0))
    scoring_arguments.check_numbers(args, channels)
    check_output("--output", args.output, Path(args.dataset).expanduser(), is_calibration)


def model_names(given: str | None) -> list[str]:
    """Names of models from ``--model``; where it was not given, the one that runs where none is named."""
    from ..models.registry import default_model

    if given is None:
        return [default_model().name]
    return [name.strip() for name in given.split(",") if name.strip()]


def model_scorers(names: Sequence[str]) -> list[ModelScorer]:
    from ..evaluation.scorers import ELAPSED, VAD, ModelScorer, make_scorers
    from ..models import v1_mini
    from ..models.base import ModelLicenseError
    from .local_models import refuse_cloud

    refuse_cloud("--model", names)
    for name in names:
        if name in (v1_mini.NAME, "v1-mini"):
            raise ModelLicenseError(f"{v1_mini.REFUSAL}; its scores train, tune and calibrate nothing")
        if name in (VAD, ELAPSED):
            raise ValueError(f"--model {name}: there is nothing to tune: it is no model")
    scorers = [scorer for scorer in make_scorers(names) if isinstance(scorer, ModelScorer)]
    for scorer in scorers:
        if scorer.name != scorer.spec.name:  # it has a name of its own to be told from another by
            raise ValueError(
                f"--model: two files are called {scorer.spec.name}.onnx, and a detector finds what was tuned for it by "
                "that name: rename one, or tune for them one after the other"
            )
    return scorers


def checksum_of(scorer: ModelScorer, name: str) -> str | None:
    """Of the weights; None where they are in no file of their own."""
    from ..models.weights import sha256_of

    path = Path(name).expanduser()
    return sha256_of(path) if scorer.spec.sha256 is None and path.is_file() else scorer.spec.sha256


def not_for(args: argparse.Namespace, kind: str) -> list[str]:
    """Arguments that were given and say nothing of this kind of data: "logs", "labels" or "recordings"."""
    given = {
        "--caller-channel": (args.caller_channel != 0, "recordings"),
        "--agent-channel": (args.agent_channel is not None, "recordings"),
        "--no-check": (args.no_check, "labels"),
        "--rescore": (args.rescore and kind == "logs", "recordings, labels"),
    }
    return [name for name, (was_given, kinds) in given.items() if was_given and kind not in kinds]
