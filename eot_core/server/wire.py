"""How what happens in a gateway is put on the wire."""

from __future__ import annotations

from typing import Final

from aiohttp import WSCloseCode

from ..models.base import ModelSpec
from ..protocol import NO_ROOM, ErrorCode
from ..transports.base import Calibration

_CLOSE_CODES: Final = {
    ErrorCode.TEXT_FRAME: WSCloseCode.UNSUPPORTED_DATA,
    ErrorCode.MESSAGE_TOO_LARGE: WSCloseCode.MESSAGE_TOO_BIG,
    ErrorCode.BAD_SETTINGS: WSCloseCode.POLICY_VIOLATION,
    ErrorCode.TOO_MANY_REQUESTS: WSCloseCode.POLICY_VIOLATION,
}


def close_code(violation: ErrorCode) -> int:
    """With which a connection is closed after a violation of the protocol; 1002, protocol error, for most."""
    return _CLOSE_CODES.get(violation, WSCloseCode.PROTOCOL_ERROR)


def failure_code(reason: str) -> int:
    """HTTP-like code of a request that failed for this reason; 500 for most."""
    code, reasons = NO_ROOM
    return code if reason in reasons else 500


def calibration_of(model: ModelSpec) -> Calibration:
    """What ``session_created`` says. A client refuses an empty map, so a model for any language names English."""
    thresholds = dict(model.thresholds) or {"en": model.default_threshold}
    return Calibration(thresholds, model.default_threshold)
