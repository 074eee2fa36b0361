"""What the core logs is read in loguru, once."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from loguru import logger

from adapters.pipecat import TurnDetectorAnalyzer, TurnDetectorUserTurnStopStrategy
from adapters.pipecat.logs import LoguruHandler, forward_core_log
from eot_core import TurnDetector

core = logging.getLogger("eot_core")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []
    sink = logger.add(
        lambda message: found.append(str(message).rstrip("\n")), level="DEBUG", format="{level} {name} {message}"
    )
    yield found
    logger.remove(sink)


def test_once_however_many_strategies_there_are(lines: list[str]) -> None:
    for _ in range(3):
        TurnDetectorUserTurnStopStrategy(detector=TurnDetector(model="smart-turn"))
        TurnDetectorAnalyzer(detector=TurnDetector(model="smart-turn"))
    core.warning("a {brace} and a <tag>, %s", "an argument")
    logging.getLogger("eot_core.transports.local").error("from below")
    assert [line for line in lines if "brace" in line] == ["WARNING eot_core a {brace} and a <tag>, an argument"]
    assert [line for line in lines if "below" in line] == ["ERROR eot_core.transports.local from below"]
    assert len([handler for handler in core.handlers if isinstance(handler, LoguruHandler)]) == 1


def test_exceptions_come_along(lines: list[str]) -> None:
    forward_core_log()
    try:
        raise KeyError("the cause")
    except KeyError:
        core.exception("it failed")
    assert "KeyError: 'the cause'" in "\n".join(lines)


def test_a_level_of_ones_own(lines: list[str]) -> None:
    forward_core_log()
    core.log(35, "between warning and error")
    assert [line for line in lines if "between" in line] == ["Level 35 eot_core between warning and error"]


class InterceptHandler(logging.Handler):
    """The recipe in loguru's manual."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.opt(depth=6, exception=record.exc_info).log(record.levelname, record.getMessage())


def test_not_twice_where_the_application_forwards_by_itself(lines: list[str]) -> None:
    forward_core_log()
    intercept = InterceptHandler()
    logging.getLogger().addHandler(intercept)
    try:
        core.warning("just once")
    finally:
        logging.getLogger().removeHandler(intercept)
    assert len([line for line in lines if "just once" in line]) == 1
