"""How late the event loop is: what tells that a gateway has more sessions than one loop can serve."""

from __future__ import annotations

import asyncio

from .counts import Durations

PERIOD = 0.5
"""Seconds between two looks."""


class LagWatch:
    """Looks by the loop's own time, whatever clock the sessions have."""

    def __init__(self, lags: Durations) -> None:
        """
        Args:
            lags: takes what is seen.
        """
        self._lags = lags
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, on the running loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(PERIOD, self._look, loop, loop.time() + PERIOD)

    def stop(self) -> None:
        """End. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._lags.observe(loop.time() - due)
        self.start()
