"""Warnings about languages and what is installed: they hold for every call of the process, so they are given once."""

from __future__ import annotations

import logging

_given: set[tuple[str, tuple[object, ...]]] = set()


def warn_once(logger: logging.Logger, message: str, *args: object) -> None:
    """Log a warning, unless this process has given the same one, with the same arguments, before.

    Args:
        logger: where to.
        message: with placeholders, as :meth:`logging.Logger.warning` takes it.
        args: for the placeholders; hashable.
    """
    if (message, args) not in _given:
        _given.add((message, args))
        logger.warning(message, *args)


def forget() -> None:
    """Give every warning again: as a process does that has just started."""
    _given.clear()
