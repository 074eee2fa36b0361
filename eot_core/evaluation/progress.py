"""How far a long run is, on standard error: tqdm's bar where it is installed, else a line now and then."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any, TextIO

EVERY = 10.0
"""Seconds between lines, where there is no bar."""


class Progress:
    """Call it with how many are done, of how many."""

    def __init__(
        self, what: str, err: TextIO, *, terse: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            what: is being done.
            err: where to write.
            terse: without a bar, nothing is written of what takes less than :data:`EVERY`.
            clock: seconds.
        """
        self._what = what
        self._err = err
        self._terse = terse
        self._clock = clock
        self._begun = self._told = clock()
        self._bar: Any = None
        self._plain = not err.isatty()

    def __call__(self, done: int, of: int) -> None:
        """``done`` of ``of`` are done."""
        if not self._plain and self._bar is None:
            try:
                tqdm = importlib.import_module("tqdm").tqdm
            except ImportError:
                self._plain = True
            else:
                self._bar = tqdm(total=of, desc=self._what, file=self._err, dynamic_ncols=True)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            return
        now = self._clock()
        if now - self._told >= EVERY or (done == of and not (self._terse and self._told == self._begun)):
            self._told = now
            spent = now - self._begun
            left = f", {spent / done * (of - done):.0f} s left" if 0 < done < of else ""
            print(f"{self._what}: {done} of {of} ({spent:.0f} s{left})", file=self._err, flush=True)

    def say(self, message: str) -> None:
        """A line on its own, above the bar."""
        if self._bar is not None:
            self._bar.write(message, file=self._err)
        else:
            print(message, file=self._err, flush=True)

    def close(self) -> None:
        """Idempotent."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            self._plain = True
