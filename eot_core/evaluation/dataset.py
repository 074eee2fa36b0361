"""Datasets on disk: JSONL with audio files, parquet, or a folder as Hugging Face ``datasets`` saves or publishes it."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import arrow_files
from .calls import call_items, is_call
from .items import REQUIRED, Item, ItemError, Problem, parse_item

_ROW_FILES = ("turns.jsonl", "metadata.jsonl")
_SHARD = re.compile(r"^(?P<split>[A-Za-z0-9_]+?)(-\d{5}-of-\d{5}.*)?$")
"""Of parquet files on the Hugging Face hub: "validation-00000-of-00002"."""


class DatasetError(ValueError):
    """A dataset cannot be read at all. The message names the path and says what to do."""


Rows = Iterator[tuple[str, dict[str, Any] | ItemError, Path, str | None]]
"""Where the row is, the row (or what is wrong with it), the folder of its audio, its split by the file's name."""


def read_dataset(
    path: str | Path,
    *,
    split: str | None = None,
    language: str | None = None,
    on_problem: Callable[[Problem], None],
) -> list[Item]:
    """The items of a dataset, in its order.

    Args:
        path: a ``.jsonl`` or ``.parquet`` file, or a folder: with ``turns.jsonl`` or ``metadata.jsonl``, with parquet
            files as on the Hugging Face hub, or as ``datasets``' ``save_to_disk`` leaves it. Parquet and Arrow files
            need ``pyarrow``. A row of a two-channel call (:mod:`eot_core.evaluation.calls`) gives its turns.
        split: only the items of this split.
        language: only the items of this language key.
        on_problem: told of every row that cannot be used; the others are read all the same.

    Raises:
        DatasetError: there is no such dataset, pyarrow is needed and missing, or no row is left.
    """
    path = Path(path).expanduser()
    items: list[Item] = []
    seen: set[str] = set()
    splits: set[str] = set()
    languages: set[str] = set()
    for where, row, folder, file_split in _rows(path):
        try:
            if isinstance(row, ItemError):
                raise row
            if "audio" not in row and "file_name" in row:  # audiofolder's name for it
                row["audio"] = row["file_name"]
            found = call_items(row, folder, file_split) if is_call(row) else [parse_item(row, folder, file_split)]
        except ItemError as error:
            named = row.get("id") if isinstance(row, dict) else None
            on_problem(Problem(str(named) if named is not None else where, str(error)))
            continue
        for item in found:
            if item.split is not None:
                splits.add(item.split)
            languages.add(item.language)
            if (split is not None and item.split not in (None, split)) or (language and item.language != language):
                continue
            if item.id in seen:
                on_problem(Problem(item.id, f"{where}: its id was there before: ids must differ"))
                continue
            seen.add(item.id)
            items.append(item)
    if not items:
        hint = ""
        if split is not None and splits and split not in splits:
            hint = f"; its splits are {', '.join(sorted(splits))}"
        elif language is not None and languages:
            where = "" if language not in languages else f" in split {split}"
            hint = f"; none is in {language!r}{where}: its languages are {', '.join(sorted(languages))}"
        raise DatasetError(f"{path}: no item is left to use{hint}")
    return items


def _rows(path: Path) -> Rows:
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    if path.is_file():
        yield from _file(path, None)
        return
    files = row_files(path)
    if not files:
        if scores := [file for file in _below(path, ".parquet") if _holds_scores(file)]:
            names = ", ".join(str(file.relative_to(path)) for file in scores)
            raise DatasetError(f"{path}: holds scores alone: name one of {names}")
        raise DatasetError(
            f"{path}: holds no dataset: expected {' or '.join(_ROW_FILES)}, *.parquet, or what "
            "datasets.Dataset.save_to_disk writes"
        )
    for file, split in files:
        if file.suffix == ".jsonl":
            yield from _file(file, split)
        else:
            yield from _shard(file, split)


def row_files(path: Path) -> list[tuple[Path, str | None]]:
    """Files of rows in a folder, and the split that a name says; hidden ones are passed over. Empty: it is no dataset.

    Scores of eot-bench or of ``eot bench --predictions`` (``MODEL.predictions.parquet``) are no rows.

    A JSONL file of any other name than those of a dataset is one where its first line names audio: beside recordings
    lies what recorders, caches and decision logs write.

    Raises:
        DatasetError: there are several, and nothing says which.
    """
    for name in _ROW_FILES:
        if (path / name).is_file():
            return [(path / name, None)]
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        arrow = [file for file in _below(path, ".arrow") if not file.name.startswith("cache-")]
        return [(file, file.parent.name if file.parent != path else None) for file in arrow]
    if parquet := [file for file in _below(path, ".parquet") if not _holds_scores(file)]:
        return [(file, _split_of(file)) for file in parquet]
    jsonl = [file for file in sorted(path.glob("*.jsonl")) if not file.name.startswith(".") and _names_audio(file)]
    if len(jsonl) > 1:
        raise DatasetError(f"{path}: holds {', '.join(file.name for file in jsonl)}: name the one that is to be read")
    return [(file, None) for file in jsonl]


def _below(path: Path, suffix: str) -> list[Path]:
    found = (file for file in path.rglob(f"*{suffix}") if file.is_file())
    return sorted(f for f in found if not any(part.startswith(".") for part in f.relative_to(path).parts))


def _holds_scores(file: Path) -> bool:
    """By its name; see :mod:`eot_core.evaluation.predictions`."""
    return file.name == "predictions.parquet" or file.name.endswith(".predictions.parquet")


def _first_row(file: Path) -> dict[str, Any] | ItemError:
    with file.open("rb") as lines:
        return _json_row(next((line for line in lines if line.strip()), b"").removeprefix(codecs.BOM_UTF8))


def _is_one_document(file: Path) -> bool:
    """Such as a list of rows, or a report: not a row in each line, which would be told of each line."""
    if not isinstance(_first_row(file), ItemError):
        return False
    try:
        json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True


def _names_audio(file: Path) -> bool:
    try:
        row = _first_row(file)
    except OSError:
        return False
    return not isinstance(row, ItemError) and "schema" not in row and ("audio" in row or "file_name" in row)


def _shard(path: Path, split: str | None) -> Rows:
    """One file of several: where it cannot be read, the others can."""
    pyarrow("lib")
    try:
        yield from _file(path, split)
    except DatasetError as error:
        yield path.name, ItemError(str(error)), path.parent, split


def _split_of(file: Path) -> str | None:
    """By the name of a parquet file on the hub; the hub's own converter has the split as the folder's."""
    match = _SHARD.match(file.stem)
    if match is None:
        return None
    return file.parent.name if match["split"].isdigit() else match["split"]


def _file(path: Path, split: str | None) -> Rows:
    if path.suffix in (".parquet", ".arrow"):
        for number, row in enumerate((_parquet_rows if path.suffix == ".parquet" else _arrow_rows)(path)):
            if number == 0:
                _check_columns(path, row)
            yield f"{path.name} row {number}", row, path.parent, split
    elif path.suffix in (".jsonl", ".json", ".ndjson"):
        yield from _json_rows(path, split)
    else:
        raise DatasetError(f"{path}: give a .jsonl or .parquet file, or a folder")


def _check_columns(path: Path, row: dict[str, Any]) -> None:
    """Every row of a table has its columns: what lacks one is said once."""
    there = {"audio" if name == "file_name" else name for name in row}
    missing = [name for name in REQUIRED if name not in there]
    if missing and not {"speech", "channels"} <= there:
        raise DatasetError(
            f"{path}: is no dataset: it has no column {', '.join(missing)}; the schema asks for {', '.join(REQUIRED)}"
        )


def _json_rows(path: Path, split: str | None) -> Rows:
    try:
        if _is_one_document(path):
            raise DatasetError(f"{path}: is one JSON document, where each line must be a row (JSONL)")
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                if line.strip():
                    yield f"{path.name} line {number}", _json_row(line), path.parent, split
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error


def _json_row(line: bytes) -> dict[str, Any] | ItemError:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return ItemError(f"is no JSON: it is not UTF-8 ({error.reason} at byte {error.start})")
    except json.JSONDecodeError as error:
        return ItemError(f"is no JSON: {error}")
    except RecursionError:
        return ItemError("is no JSON: it is nested too deeply")
    return row if isinstance(row, dict) else ItemError("is no JSON object")


def pyarrow(what: str) -> Any:
    """The package, with the module ``what`` ("parquet", "ipc") loaded.

    Raises:
        DatasetError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(f"pyarrow.{what}")
    except ImportError as error:
        raise DatasetError("parquet and Arrow files need pyarrow: pip install pyarrow, or give JSONL") from error


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    pyarrow("parquet")
    try:
        yield from arrow_files.parquet_rows(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise DatasetError(f"{path}: is no parquet file that can be read: {error}") from error


def _arrow_rows(path: Path) -> Iterator[dict[str, Any]]:
    pyarrow("ipc")
    try:
        yield from arrow_files.arrow_rows(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: is no Arrow file that can be read: {error}") from error
