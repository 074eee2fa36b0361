"""Rows of parquet and Arrow files, as Hugging Face ``datasets`` writes them. Audio within is read when it is asked for:
a dataset may be larger than memory.

All functions need ``pyarrow``, and raise OSError or ValueError for a file that cannot be read.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

_AUDIO = "audio"
_BYTES = "bytes"


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file; ``audio["bytes"]`` is a function, where there are any."""
    file = _pyarrow("parquet").ParquetFile(path)
    for group in range(file.num_row_groups):
        columns = _without_audio(file, group)
        number = 0
        # Where the audio cannot be left out: a few recordings at a time.
        for batch in file.iter_batches(16 if columns is None else 1000, row_groups=[group], columns=columns):
            for row in batch.to_pylist():
                audio = row.get(_AUDIO) or {}
                if columns is not None or (isinstance(audio, dict) and isinstance(audio.get(_BYTES), bytes)):
                    row[_AUDIO] = {**audio, _BYTES: partial(_in_parquet, path, group, number)}
                number += 1
                yield row


def arrow_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The same for a file as ``save_to_disk`` writes it."""
    pa, ipc = _pyarrow("lib"), _pyarrow("ipc")
    with pa.memory_map(str(path)) as source, ipc.open_stream(source) as reader:
        for number, batch in enumerate(reader):
            yield from _rows(path, number, batch)


def _without_audio(file: Any, group: int) -> list[str] | None:
    """Names of the columns without the audio's bytes; None where some recordings have bytes and others have none."""
    pieces = file.metadata.row_group(group)
    for piece in map(pieces.column, range(pieces.num_columns)):
        if piece.path_in_schema == f"{_AUDIO}.{_BYTES}":
            known = piece.statistics
            if known is None or not known.has_null_count or known.null_count:
                return None
            schema = file.schema_arrow
            rest = [f"{_AUDIO}.{field.name}" for field in schema.field(_AUDIO).type if field.name != _BYTES]
            return [name for name in schema.names if name != _AUDIO] + rest
    return None


_held: dict[tuple[Path, int], Any] = {}
"""The audio of one row group (100 recordings in datasets that Hugging Face wrote): rows are asked for in order."""


def _in_parquet(path: Path, group: int, row: int) -> bytes:
    if (path, group) not in _held:
        _held.clear()  # before the next one is read: two would be held otherwise
        file = _pyarrow("parquet").ParquetFile(path)
        _held[path, group] = file.read_row_group(group, columns=[f"{_AUDIO}.{_BYTES}"]).column(_AUDIO)
    encoded: bytes = _held[path, group][row][_BYTES].as_py()
    return encoded


def _rows(path: Path, number: int, batch: Any) -> Iterator[dict[str, Any]]:
    kind = batch.schema.field(_AUDIO).type if _AUDIO in batch.schema.names else None
    names = [field.name for field in kind] if kind is not None and _pyarrow("types").is_struct(kind) else []
    if _BYTES not in names:
        yield from batch.to_pylist()
        return
    audio = batch.column(_AUDIO)
    there = audio.field(_BYTES).is_valid().to_pylist()
    rest = {name: audio.field(name).to_pylist() for name in names if name != _BYTES}
    is_any = audio.is_valid().to_pylist()
    for i, row in enumerate(batch.drop_columns([_AUDIO]).to_pylist()):
        encoded = partial(_in_arrow, path, number, i) if there[i] else None
        row[_AUDIO] = {**{name: values[i] for name, values in rest.items()}, _BYTES: encoded} if is_any[i] else None
        yield row


def _in_arrow(path: Path, number: int, row: int) -> bytes:
    batches = _batches(path)
    if number >= len(batches):
        raise OSError(f"{path} has changed")
    encoded: bytes = batches[number].column(_AUDIO)[row][_BYTES].as_py()
    return encoded


@lru_cache(maxsize=1)
def _batches(path: Path) -> list[Any]:
    """Of one file; they take no memory until they are looked at."""
    pa, ipc = _pyarrow("lib"), _pyarrow("ipc")
    batches: list[Any] = []
    cut_short = contextlib.suppress(OSError, ValueError)  # which whoever listed its rows was told
    with pa.memory_map(str(path)) as source, ipc.open_stream(source) as reader, cut_short:
        batches.extend(reader)
    return batches


def _pyarrow(module: str) -> Any:
    return importlib.import_module(f"pyarrow.{module}")
