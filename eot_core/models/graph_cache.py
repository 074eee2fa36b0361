"""Edited graphs, kept in a folder so that they are made once per machine.

The folder is ``EOT_CACHE_DIR``, else ``eot-adapters`` in the user's cache (``XDG_CACHE_HOME``, ``~/.cache``). The name
of a file says what it was made of; its first line is the sha256 of the rest, so that a file that was cut short or
changed is made anew. It is written beside and moved into place: processes that start together never see half a graph,
and the last one wins with the same bytes. Where the folder cannot be written, the graph is used from memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

CACHE_VARIABLE = "EOT_CACHE_DIR"

_DIGEST = 64
_logger = logging.getLogger("eot_core")


def cache_folder() -> Path:
    """Where edited graphs are kept. Need not exist."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "eot-adapters"


def cache_file(name: str, identity: str) -> Path:
    """Where the graph called ``name`` is kept that was made of what ``identity`` describes in full."""
    return cache_folder() / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.graph"


def cached_graph(file: Path, make: Callable[[], bytes]) -> bytes:
    """The graph in ``file`` if it is there and whole; else what ``make`` gives, kept there if that can be done.

    Raises:
        Whatever ``make`` raises. A folder that cannot be read or written is no error: a warning names it.
    """
    found = _read(file)
    if found is not None:
        return found
    graph = make()
    try:
        _write(file, graph)
    except OSError as error:
        _logger.warning(
            "cannot keep the edited graph in %s (%s): it is made again by each process; set %s to a folder that can "
            "be written",
            file.parent,
            error.strerror or type(error).__name__,
            CACHE_VARIABLE,
        )
    return graph


def _read(file: Path) -> bytes | None:
    """None where there is no such file, or not the one that was written."""
    try:
        content = file.read_bytes()
    except OSError:
        return None  # not there, or not for us: writing tells which
    digest, graph = content[:_DIGEST], content[_DIGEST + 1 :]
    if digest != hashlib.sha256(graph).hexdigest().encode():
        _logger.warning("the edited graph in %s is damaged: it is made anew", file)
        return None
    return graph


def _write(file: Path, graph: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f"{file.stem}-", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as partial:
            partial.write(hashlib.sha256(graph).hexdigest().encode() + b"\n" + graph)
        os.replace(temporary, file)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
