"""What several tests of the Pipecat adapter need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What is logged from INFO on, a line each, its level first."""
    logger = pytest.importorskip("loguru").logger
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="INFO", format="{level} {message}")
    yield lines
    logger.remove(sink)
