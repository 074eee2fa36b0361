"""Thresholds: what is calibrated for a model, what the user wants instead, and what that means for another model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from .languages import DEFAULT_LANGUAGE, language_key
from .transports.base import Calibration

Overrides = float | Mapping[str, float]
"""What a user may give: one threshold for every language, or one per language (BCP-47 keys)."""


def check_probability(value: Any, name: str) -> float:
    """``value`` as a float between 0 and 1.

    Raises:
        ValueError: it is not a number between 0 and 1; the message names the argument.
    """
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError):  # an array of several, for example
        raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}") from None
    if not 0.0 <= number <= 1.0:  # also false for NaN
        raise ValueError(f"{name} must be between 0 and 1, got {number!r}")
    return number


def normalize_overrides(overrides: Overrides | None, name: str) -> float | Mapping[str, float] | None:
    """Check a user's overrides, and key them by language.

    Raises:
        ValueError: a value is out of range, or a key names no language; the message names the argument.
    """
    if overrides is None:
        return None
    if not isinstance(overrides, Mapping):
        return check_probability(overrides, name)
    normalized: dict[str, float] = {}
    for tag, value in overrides.items():
        key = language_key(tag)
        if key is None:
            raise ValueError(
                f"{name} has the key {tag!r}, which names no language: use BCP-47 tags such as 'en' or 'pt-BR'"
            )
        number = check_probability(value, f"{name}[{tag!r}]")
        if normalized.get(key, number) != number:
            raise ValueError(
                f"{name} gives two thresholds for {key!r} ({normalized[key]} and {number}): thresholds are kept per "
                "language, not per region; give one"
            )
        normalized[key] = number
    return MappingProxyType(normalized) if normalized else None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """An immutable table, owned by one stream.

    ``lookup`` answers for a language key: the user's override if there is one, else the calibrated value of the
    active model. After :meth:`rescaled_to`, overrides keep their relation to the calibrated default: an override of
    1.25 times the default of the model it was meant for is 1.25 times the default of the model that took over, at
    most 1.
    """

    model: str
    """Full name of the active model."""
    calibration: Calibration | None
    """Calibrated thresholds of the active model; None while a server has not sent them."""
    overrides: float | Mapping[str, float] | None = None
    """As the user gave them, on the scale of the model that was chosen."""
    backchannel_overrides: float | Mapping[str, float] | None = None
    """The same for backchannels."""
    reference: Calibration | None = field(default=None)
    """Calibration that ``overrides`` are relative to, where it is not that of the active model."""
    backchannels: bool = True
    """Whether the active model tells backchannels at all."""

    def __post_init__(self) -> None:
        """
        Raises:
            TypeError: ``model`` or a calibration is of another type.
            ValueError: an override is out of range, or a key names no language.
        """
        if not isinstance(self.model, str):
            raise TypeError(f"model must be a model's full name, got {type(self.model).__name__}")
        for name in ("calibration", "reference"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Calibration):
                raise TypeError(f"{name} must be a Calibration or None, got {type(value).__name__}")
        object.__setattr__(self, "overrides", normalize_overrides(self.overrides, "unlikely_threshold"))
        object.__setattr__(
            self, "backchannel_overrides", normalize_overrides(self.backchannel_overrides, "backchannel_threshold")
        )

    # -- look-ups -------------------------------------------------------------------------------------------------

    def lookup(self, language: str | None) -> float | None:
        """Threshold for a language (any BCP-47 tag; None or "multi": English), 0..1.

        Returns:
            None only while neither an override nor a calibration is known.
        """
        key = language_key(language) or DEFAULT_LANGUAGE
        override = _pick(self.overrides, key)
        if self.calibration is None:
            return override
        calibrated = self.calibration.thresholds.get(key, self.calibration.default_threshold)
        if override is None:
            return calibrated
        if self.reference is None:
            return override
        meant_for = self.reference.thresholds.get(key, self.reference.default_threshold)
        if meant_for <= 0:
            return override
        return min(1.0, calibrated * override / meant_for)

    def is_overridden(self, language: str | None) -> bool:
        """Whether the user gave a threshold for the language (or for every language)."""
        return _pick(self.overrides, language_key(language) or DEFAULT_LANGUAGE) is not None

    def lookup_backchannel(self, language: str | None) -> float | None:
        """Backchannel threshold for a language, 0..1; None where backchannels are off.

        They are off where the model or the server does not offer them, and where the threshold is not positive.
        """
        if not self.offers_backchannels or self.calibration is None:
            return None
        key = language_key(language) or DEFAULT_LANGUAGE
        value = _pick(self.backchannel_overrides, key)
        if value is None:
            value = self.calibration.backchannel_thresholds.get(key, self.calibration.default_backchannel_threshold)
        return value if value is not None and value > 0 else None

    @property
    def offers_backchannels(self) -> bool:
        """Whether the model tells backchannels: the server sent thresholds for them."""
        if not self.backchannels or self.calibration is None:
            return False
        return bool(self.calibration.backchannel_thresholds) or bool(self.calibration.default_backchannel_threshold)

    def supports(self, language: str | None) -> bool:
        """Whether the active model was made for the language, or the user gave a threshold for it.

        No single language ("multi", None) counts as supported, and so does every language while a server has not yet
        said which it knows, or where the calibration singles none out.
        """
        key = language_key(language)
        if key is None or self.calibration is None or not self.calibration.thresholds:
            return True
        return key in self.calibration.thresholds or _pick(self.overrides, key) is not None

    # -- changes, each a new value --------------------------------------------------------------------------------

    def with_calibration(self, calibration: Calibration) -> Thresholds:
        """The server's thresholds, for the model that is already active."""
        return replace(self, calibration=calibration)

    def with_overrides(self, overrides: Overrides | None) -> Thresholds:
        """Other overrides, on the scale of the model that was chosen, whichever model is active by now."""
        return replace(self, overrides=normalize_overrides(overrides, "unlikely_threshold"))

    def with_backchannel_overrides(self, overrides: Overrides | None) -> Thresholds:
        """Other backchannel overrides."""
        return replace(self, backchannel_overrides=normalize_overrides(overrides, "backchannel_threshold"))

    def rescaled_to(self, model: str, calibration: Calibration, *, backchannels: bool = False) -> Thresholds:
        """The same wishes for another model.

        Where the calibration they were relative to never arrived (the server could not be reached), overrides are
        taken as they are.
        """
        return replace(
            self,
            model=model,
            calibration=calibration,
            reference=self.reference or self.calibration,
            backchannels=backchannels,
        )


def _pick(overrides: float | Mapping[str, float] | None, key: str) -> float | None:
    if isinstance(overrides, Mapping):
        return overrides.get(key)
    return overrides


def is_usable(calibration: Calibration) -> bool:
    """Whether a server's thresholds can be worked with: every one finite and within (0, 1], and a default."""
    values = [calibration.default_threshold, *calibration.thresholds.values()]
    return bool(calibration.thresholds) and all(math.isfinite(v) and 0.0 < v <= 1.0 for v in values)
