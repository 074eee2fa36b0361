"""Scores that were computed before: one line of JSON per recording, written as soon as it is known."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path

VERSION = 1
"""Of what the lines mean; another version is another file."""


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/eot-adapters/bench``, or the same below ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "eot-adapters" / "bench"


def item_key(audio: str, turn_start: float, channel: int | None, *, is_excerpt: bool = False) -> str:
    """What a recording's scores depend on, besides the model and the moment of scoring."""
    content = json.dumps([audio, round(turn_start, 6), channel, *(["excerpt"] if is_excerpt else [])])
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
        self._known: dict[tuple[str, float], float] = {}
        self._file: FileIO | None = None
        self._path: Path | None = None
        if folder is None or fingerprint is None:
            return
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", fingerprint)[:60]
        digest = hashlib.sha256(f"{VERSION}:{fingerprint}".encode()).hexdigest()[:16]
        self._path = folder / f"{name}-{digest}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        if self._path.is_file():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._known.update(_row(line))

    def get(self, key: str, moments: Sequence[float]) -> list[float | None]:
        """The score of each moment (seconds of the recording); None where it was not kept."""
        return [self._known.get((key, round(at, 6))) for at in moments]

    def put(self, key: str, item: str, scores: Mapping[float, float]) -> None:
        """Keep scores by their moment; on disk when this returns.

        Raises:
            OSError: they cannot be written.
        """
        rounded = {round(at, 6): score for at, score in scores.items()}
        self._known.update({(key, at): score for at, score in rounded.items()})
        if self._path is None or not rounded:
            return
        row = {"key": key, "item": item, "at": list(rounded), "scores": list(rounded.values())}
        line = json.dumps(row).encode() + b"\n"
        if self._file is None:
            cut_short = self._path.is_file() and not _ends_in_newline(self._path)
            # Unbuffered: a line is one write, which another process cannot come between, and nothing is left to fail
            # when the file is closed.
            self._file = self._path.open("ab", buffering=0)
            line = b"\n" + line if cut_short else line
        written = self._file.write(line)
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def forget(self) -> None:
        """Write no more: what is put is known to this object alone."""
        self.close()
        self._path = None

    def close(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _row(line: str) -> dict[tuple[str, float], float]:
    try:
        row = json.loads(line)
        key = str(row["key"])
        scores = {(key, float(at)): float(score) for at, score in zip(row["at"], row["scores"], strict=True)}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return {}
    return scores if all(0.0 <= score <= 1.0 for score in scores.values()) else {}


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        if file.tell() == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
