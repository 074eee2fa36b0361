"""Without the logs of both frameworks."""

from __future__ import annotations

import logging

from loguru import logger


def down() -> None:
    """Say nothing from now on."""
    logger.remove()
    for name in ("livekit", "eot_core", "adapters"):
        logging.getLogger(name).propagate = False
        logging.getLogger(name).addHandler(logging.NullHandler())
