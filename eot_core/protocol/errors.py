"""What can go wrong: a typed event for the far end's mistakes, an exception for the caller's own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """Stable names of protocol violations, for logs, metrics and tests."""

    TEXT_FRAME = "text_frame"
    """A WebSocket text frame; the protocol is binary."""
    MESSAGE_TOO_LARGE = "message_too_large"
    MALFORMED = "malformed"
    """The bytes are not a message."""
    OUT_OF_ORDER = "out_of_order"
    """A message that is legal, but not now."""
    AFTER_CLOSE = "after_close"
    BAD_SETTINGS = "bad_settings"
    """``session_create`` with a sample rate, encoding or mode that cannot be served."""
    BAD_AUDIO = "bad_audio"
    BAD_REQUEST_ID = "bad_request_id"
    DUPLICATE_REQUEST = "duplicate_request"
    TOO_MANY_REQUESTS = "too_many_requests"
    BAD_PROBABILITY = "bad_probability"
    UNUSABLE_THRESHOLDS = "unusable_thresholds"


@dataclass(frozen=True, slots=True)
class ProtocolError:
    """The far end broke the protocol. An event, not an exception: ``receive`` never raises.

    It is the last event of its session: later frames are ignored.
    """

    code: ErrorCode
    message: str
    """One sentence for people. Holds nothing that the far end chose freely (no payload, no identifiers)."""
    request_id: str | None = None
    """The request concerned, where there is one."""


class LocalProtocolError(Exception):
    """This end tried to send what the protocol does not allow now, or a value that cannot be sent: a bug of ours."""


class Violation(Exception):
    """Raised while a message is read, turned into a :class:`ProtocolError` by ``receive``."""

    def __init__(self, code: ErrorCode, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.event = ProtocolError(code, message, request_id)
