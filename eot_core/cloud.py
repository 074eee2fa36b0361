"""How to reach a model behind a WebSocket, and whether to."""

from __future__ import annotations

import os
import ssl as ssl_module
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .audio import check_sample_rate
from .options import check_seconds

if TYPE_CHECKING:
    import aiohttp

CLOUD_MODEL = "turn-detector-v1"
DEFAULT_URL = "https://agent-gateway.livekit.cloud/v1"
"""LiveKit Inference (livekit-agents, ``inference/_utils.py``)."""
STAGING_URL = "https://agent-gateway.staging.livekit.cloud/v1"

DEFAULT_CONNECT_TIMEOUT = 10.0
"""Seconds; livekit-agents' APIConnectOptions."""

Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """How to reach the gateway. Neither key nor secret shows in the repr."""

    base_url: str
    """``ws://``, ``wss://``, ``http://`` or ``https://``; "/eot" is appended."""
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    sample_rate: int = 16_000
    """Sample rate on the wire, in Hz."""
    connect_timeout: float = DEFAULT_CONNECT_TIMEOUT
    """Seconds from the first packet to the end of the handshake."""
    http_session: aiohttp.ClientSession | Callable[[], aiohttp.ClientSession | None] | None = field(
        default=None, repr=False
    )
    """An aiohttp session to use, or what gives it when it is needed; it stays the caller's to close. None: one per
    connection."""
    ssl: ssl_module.SSLContext | bool | None = field(default=None, repr=False)
    """A context with a private CA; None: the system's. False switches the check off, for development."""
    headers: Headers | None = field(default=None, repr=False)
    """Headers to add to the handshake, or a function that gives them, called for each connection."""

    def __post_init__(self) -> None:
        check_url(self.base_url)
        check_connection(self.api_key, self.api_secret, self.http_session, self.ssl, self.headers)
        object.__setattr__(self, "sample_rate", check_sample_rate(self.sample_rate))
        object.__setattr__(
            self, "connect_timeout", check_seconds(self.connect_timeout, "connect_timeout", positive=True)
        )


def check_connection(api_key: Any, api_secret: Any, http_session: Any, ssl: Any, headers: Any) -> None:
    """Whether each is what :class:`CloudOptions` takes, or None.

    Raises:
        TypeError: one is not; the message names the argument and shows no value.
    """
    for name, value in (("api_key", api_key), ("api_secret", api_secret)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a string, got {type(value).__name__}")
    if http_session is not None and not callable(http_session) and not hasattr(http_session, "ws_connect"):
        raise TypeError(
            f"http_session must be an aiohttp.ClientSession or a function that gives one, got "
            f"{type(http_session).__name__}"
        )
    if ssl is not None and not isinstance(ssl, bool | ssl_module.SSLContext):
        raise TypeError(f"ssl must be an ssl.SSLContext, True or False, got {type(ssl).__name__}")
    if headers is not None and not callable(headers) and not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping or a function that gives one, got {type(headers).__name__}")


def check_url(url: Any, name: str = "base_url") -> str:
    """``url`` if it is one that a gateway can have; ``name`` is where it came from.

    Raises:
        ValueError: the scheme or the host is missing or of another kind. Credentials inside are refused, unprinted.
    """
    if not isinstance(url, str):
        raise ValueError(f"{name} must be a string, got {type(url).__name__}")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"{name} is not a URL: write it as https://host/path") from None
    if parts.username or parts.password:
        raise ValueError(f"{name} must not hold credentials: pass api_key and api_secret")
    if parts.query or parts.fragment:
        raise ValueError(f'{name} must not have a query or a fragment: "/eot" is appended to it')
    if parts.scheme not in ("ws", "wss", "http", "https") or not parts.hostname:
        raise ValueError(f"{name} must begin with ws://, wss://, http:// or https:// and name a host, got {url!r}")
    return url


@dataclass(frozen=True, slots=True)
class Selection:
    """Cloud or local, and why."""

    cloud: bool
    reason: str
    """In words, without secrets; ``eot doctor`` prints it."""
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    api_secret: str | None = field(default=None, repr=False)
    warning: str | None = None
    """What an operator should be told, or None."""


def select(
    *,
    version: str | None,
    base_url: str | None,
    api_key: str | None,
    api_secret: str | None,
    env: Mapping[str, str] | None = None,
) -> Selection:
    """Choose between the cloud's model and a local one.

    "v1" pins the cloud. Otherwise the cloud is chosen where LiveKit would (the process is hosted:
    ``LIVEKIT_REMOTE_EOT_URL`` is set; or in development mode: ``LIVEKIT_DEV_MODE=1``), or where a gateway is named
    (``base_url``, ``LIVEKIT_INFERENCE_URL``), if there are credentials (``api_key`` and ``api_secret``, or
    ``LIVEKIT_INFERENCE_API_KEY`` / ``LIVEKIT_API_KEY`` and the same for SECRET).

    Raises:
        ValueError: the cloud is pinned and credentials are missing; the message names each missing variable. Or
            ``LIVEKIT_INFERENCE_URL`` would be used, and is no URL.
    """
    env = os.environ if env is None else env
    pinned = version == "v1"
    why = _why_cloud(base_url, env)
    if version is not None and not pinned:
        return Selection(False, f"version={version!r} was asked for")
    if not pinned and why is None:
        return Selection(
            False, "neither hosted nor in development mode, and no gateway is named (LIVEKIT_INFERENCE_URL, base_url)"
        )
    named = env.get("LIVEKIT_INFERENCE_URL")
    url = base_url or (check_url(named, "LIVEKIT_INFERENCE_URL") if named else _default_url(env))
    key = api_key or env.get("LIVEKIT_INFERENCE_API_KEY") or env.get("LIVEKIT_API_KEY")
    secret = api_secret or env.get("LIVEKIT_INFERENCE_API_SECRET") or env.get("LIVEKIT_API_SECRET")
    missing = [name for name, value in (("LIVEKIT_API_KEY", key), ("LIVEKIT_API_SECRET", secret)) if not value]
    if not missing:
        return Selection(True, "version='v1' was asked for" if pinned else str(why), url, key, secret)
    names = " and ".join(missing)
    if pinned:
        raise ValueError(f"version='v1' needs {names}: set them in the environment, or pass api_key and api_secret")
    return Selection(
        False,
        f"{why}, but {names} missing",
        warning=f"{why}, but {names} missing: the local turn detector is used instead",
    )


def _why_cloud(base_url: str | None, env: Mapping[str, str]) -> str | None:
    if base_url:
        return "base_url was given"
    if env.get("LIVEKIT_INFERENCE_URL"):
        return "LIVEKIT_INFERENCE_URL is set"
    if env.get("LIVEKIT_REMOTE_EOT_URL") is not None:
        return "hosted (LIVEKIT_REMOTE_EOT_URL is set)"
    if env.get("LIVEKIT_DEV_MODE") == "1":
        return "development mode (LIVEKIT_DEV_MODE=1)"
    return None


def _default_url(env: Mapping[str, str]) -> str:
    return STAGING_URL if ".staging.livekit.cloud" in env.get("LIVEKIT_URL", "") else DEFAULT_URL
