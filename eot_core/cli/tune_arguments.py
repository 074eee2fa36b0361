"""What ``eot tune`` is given: checked, and made into models and kinds of data."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..evaluation.scorers import ModelScorer


def check_arguments(args: argparse.Namespace) -> None:
    for name, value, least in (
        ("--resamples", args.resamples, 0),
        ("--seed", args.seed, 0),
        ("--caller-channel", args.caller_channel, 0),
        ("--agent-channel", args.agent_channel, 0),
    ):
        if value is not None and value < least:
            raise ValueError(f"{name} must be {least} or more, got {value}")
    folder = args.output.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"--output: there is no folder {folder}")
    if args.output.is_dir():
        raise ValueError(f"--output: {args.output} is a folder: name a file")


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

    for name in names:
        if name in (v1_mini.NAME, "v1-mini"):
            raise ModelLicenseError(f"{v1_mini.REFUSAL}; its scores train, tune and calibrate nothing")
        if name in (VAD, ELAPSED):
            raise ValueError(f"--model {name}: there is nothing to tune: it is no model")
    return [scorer for scorer in make_scorers(names) if isinstance(scorer, ModelScorer)]


def checksum_of(scorer: ModelScorer, name: str) -> str | None:
    """Of the weights; None where they are in no file of their own."""
    from ..models.weights import sha256_of

    path = Path(name).expanduser()
    return sha256_of(path) if scorer.spec.sha256 is None and path.is_file() else scorer.spec.sha256


def has_labels(path: Path) -> bool:
    """Whether it is for :func:`read_dataset`: a file of rows, or a folder with one."""
    rows = (".jsonl", ".json", ".ndjson", ".parquet", ".arrow")
    if path.is_file():
        return path.suffix in rows
    return any(next(path.rglob(f"*{suffix}"), None) is not None for suffix in rows)
