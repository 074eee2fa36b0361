"""Options that a user sets, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


def check_seconds(value: Any, name: str, *, positive: bool = False) -> float:
    """``value`` as a finite number of seconds.

    Raises:
        ValueError: it is no such number, or negative (or zero, with ``positive``); the message names the argument.
    """
    wanted = "more than 0" if positive else "0 or more"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number of seconds, {wanted}, got {value!r}")
    if value < 0 or (positive and value == 0):
        raise ValueError(f"{name} must be {wanted} seconds, got {value!r}")
    return float(value)


def check_bool(value: Any, name: str) -> bool:
    """``value`` as a bool.

    Raises:
        TypeError: it is not a bool; the message names the argument.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class FallbackOptions:
    """What happens when the cloud fails in the middle of a call."""

    enabled: bool = True
    """Whether a local model takes over. False: turns then end on the delays."""
    reserve: float = 0.25
    """Seconds of the prediction time-out that are kept for the local model: the cloud has the rest. At most half of
    the time-out is kept. smart-turn v3.2 takes 24-29 ms on one core (measured on EPYC, ONNX Runtime 1.31), v1-mini
    15 ms; the rest is for a busy host."""
    retries: int = 0
    """Connections to try again after a failure that may pass (not 401, 403 or 404), before the local model takes over
    for good. While it is tried, the local model answers."""
    retry_interval: float = 0.5
    """Seconds before the first try; doubled for each further one."""
    recover_after: float | None = None
    """Seconds after a fallback from which, at the end of a turn, the cloud is tried again. None: never within a
    stream (the next stream tries the cloud)."""

    def __post_init__(self) -> None:
        check_bool(self.enabled, "enabled")
        object.__setattr__(self, "reserve", check_seconds(self.reserve, "reserve"))
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 0:
            raise ValueError(f"retries must be a whole number, 0 or more, got {self.retries!r}")
        object.__setattr__(self, "retry_interval", check_seconds(self.retry_interval, "retry_interval"))
        if self.recover_after is not None:
            object.__setattr__(self, "recover_after", check_seconds(self.recover_after, "recover_after"))
