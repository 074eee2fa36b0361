"""How many sessions a gateway has, and whether it takes more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class Places:
    """Counts; who comes to the door is turned away by the caller. Used on one event loop."""

    def __init__(self, limit: int) -> None:
        """
        Args:
            limit: sessions at a time.
        """
        self._limit = limit
        self._taken = 0
        self._vacant = asyncio.Event()
        self._draining = False

    @property
    def taken(self) -> int:
        """Sessions that are open."""
        return self._taken

    @property
    def full(self) -> bool:
        """Whether there is none left."""
        return self._taken >= self._limit

    @property
    def draining(self) -> bool:
        """Whether no new session is taken any more, however few there are."""
        return self._draining

    def reopen(self) -> None:
        """New sessions are taken (again)."""
        self._draining = False

    def drain(self) -> None:
        """No new sessions from now on."""
        self._draining = True

    async def vacant(self, grace: float) -> None:
        """Wait until the last session is over.

        Args:
            grace: seconds to wait at most.
        """
        if self._taken:
            self._vacant.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._vacant.wait(), grace)

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """One more session, for as long as it lasts."""
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            if self._taken == 0:
                self._vacant.set()
