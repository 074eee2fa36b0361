"""Connections that ask for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ..clock import Clock, TimerHandle


class SilentConnections:
    """Closes them, as each costs a descriptor, and needs no key for it.

    aiohttp itself waits an hour for the first request, and before 3.14 for good. Whoever connects gets from one to two
    times the limit; after a request of any kind it is the business of others.
    """

    def __init__(self, limit: float, connections: Callable[[], Iterable[web.RequestHandler]]) -> None:
        """
        Args:
            limit: seconds.
            connections: gives those that are open.
        """
        self._limit = limit
        self._connections = connections
        self._asked: set[web.RequestHandler] = set()
        self._silent: set[web.RequestHandler] = set()
        self._timer: TimerHandle | None = None

    def start(self, clock: Clock) -> None:
        """Begin."""
        self._timer = clock.call_at(clock.now() + self._limit, lambda: self._look(clock))

    def stop(self) -> None:
        """End. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def middleware(self) -> Middleware:
        """Sees every request of an application."""

        @web.middleware
        async def asked(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._asked.add(request.protocol)
            return await handler(request)

        return asked

    def _look(self, clock: Clock) -> None:
        connections = set(self._connections())
        self._asked &= connections
        silent = connections - self._asked
        for connection in silent & self._silent:
            if connection.transport is not None:
                connection.transport.abort()
        self._silent = silent
        self.start(clock)
