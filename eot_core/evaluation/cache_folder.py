"""The folder of what was computed: where it cannot be written the work goes on without it, and that is told once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from .cache import default_cache


class NotKept:
    """Tells of the first error alone: after it come others like it, one for each pause."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.told = False

    def __call__(self, error: OSError) -> None:
        """Say what could not be kept, and what to do."""
        if not self.told:
            self.told = True
            self._say(
                f"what is heard and scored is not kept, so that another run begins anew ({error}): make room, choose "
                "another folder (--cache FOLDER), or keep nothing (--no-cache)"
            )


def open_cache(folder: Path | None, not_kept: NotKept) -> Path | None:
    """A folder that was looked at, and made if need be; None where it takes no file.

    Args:
        folder: None takes the user's (:func:`default_cache`).
        not_kept: told why there is none.
    """
    try:
        folder = folder or default_cache()
    except RuntimeError as error:  # neither HOME nor an entry for the user
        not_kept(OSError(f"no home folder: {error}"))
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        not_kept(OSError(error.errno, error.strerror or os.strerror(error.errno or 0), str(folder)))
        return None
