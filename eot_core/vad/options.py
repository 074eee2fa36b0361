"""How probabilities become speech and silence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

MIN_DEACTIVATION = 0.01
"""The derived deactivation threshold is no lower than this, as in livekit-agents."""
HYSTERESIS = 0.15
"""How far deactivation lies below activation, as in livekit-agents."""


@dataclass(frozen=True, slots=True)
class VADOptions:
    """Defaults are those of ``livekit.agents.inference.VAD`` (livekit-agents 1.8.9), so that a pause begins and ends
    where it does there.

    Raises:
        ValueError: an option is out of range.
    """

    activation_threshold: float = 0.5
    """A window at least this probable is speech; more than 0, at most 1."""
    deactivation_threshold: float | None = None
    """While speaking, a window stays speech above this; more than 0, at most ``activation_threshold``. None:
    ``activation_threshold`` - 0.15, but at least 0.01."""
    min_speech_duration: float = 0.05
    """Seconds of speech in a row after which speech has started; 32 ms steps, so 0.05 means two windows."""
    min_silence_duration: float = 0.25
    """Seconds of silence in a row after which speech has ended; 32 ms steps, so 0.25 means eight windows."""

    def __post_init__(self) -> None:
        _check("activation_threshold", self.activation_threshold, 1.0)
        if self.deactivation_threshold is not None:
            _check("deactivation_threshold", self.deactivation_threshold, 1.0)
            if self.deactivation_threshold > self.activation_threshold:
                raise ValueError(
                    f"deactivation_threshold must not exceed activation_threshold ({self.activation_threshold!r}), "
                    f"got {self.deactivation_threshold!r}: lower it, or leave it out"
                )
        for name in ("min_speech_duration", "min_silence_duration"):
            value = getattr(self, name)
            if not _is_number(value) or value < 0:
                raise ValueError(f"{name} must be a number of seconds, 0 or more, got {value!r}")

    @property
    def effective_deactivation_threshold(self) -> float:
        """``deactivation_threshold``, or what follows from ``activation_threshold``."""
        if self.deactivation_threshold is not None:
            return self.deactivation_threshold
        return max(self.activation_threshold - HYSTERESIS, MIN_DEACTIVATION)


def _check(name: str, value: Any, high: float) -> None:
    if not _is_number(value) or not 0 < value <= high:
        raise ValueError(f"{name} must be a number more than 0 and at most {high:g}, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
