"""Where a session stands. Both ends go through the same states, each from its own point of view."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The life of one session; it only moves forward."""

    NEW = "new"
    """Connected; ``session_create`` has not passed yet."""
    CREATING = "creating"
    """``session_create`` has passed, ``session_created`` has not. The client may already send audio and requests."""
    OPEN = "open"
    """``session_created`` has passed."""
    CLOSING = "closing"
    """``session_close`` has passed; answers on their way may still arrive."""
    CLOSED = "closed"
    """``session_closed`` has passed, or the server ended the session with an error."""
    FAILED = "failed"
    """The far end broke the protocol. Nothing more is read or written."""
