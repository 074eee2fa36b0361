"""Files that are written at the end of a run, which may have taken hours: looked at before it, written whole after."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def check_output(option: str, path: Path, dataset: Path, ours: Callable[[Path], bool]) -> None:
    """Refuse what could not be written, or what would be lost by it.

    Args:
        option: the argument that named the file, for the message.
        path: where it is to be. Links are followed.
        dataset: what is read.
        ours: whether an existing file is one that the command may replace.

    Raises:
        ValueError: it is a folder, the dataset, or somebody else's file, or nothing can be written there.
    """
    target = _target(option, path)
    if target.is_dir():
        raise ValueError(f"{option}: {path} is a folder: name a file")
    if _is_straight(path):
        if not os.access(path, os.W_OK):
            raise ValueError(f"{option}: {path} cannot be written")
        return
    folder = target.parent
    if not folder.is_dir():
        raise ValueError(f"{option}: there is no folder {folder}")
    if target.exists():
        if dataset.exists() and target.samefile(dataset):
            raise ValueError(f"{option}: {path} is the dataset: name another file")
        if not os.access(target, os.W_OK):
            raise ValueError(f"{option}: {path} cannot be written")
        if target.stat().st_size and not ours(target):
            raise ValueError(
                f"{option}: {path} is there, and is nothing that this command wrote: name another file, or remove it"
            )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{option}: nothing can be written in {folder} ({error.strerror})") from error


def check_folder(option: str, path: Path) -> None:
    """Make a folder that files are to be written into, where it is not there.

    Raises:
        ValueError: it cannot be made, or nothing can be written in it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{option}: {path} is no folder, and cannot be made one ({error.strerror})") from error
    if not os.access(path, os.W_OK):
        raise ValueError(f"{option}: nothing can be written in {path}")


def write_output(path: Path, content: str | bytes) -> None:
    """Write the file: whole, or not at all, with the mode of the one whose place it takes. Links are followed.

    What is no regular file (a pipe, a device, standard output) is written to as it is.

    Raises:
        OSError: it cannot be written; the error names ``path``.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if _is_straight(path):
            sys.stdout.flush()  # it may be the same: what was said before comes before
            with path.open("ab") as file:
                file.write(data)
        else:
            _replace(path.resolve(), data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(target: Path, data: bytes) -> None:
    part = target.with_name(f".{os.getpid()}.eot.part")
    try:
        with part.open("xb") as file:
            if target.exists():  # before anything is in it: who may not read the old one may not read this
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _target(option: str, path: Path) -> Path:
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{option}: {path} cannot be written ({error})") from error
    if target.is_symlink():  # from Python 3.13 on that is no error
        raise ValueError(f"{option}: {path} cannot be written (its links lead in a circle)")
    return target


def _is_straight(path: Path) -> bool:
    """Whether it is there and cannot be replaced by a file. Standard output may be a regular file, but a shell's."""
    if path.parent in (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd")):
        return path.exists()
    return path.exists() and not path.is_file()
