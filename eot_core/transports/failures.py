"""Why a connection to a gateway failed: a short reason without secrets, and whether another try may cure it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

_LASTING_CLOSE_CODES = (1002, 1003, 1007, 1008, 1009, 1010)
"""Close codes that another try does not cure (RFC 6455, section 7.4.1): this end is what the far end objects to."""


class ConnectionFailure(Exception):
    """The connection is over. ``reason`` holds no secrets."""

    def __init__(self, reason: str, *, retryable: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable

    @classmethod
    def closed(cls, code: int) -> ConnectionFailure:
        """The far end closed, with this WebSocket close code."""
        return cls(f"connection_closed_{code}", retryable=code not in _LASTING_CLOSE_CODES)

    @classmethod
    def of(cls, error: Exception) -> ConnectionFailure:
        """What aiohttp, or the system, said while connecting."""
        import aiohttp

        if isinstance(error, aiohttp.ClientResponseError):
            whose = "proxy_" if isinstance(error, aiohttp.ClientHttpProxyError) else ""
            return cls(f"{whose}http_{error.status}", retryable=error.status in (408, 425, 429) or error.status >= 500)
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            return cls("proxy_connect_error", retryable=True)
        if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
            return cls("tls_error", retryable=False)
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return cls("dns_error", retryable=True)
        if isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError):
            return cls("connect_error", retryable=True)
        if isinstance(error, aiohttp.InvalidURL | ValueError):
            return cls("invalid_url", retryable=False)
        return cls("connection_lost", retryable=True)


def no_redirects() -> aiohttp.TraceConfig:
    """A gateway is where the user said. aiohttp follows redirects, and takes all headers but Authorization along."""
    import aiohttp

    async def refuse(session: object, context: object, params: aiohttp.TraceRequestRedirectParams) -> None:
        raise ConnectionFailure(f"http_{params.response.status}", retryable=False)

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config
