"""What somebody named as a dataset: labels, recordings, a decision log, or something else that has its own command."""

from __future__ import annotations

from pathlib import Path

from .dataset import DatasetError, row_files
from .tuning_calls import SUFFIXES, find_recordings
from .tuning_file import is_calibration
from .tuning_logs import find_logs

_ROWS = frozenset((".jsonl", ".json", ".ndjson", ".parquet", ".arrow"))
_RECORDINGS = ", ".join(sorted(SUFFIXES))
_LABELS = "turns.jsonl, metadata.jsonl, *.parquet, or what datasets.Dataset.save_to_disk writes"


def has_labels(path: Path) -> bool:
    """Whether it is for :func:`read_dataset`: a file of rows, or a folder in which rows are found.

    Raises:
        DatasetError: a folder holds several files of rows, and nothing says which is meant.
    """
    return path.suffix in _ROWS if path.is_file() else bool(row_files(path))


def refuse_for_tune(path: Path) -> None:
    """Say what it is, in one line, where ``eot tune`` can read nothing in it.

    Raises:
        DatasetError: it is not there, is a calibration file, or holds neither labels nor recordings nor a log.
    """
    _refuse(path)
    if find_logs(path) or has_labels(path) or find_recordings(path):
        return
    if path.is_file():
        raise DatasetError(
            f"{path}: is no recording ({_RECORDINGS}), no labels ({', '.join(sorted(_ROWS))}) and no decision log"
        )
    raise DatasetError(f"{path}: holds neither recordings ({_RECORDINGS}) nor labels ({_LABELS}) nor a decision log")


def refuse_for_bench(path: Path) -> None:
    """The same for ``eot bench``, which needs labels.

    Raises:
        DatasetError: it is not there, or is a calibration file, a decision log or recordings without labels.
    """
    _refuse(path)
    if path.is_file() and find_logs(path):
        raise DatasetError(f"{path}: is a decision log, which has no labels: eot tune takes it, eot bench needs labels")
    if has_labels(path):
        return
    if find_logs(path):
        raise DatasetError(f"{path}: holds a decision log, but no labels: eot tune takes it, eot bench needs labels")
    if find_recordings(path):
        raise DatasetError(
            f"{path}: recordings without labels ({_LABELS}): eot bench needs labels; eot tune takes calls with caller "
            "and agent on a channel each as they are"
        )


def _refuse(path: Path) -> None:
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder{_hub_hint(path)}")
    if path.is_file() and path.suffix in (".json", "") and is_calibration(path):
        raise DatasetError(
            f"{path}: is a calibration file, as eot tune writes it: give what it was made of, or the file to "
            "TurnDetector(calibration=...)"
        )


def _hub_hint(path: Path) -> str:
    """What to do where a dataset of the Hugging Face hub was named ("livekit/eot-bench-data", or its URL); else ""."""
    owner, name = path.parts[-2:] if len(path.parts) >= 2 else ("", "")
    named = len(path.parts) == 2 and not path.suffix and not path.parent.exists()
    if not named and "huggingface.co" not in path.parts:
        return ""
    return f": download it first (hf download --repo-type dataset {owner}/{name} --local-dir {name})"
