"""A small event emitter with a fixed list of events."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, Literal, get_args

logger = logging.getLogger("eot_core")

Event = Literal["prediction", "fallback", "backchannel_opportunity"]
EVENTS: tuple[Event, ...] = get_args(Event)
"""What detectors and streams emit: :class:`Prediction` (answered or default), :class:`FallbackOccurred`,
:class:`BackchannelOpportunity`."""

Listener = Callable[[Any], object]


class Emitter:
    """Calls listeners in the order in which they were added; one that raises is logged and harms nobody else."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}

    def on(self, event: Event, listener: Listener) -> Listener:
        """See :meth:`Observable.on`."""
        _check(event)
        if not callable(listener):
            raise TypeError(f"listener must be callable, got {type(listener).__name__}")
        if inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(type(listener).__call__):
            raise TypeError(
                f"listener for {event!r} is async, and would never be awaited: use a plain function, which may start a "
                "task (asyncio.create_task)"
            )
        self._listeners.setdefault(event, []).append(listener)
        return listener

    def off(self, event: Event, listener: Listener) -> None:
        """See :meth:`Observable.off`."""
        _check(event)
        listeners = self._listeners.get(event, [])
        if listener in listeners:
            listeners.remove(listener)

    def emit(self, event: str, payload: Any) -> None:
        """Call the listeners of ``event``."""
        for listener in tuple(self._listeners.get(event, ())):
            try:
                listener(payload)
            except Exception:
                logger.exception("a listener for %r raised", event)


class Observable:
    """Something that has listeners."""

    _emitter: Emitter

    def on(self, event: Event, listener: Listener) -> Listener:
        """Listen: "prediction", "fallback" or "backchannel_opportunity". Returns the listener.

        Raises:
            ValueError: there is no such event.
            TypeError: the listener cannot be called, or is async.
        """
        return self._emitter.on(event, listener)

    def off(self, event: Event, listener: Listener) -> None:
        """Stop listening; harmless where it was not listening.

        Raises:
            ValueError: there is no such event.
        """
        self._emitter.off(event, listener)


def _check(event: str) -> None:
    if event not in EVENTS:
        raise ValueError(f"event must be one of {', '.join(EVENTS)}, got {event!r}")
