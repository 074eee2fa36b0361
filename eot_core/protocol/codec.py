"""Between Python values and protobuf: parsing with bounds, timestamps, durations, identifiers."""

from __future__ import annotations

import math
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from .errors import ErrorCode, LocalProtocolError, Violation
from .limits import ProtocolLimits

M = TypeVar("M", bound=Message)

_MAX_TIMESTAMP = 253_402_300_799
"""The end of the year 9999, in Unix seconds: the greatest value that protobuf's Timestamp allows."""
_MAX_DURATION = 3600
"""Seconds. Durations here are latencies; an hour of latency is a mistake, not a measurement."""
_NANOS = 1_000_000_000


def parse(message_type: type[M], data: object, limits: ProtocolLimits) -> M:
    """One frame as a message.

    Raises:
        Violation: a text frame, too long, or not a message.
    """
    if isinstance(data, str):
        raise Violation(ErrorCode.TEXT_FRAME, "received a text frame; the protocol is binary")
    if not isinstance(data, bytes | bytearray | memoryview):
        raise Violation(ErrorCode.MALFORMED, f"received {type(data).__name__} instead of bytes")
    size = data.nbytes if isinstance(data, memoryview) else len(data)
    if size > limits.max_message_bytes:
        raise Violation(
            ErrorCode.MESSAGE_TOO_LARGE, f"received {size} bytes in one message, at most {limits.max_message_bytes}"
        )
    message = message_type()
    try:
        message.ParseFromString(bytes(data))
    except DecodeError:
        # From None: protobuf's own text is of no use, and what it quotes is the far end's.
        raise Violation(ErrorCode.MALFORMED, f"received {size} bytes that are not a message") from None
    return message


def read_timestamp(value: Timestamp) -> float | None:
    """Unix seconds; None when absent (all zero) or nonsense."""
    # Not the last second: as a float, its fractions round up to what cannot be written again.
    if not (0 <= value.seconds < _MAX_TIMESTAMP and 0 <= value.nanos < _NANOS):
        return None
    return value.seconds + value.nanos / _NANOS or None


def write_timestamp(value: Timestamp, seconds: float, name: str) -> None:
    """Fill in Unix seconds.

    Raises:
        LocalProtocolError: not a finite number, or out of protobuf's range.
    """
    if not isinstance(seconds, int | float) or not 0 <= seconds <= _MAX_TIMESTAMP:
        raise LocalProtocolError(f"{name} must be Unix seconds from 0 to {_MAX_TIMESTAMP}, got {seconds!r}")
    whole = math.floor(seconds)
    value.seconds = whole
    value.nanos = min(_NANOS - 1, round((seconds - whole) * _NANOS))


def read_duration(value: Duration) -> float | None:
    """Seconds; None when nonsense (negative, more than an hour). Absent reads 0.0."""
    if not (0 <= value.seconds <= _MAX_DURATION and 0 <= value.nanos < _NANOS):
        return None
    return value.seconds + value.nanos / _NANOS


def write_duration(value: Duration, seconds: float, name: str) -> None:
    """Fill in seconds, cut to an hour. Zero is written too: its presence says that it was measured.

    Raises:
        LocalProtocolError: negative or not a finite number.
    """
    if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise LocalProtocolError(f"{name} must be finite seconds, 0 or more, got {seconds!r}")
    capped = min(seconds, _MAX_DURATION)
    whole = math.floor(capped)
    value.seconds = whole
    value.nanos = min(_NANOS - 1, round((capped - whole) * _NANOS))


def read_request_id(value: str, limits: ProtocolLimits) -> str:
    """A request's identifier, not empty.

    Raises:
        Violation: empty, too long, or with control characters (it ends up in logs).
    """
    if not value:
        raise Violation(ErrorCode.BAD_REQUEST_ID, "a request without request_id")
    if len(value) > limits.max_request_id_chars:
        raise Violation(
            ErrorCode.BAD_REQUEST_ID,
            f"a request_id of {len(value)} characters, at most {limits.max_request_id_chars}",
        )
    if not value.isprintable():
        raise Violation(ErrorCode.BAD_REQUEST_ID, "a request_id with control characters")
    return value


def local_request_id(value: str, limits: ProtocolLimits) -> str:
    """The same check for an identifier of ours.

    Raises:
        LocalProtocolError: not a usable identifier.
    """
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= limits.max_request_id_chars:
        raise LocalProtocolError(f"request_id must be 1 to {limits.max_request_id_chars} printable characters")
    return value


def clean_text(value: str, limit: int) -> str:
    """Free text of the far end, fit for one line of a log."""
    return "".join(c if c.isprintable() else " " for c in value[:limit]).strip()
