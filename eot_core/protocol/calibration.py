"""``session_created`` and :class:`Calibration`: the thresholds a model was calibrated to, read with suspicion."""

from __future__ import annotations

import math
from collections.abc import Mapping

from livekit.protocol.agent_pb import agent_inference as pb

from ..languages import language_key
from ..transports.base import Calibration
from .errors import ErrorCode, LocalProtocolError, Violation
from .limits import ProtocolLimits

_DIGITS = 4
"""The wire carries 32-bit floats: 0.56 arrives as 0.5600000023841858. livekit-agents rounds to four digits too."""


def read_calibration(message: pb.SessionCreated, limits: ProtocolLimits) -> Calibration:
    """The thresholds of a ``session_created``.

    Thresholds that nobody can decide with are an error. Backchannel thresholds are optional, so an unusable one only
    switches backchannels off (for its language, or by default).

    Raises:
        Violation: no thresholds, too many, or values that are not 0..1 (the default: not above 0).
    """
    for entries in (message.default_thresholds, message.default_backchannel_thresholds):
        if len(entries) > limits.max_languages:
            raise Violation(
                ErrorCode.UNUSABLE_THRESHOLDS,
                f"session_created has thresholds for {len(entries)} languages, at most {limits.max_languages}",
            )
    default = message.default_threshold
    if not 0 < default <= 1:
        raise Violation(
            ErrorCode.UNUSABLE_THRESHOLDS, f"session_created has a default threshold of {default:g}, which is not 0..1"
        )
    thresholds = _by_language(message.default_thresholds)
    if not thresholds:
        raise Violation(ErrorCode.UNUSABLE_THRESHOLDS, "session_created has no threshold for any language")
    for value in thresholds.values():
        if not 0 <= value <= 1:
            raise Violation(
                ErrorCode.UNUSABLE_THRESHOLDS, f"session_created has a threshold of {value:g}, which is not 0..1"
            )
    backchannel_default = message.default_backchannel_threshold
    return Calibration(
        thresholds={key: round(value, _DIGITS) for key, value in thresholds.items()},
        default_threshold=round(default, _DIGITS),
        backchannel_thresholds={
            key: round(value, _DIGITS) if 0 < value <= 1 else 0.0
            for key, value in _by_language(message.default_backchannel_thresholds).items()
        },
        default_backchannel_threshold=round(backchannel_default, _DIGITS) if 0 < backchannel_default <= 1 else None,
    )


def _by_language(entries: Mapping[str, float]) -> dict[str, float]:
    """By language key. Of several tags of one language, the shortest counts: "pt" rather than "pt-BR"."""
    found: dict[str, float] = {}
    for tag in sorted(entries, key=lambda tag: (len(tag), tag)):
        key = language_key(tag)
        if key is not None:
            found.setdefault(key, entries[tag])
    return found


def write_calibration(message: pb.SessionCreated, calibration: Calibration) -> None:
    """Fill in a ``session_created``.

    Raises:
        LocalProtocolError: the client would refuse it.
    """
    if not calibration.thresholds:
        raise LocalProtocolError("calibration.thresholds is empty: name at least one language, LiveKit refuses none")
    if not 0 < calibration.default_threshold <= 1:
        raise LocalProtocolError(
            f"calibration.default_threshold must be above 0 and at most 1, got {calibration.default_threshold!r}"
        )
    for language, value in calibration.thresholds.items():
        if not 0 <= value <= 1:
            raise LocalProtocolError(f"calibration.thresholds[{language!r}] must be 0..1, got {value!r}")
        message.default_thresholds[language] = value
    message.default_threshold = calibration.default_threshold
    for language, value in calibration.backchannel_thresholds.items():
        message.default_backchannel_thresholds[language] = value if math.isfinite(value) else 0.0
    default = calibration.default_backchannel_threshold
    message.default_backchannel_threshold = default if default is not None and math.isfinite(default) else 0.0
