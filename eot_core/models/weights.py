"""Where weights are: a file inside an installed distribution, found without importing it, and its checksum.

Importing the package would be wrong twice: ``import silero_vad`` pulls in torch, and a framework must not be imported
by a core that knows none.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .base import ModelIntegrityError, ModelNotInstalledError

_CHUNK = 1 << 20
_checksums: dict[tuple[str, int, int], str] = {}
_checksums_lock = threading.Lock()


def _renew_lock() -> None:
    """A child forked while another thread held the lock would wait for it forever."""
    global _checksums_lock
    _checksums_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A file that a distribution installs."""

    distribution: str
    """Name on the package index, for example "pipecat-ai"."""
    path: str
    """Path from site-packages with forward slashes, for example "pipecat/audio/vad/data/silero_vad.onnx"."""

    def locate(self) -> Path | None:
        """Where the file is, or None if it is not installed. Imports nothing."""
        for candidate in self._candidates():
            if candidate.is_file():
                return candidate
        return None

    def _candidates(self) -> Iterator[Path]:
        from importlib import metadata  # 10 ms, a sixth of what `import eot_core` takes

        # A vendored or unpacked copy on sys.path has no metadata.
        with contextlib.suppress(metadata.PackageNotFoundError):
            yield Path(str(metadata.distribution(self.distribution).locate_file(self.path)))
        # An editable install has its files elsewhere. Only the top-level name is looked up: find_spec of a submodule
        # would import its parents.
        package, _, rest = self.path.partition("/")
        try:
            spec = importlib.util.find_spec(package)
        except ValueError:  # the name is in sys.modules without a spec, as "__main__" may be
            return
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            yield Path(folder) / rest


def sha256_of(path: Path) -> str:
    """Checksum of a file, hex; remembered until its size or modification time changes.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    key = (str(path), status.st_mtime_ns, status.st_size)
    with _checksums_lock:
        known = _checksums.get(key)
    if known is not None:
        return known
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    with _checksums_lock:
        _checksums[key] = digest.hexdigest()
    return digest.hexdigest()


def explicit_weights(path: str | os.PathLike[str], *, sha256: Collection[str] = (), argument: str = "weights") -> Path:
    """Check a file that the user has named.

    Args:
        path: the file.
        sha256: accepted checksums, hex; empty accepts any file.
        argument: what to call ``path`` in messages.

    Raises:
        ModelNotInstalledError: there is no such file.
        ModelIntegrityError: its checksum is none of ``sha256``.
    """
    file = Path(os.fspath(path)).expanduser()
    if not file.is_file():
        raise ModelNotInstalledError(f"{argument}: no file at {file}: check the path")
    _check(file, sha256, remedy=f"pass {argument}= the file that this version was measured with")
    return file.resolve()


def packaged_weights(name: str, files: Iterable[PackagedFile], *, sha256: Collection[str], install: str) -> Path:
    """The first of ``files`` that is installed and is what it should be.

    Args:
        name: what is looked for, for messages.
        files: where it may be, best first.
        sha256: accepted checksums, hex.
        install: what to do when there is none, for example "pip install 'eot-adapters[pipecat]'".

    Raises:
        ModelNotInstalledError: none is installed.
        ModelIntegrityError: some are, but none with an accepted checksum.
    """
    wrong: ModelIntegrityError | None = None
    for file in files:
        path = file.locate()
        if path is None:
            continue
        try:
            _check(path, sha256, remedy=f"reinstall {file.distribution}, or {install}")
        except ModelIntegrityError as error:
            wrong = wrong or error
        else:
            return path.resolve()
    if wrong is not None:
        raise wrong
    raise ModelNotInstalledError(f"{name} is not installed: {install}")


def _check(path: Path, accepted: Collection[str], *, remedy: str) -> None:
    if not accepted:
        return
    found = sha256_of(path)
    if found not in accepted:
        wanted = " or ".join(f"{checksum[:12]}…" for checksum in accepted)
        raise ModelIntegrityError(f"sha256 is {found[:12]}…, expected {wanted}: {remedy} ({path})")
