"""Who may connect: tokens as LiveKit's clients mint them, and the headers that carry them.

A token is an HS256 JWT. Key, secret and token never show in a repr, a log line or an exception of this module.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jwt

DEFAULT_TTL = 600.0
"""Seconds that a token is good for, as in livekit-agents (``inference/_utils.py``)."""
LEEWAY = 60.0
"""Seconds by which the two ends' clocks may differ, as in livekit-api (``TokenVerifier``)."""
MAX_TOKEN_CHARS = 8192
"""Longest token that is looked at; LiveKit's have about 230 characters."""

ExtraHeaders: TypeAlias = Mapping[str, str] | Callable[[], Mapping[str, str]]
"""Headers of the framework (``X-LiveKit-*`` inside a job), or what gives them when a connection is made."""


class AuthError(Exception):
    """A token that does not open the door. ``code`` is stable; neither it nor the message holds any of the token."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Secret(str):
    """Text that hides in reprs, also inside a dict or a dataclass; an f-string still gives the text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key and its secret."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("api_key", "api_secret"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise ValueError(f"{name} must be a text that is not empty")
            object.__setattr__(self, name, Secret(value))


def mint_token(api_key: str, api_secret: str, *, now: float, ttl: float = DEFAULT_TTL) -> str:
    """A token for one connection, with the claims that livekit-agents sends.

    Args:
        api_key: becomes the issuer.
        api_secret: signs; at least 32 bytes are advisable (RFC 7518, section 3.2).
        now: Unix seconds.
        ttl: seconds that it is good for, more than 0.
    """
    if not ttl > 0:
        raise ValueError(f"ttl must be more than 0 seconds, got {ttl!r}")
    claims = {
        "inference": {"perform": True},
        "sub": "agent",
        "iss": str(api_key),
        "nbf": int(now),
        "exp": int(now + ttl),
    }
    return Secret(jwt.encode(claims, str(api_secret), algorithm="HS256"))


def verify_token(token: str, keys: Mapping[str, str], *, now: float, leeway: float = LEEWAY) -> str:
    """Check a token.

    Args:
        token: the JWT, without "Bearer".
        keys: secret by API key.
        now: Unix seconds.
        leeway: seconds of difference between the clocks.

    Returns:
        The API key that signed it.

    Raises:
        AuthError: with ``code`` one of "malformed", "unknown_key", "bad_signature", "not_yet_valid", "expired",
            "not_permitted".
    """
    if not isinstance(token, str) or not token or len(token) > MAX_TOKEN_CHARS:
        raise AuthError("malformed", "the token is not a JWT")
    issuer = _claims(token, None).get("iss")
    if not isinstance(issuer, str) or issuer not in keys:
        raise AuthError("unknown_key", "the token names an API key that is not known here")
    claims = _claims(token, keys[issuer])
    # PyJWT reads the system's clock; here time is an argument.
    expires, not_before = _seconds(claims, "exp"), _seconds(claims, "nbf", default=0.0)
    if now < not_before - leeway:
        raise AuthError("not_yet_valid", "the token is not valid yet: compare the clocks of client and server")
    if now >= expires + leeway:
        raise AuthError("expired", "the token has expired: mint one for each connection")
    grants = claims.get("inference")
    if not isinstance(grants, dict) or grants.get("perform") is not True:
        raise AuthError("not_permitted", "the token does not grant inference")
    return issuer


def connection_headers(
    credentials: Credentials, *, now: float, user_agent: str | None = None, extra: ExtraHeaders | None = None
) -> dict[str, str]:
    """The headers of a connection to a gateway.

    Args:
        credentials: mint the token.
        now: Unix seconds.
        user_agent: None for this package's.
        extra: the framework's own headers. They may replace ``User-Agent`` but never ``Authorization``.

    Raises:
        ValueError: a header with a line break in its name or value.
    """
    headers = {"User-Agent": user_agent or default_user_agent()}
    given = extra() if callable(extra) else extra or {}
    for name, value in given.items():
        if any(c in "\r\n\0" for c in name + value):
            raise ValueError(f"extra: the header {name!r} holds a line break")
        if name.lower() == "authorization":
            continue
        if name.lower() == "user-agent":
            headers.pop("User-Agent", None)
        # Hidden, because a worker token is among them in a hosted job.
        headers[name] = Secret(value) if name.lower().endswith("-token") else value
    token = mint_token(credentials.api_key, credentials.api_secret, now=now)
    headers["Authorization"] = Secret(f"Bearer {token}")
    return headers


def default_user_agent() -> str:
    """ "eot-adapters/<version> (python <version>)"."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("eot-adapters")
    except PackageNotFoundError:  # a source tree that was never installed
        own = "dev"
    return f"eot-adapters/{own} (python {platform.python_version()})"


def _claims(token: str, secret: str | None) -> dict[str, Any]:
    """The token's claims; the signature is checked where ``secret`` is given."""
    options: Any = {"verify_signature": secret is not None, "verify_exp": False, "verify_nbf": False}
    options |= {"verify_iat": False, "verify_aud": False, "verify_iss": False, "verify_sub": False, "verify_jti": False}
    try:
        return dict(jwt.decode(token, str(secret or ""), algorithms=["HS256"], options=options))
    except jwt.InvalidSignatureError:
        raise AuthError("bad_signature", "the token was not signed with the secret of its API key") from None
    except (jwt.PyJWTError, ValueError, RecursionError):
        # From None: what these quote is the token's.
        raise AuthError("malformed", "the token is not a JWT signed with HS256") from None


def _seconds(claims: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise AuthError("malformed", f"the token's {name} is not a time")
    return float(value)
