"""What aiohttp says of requests, without what the requests hold."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError

http_logger = logging.getLogger(__name__)
"""For :class:`aiohttp.web.AppRunner`."""


def _without_contents(record: logging.LogRecord) -> bool:
    """A request that is no HTTP is an error with a traceback to aiohttp, which quotes what came: perhaps a token."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, HttpProcessingError):
        return True
    record.msg, record.args, record.exc_info = "refused a client: no HTTP", (), None
    record.levelno, record.levelname = logging.INFO, "INFO"
    return http_logger.isEnabledFor(logging.INFO)


http_logger.addFilter(_without_contents)
