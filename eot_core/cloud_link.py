"""The connection to the cloud, in figures: whether it is there, how many tries are left, and when the next one is."""

from __future__ import annotations

from .options import FallbackOptions

_PERMANENT = ("http_401", "http_403", "http_404", "invalid_", "protocol_", "tls_")
"""Reasons that another try does not cure."""

_MOST_DOUBLINGS = 64
"""Of the wait between two tries. Doubled without end, it is no float after 1024 of them, which an interval of 0 reaches
within seconds."""


class CloudLink:
    """Is told what happens to the connection, and says what may be done about it. Pure; does nothing itself."""

    def __init__(self, options: FallbackOptions) -> None:
        """
        Args:
            options: how often to try again, and when.
        """
        self._options = options
        self._open = False
        self._ready = False
        self._tries_left = options.retries
        self._retry_at: float | None = None
        self._failed_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a transport, connecting or connected."""
        return self._open

    @property
    def is_ready(self) -> bool:
        """Whether it is connected."""
        return self._ready

    @property
    def retry_at(self) -> float | None:
        """When it is to be opened again, in seconds of the caller's clock; None: no try is planned."""
        return self._retry_at

    def opened(self) -> None:
        """A transport is there; it has yet to connect."""
        self._open, self._ready, self._retry_at = True, False, None

    def connected(self) -> None:
        """The transport can answer."""
        self._ready = True

    def proved(self) -> None:
        """It does its work: a later failure has all tries before it again."""
        self._tries_left = self._options.retries

    def failed(self, now: float, reason: str, *, retryable: bool) -> bool:
        """The connection, or a try at one, is over.

        Args:
            now: seconds of the caller's clock.
            reason: why; some are beyond another try, whatever ``retryable`` says.
            retryable: whether another try may help.

        Returns:
            Whether there is one: it is due at :attr:`retry_at`.
        """
        self.closed()
        self._failed_at = now
        if not retryable or reason.startswith(_PERMANENT) or self._tries_left == 0:
            return False
        used = self._options.retries - self._tries_left
        self._tries_left -= 1
        self._retry_at = now + self._options.retry_interval * 2.0 ** min(used, _MOST_DOUBLINGS)
        return True

    def closed(self) -> None:
        """It is not wanted any more; nor is a try that was planned."""
        self._open = self._ready = False
        self._retry_at = None

    def may_recover(self, now: float) -> bool:
        """Whether, at the end of a turn, a connection that was given up may be tried again."""
        after = self._options.recover_after
        return not self._open and self._failed_at is not None and after is not None and now >= self._failed_at + after
