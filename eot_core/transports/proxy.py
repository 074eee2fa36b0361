"""The HTTP proxy through which a gateway is reached, where the environment names one."""

from __future__ import annotations

import ipaddress
import logging
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

logger = logging.getLogger("eot_core")


def proxy_of(url: str) -> str | None:
    """The proxy for ``url``, credentials and all; None: straight there.

    ``WSS_PROXY``, ``HTTPS_PROXY`` or ``ALL_PROXY``, the first that is set, in capitals or not, for a ``wss://`` URL
    that ``NO_PROXY`` does not except; and what macOS and Windows are set to. This machine itself, ``ws://``, through
    which few proxies let a WebSocket pass, and proxies other than HTTP's (SOCKS) are left out.
    """
    parts = urlsplit(url)
    if parts.scheme != "wss" or parts.hostname is None or _is_loopback(parts.hostname):
        return None
    known = getproxies()
    proxy = known.get("wss") or known.get("https") or known.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        logger.debug("the proxy of the environment is not an HTTP proxy: the turn detector goes without it")
        return None
    return proxy


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
