"""Scores that were computed before: one line of JSON per recording, written as soon as it is known."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

VERSION = 1
"""Of what the lines mean; another version is another file."""


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/eot-adapters/bench``, or the same below ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "eot-adapters" / "bench"


def item_key(audio: str, turn_start: float, moments: Sequence[float], channel: int | None) -> str:
    """What a recording's scores depend on, besides the model: its content and when it was scored."""
    content = json.dumps([audio, round(turn_start, 6), [round(m, 6) for m in moments], channel])
    return hashlib.sha256(content.encode()).hexdigest()


class ScoreCache:
    """The scores of one model. A line that was cut short by a crash is skipped; everything before it counts."""

    def __init__(self, folder: Path | None, fingerprint: str | None) -> None:
        """
        Args:
            folder: made if need be; None keeps nothing.
            fingerprint: of the model; None keeps nothing.

        Raises:
            OSError: the folder cannot be made, or its file cannot be read.
        """
        self._known: dict[str, list[float]] = {}
        self._file: TextIO | None = None
        self._path: Path | None = None
        if folder is None or fingerprint is None:
            return
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", fingerprint)[:60]
        digest = hashlib.sha256(f"{VERSION}:{fingerprint}".encode()).hexdigest()[:16]
        self._path = folder / f"{name}-{digest}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                row = _row(line)
                if row is not None:
                    self._known[row["key"]] = row["scores"]

    def get(self, key: str) -> list[float] | None:
        """Scores that were kept, in the order of their moments."""
        return self._known.get(key)

    def put(self, key: str, item: str, scores: Sequence[float]) -> None:
        """Keep scores; on disk when this returns.

        Raises:
            OSError: they cannot be written.
        """
        self._known[key] = list(scores)
        if self._path is None:
            return
        if self._file is None:
            cut_short = self._path.exists() and not _ends_in_newline(self._path)
            self._file = self._path.open("a", encoding="utf-8")
            if cut_short:
                self._file.write("\n")
        self._file.write(json.dumps({"key": key, "item": item, "scores": list(scores)}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _row(line: str) -> Mapping[str, Any] | None:
    try:
        row = json.loads(line)
        if isinstance(row["key"], str) and all(isinstance(s, float | int) for s in row["scores"]):
            return {"key": row["key"], "scores": [float(s) for s in row["scores"]]}
    except (ValueError, KeyError, TypeError):
        return None
    return None


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        if file.tell() == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
