"""Pipecat's ``user_turn_stop_timeout``: its controller ends a silent turn by itself when it is over."""

from __future__ import annotations

from loguru import logger

from eot_core.options import check_seconds

_DEFAULT = 5.0
"""Seconds; pipecat's own."""


def stop_timeout_for(given: float | None, max_delay: float) -> float:
    """The time-out, in seconds, of a controller whose turns may take ``max_delay`` to end.

    Raises:
        ValueError: the one that was given is shorter.
    """
    if given is None:
        return max(_DEFAULT, max_delay + 1.0)
    timeout = check_seconds(given, "user_turn_stop_timeout", positive=True)
    if timeout <= max_delay:
        raise ValueError(
            f"user_turn_stop_timeout ({timeout} s) must be more than max_delay ({max_delay} s): a turn would end "
            "before the detector's delay is over"
        )
    return timeout


def check_default(owner: object, max_delay: float) -> None:
    """Warn where somebody else's controller would end turns before ``max_delay``, unless it is told not to."""
    if max_delay >= _DEFAULT:
        logger.warning(
            f"{owner}: max_delay is {max_delay} s, but pipecat ends a silent turn after user_turn_stop_timeout, "
            f"{_DEFAULT} s unless you set it: set it to more than max_delay in LLMUserAggregatorParams (or "
            "UserTurnProcessor)"
        )
