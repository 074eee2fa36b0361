"""What a gateway answers to plain HTTP, and where it can be reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from .counts import GatewayCounts
from .metrics import INSTALL, MetricsPage


def refusal(status: int, code: str, message: str) -> web.Response:
    """Why there is nothing to be had: JSON with a stable ``code`` and a sentence; then the connection is closed."""
    response = web.json_response({"error": {"code": code, "message": message}}, status=status)
    response.force_close()
    return response


def health(model: str, *, draining: bool) -> web.Response:
    """200, or 503 where no client is taken any more, so that a load balancer looks elsewhere."""
    return web.json_response(
        {"status": "draining" if draining else "ok", "model": model}, status=503 if draining else 200
    )


class Metrics:
    """``/metrics``; 501 where prometheus-client is not installed."""

    def __init__(self, counts: GatewayCounts, model: str, gauges: Callable[[], dict[str, float]]) -> None:
        """As for :class:`.metrics.MetricsPage`, which is made when it is first asked for."""
        self._arguments = counts, model, gauges
        self._page: MetricsPage | None = None

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """The page."""
        if self._page is None:
            try:
                self._page = MetricsPage(*self._arguments)
            except ImportError:
                return refusal(501, "not_installed", f"metrics need prometheus-client: {INSTALL}")
        body, content_type = self._page.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


def url_of(bound: Any, *, tls: bool, path: str) -> str:
    """The URL of a socket's address, as a client on this machine takes it."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound[0], bound[0])
    name = f"[{shown}]" if ":" in shown else shown
    return f"{'https' if tls else 'http'}://{name}:{bound[1]}{path}"
