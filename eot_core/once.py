"""Warnings about options and what is installed: they hold for every call of the process, so they are given once."""

from __future__ import annotations

import logging

_given: set[tuple[str, object]] = set()


def warn_once(logger: logging.Logger, message: str, *args: object, about: object = None) -> None:
    """Log a warning, unless this process has given the same one about the same before.

    Args:
        logger: where to.
        message: with placeholders, as :meth:`logging.Logger.warning` takes it.
        args: for the placeholders; hashable where ``about`` is None.
        about: what makes it another warning; None: ``args``.
    """
    this = (message, args if about is None else about)
    if this not in _given:
        _given.add(this)
        logger.warning(message, *args)


def forget() -> None:
    """Give every warning again: as a process does that has just started."""
    _given.clear()
