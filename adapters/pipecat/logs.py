"""The core's log, in loguru, where Pipecat's users read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from loguru import Record

CORE = "eot_core"


class LoguruHandler(logging.Handler):
    """Hands records of the standard library's logging on to loguru, with their level, place and exception."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on, unless another handler on its way does that already."""
        if _forwarded_elsewhere(record, self):
            return
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:  # a level of the user's own
            level = record.levelno

        def place(entry: Record) -> None:
            entry["name"], entry["function"], entry["line"] = record.name, record.funcName or "", record.lineno

        # The message is an argument, not a template: it may hold braces and tags.
        logger.patch(place).opt(exception=record.exc_info).log(level, "{}", record.getMessage())


def forward_core_log() -> None:
    """Forward the core's records to loguru; however often it is called, once.

    Where the application has a handler of its own that hands standard logging to loguru (the recipe in loguru's
    manual), nothing is handed on a second time.
    """
    core = logging.getLogger(CORE)
    if not any(isinstance(handler, LoguruHandler) for handler in core.handlers):
        core.addHandler(LoguruHandler())


def _forwarded_elsewhere(record: logging.LogRecord, mine: logging.Handler) -> bool:
    place: logging.Logger | None = logging.getLogger(record.name)
    while place is not None:
        for handler in place.handlers:
            if handler is not mine and record.levelno >= handler.level and _speaks_loguru(handler):
                return True
        place = place.parent if place.propagate else None
    return False


def _speaks_loguru(handler: logging.Handler) -> bool:
    """Whether the handler's ``emit`` was written with loguru's logger at hand."""
    names = getattr(type(handler).emit, "__globals__", {})
    return any(value is logger for value in names.values())
