"""The gateway: who may connect, where to, and how many."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web

from ..clock import Clock, LoopClock
from ..cpu import worker_count
from ..models.base import ModelSpec
from ..protocol.auth import AuthError
from ..transports.base import Transport
from ..transports.local import LocalTransport
from ..transports.scheduler import default_scheduler
from ..vad.silero import SileroVAD
from .admission import Admission
from .catch_up import CatchUp
from .counts import GatewayCounts
from .http_log import http_logger
from .keys import KeyRing
from .lag import LagWatch
from .limits import GatewayLimits
from .loading import load_model, load_vad, served_model
from .network import SileroSteps
from .pages import Metrics, health, refusal, url_of
from .places import Places
from .session import GatewaySession
from .silent import SilentConnections

logger = logging.getLogger(__name__)

KEEP_ALIVE = 75.0
"""Seconds for which a connection that asked for ``/healthz`` or ``/metrics`` stays open for more: longer than load
balancers keep theirs (60 s), so that none sends a request into a connection that is just being closed."""


class Gateway:
    """One model behind ``{base_path}/eot`` (and ``/eot``), for clients with a key.

    ``/healthz`` and ``/metrics`` (:class:`.metrics.MetricsPage`; extra ``serve``) need no key: they hold figures and
    the model's name, but a gateway that the world can reach should have a proxy before it that keeps them back.

    :meth:`handle_websocket` and :meth:`make_session` may be overridden, to add to a gateway or to make it misbehave in
    a test.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelSpec | None = None,
        *,
        keys: Mapping[str, str],
        base_path: str = "/v1",
        limits: GatewayLimits | None = None,
        make_transport: Callable[[], Transport] | None = None,
        vad: SileroVAD | None = None,
        clock: Clock | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            model: a name, the path of an ONNX file, or a spec; None: the default local model.
            keys: secret by API key; at least one.
            base_path: what comes before ``/eot``. "/v1" is where clients look whose ``base_url`` ends as LiveKit's.
            limits: bounds; None for the defaults.
            make_transport: gives each session its way to the model; None runs ``model`` in this process.
            vad: finds the onset of speech, for a model that scores turns; None: with the weights of an installed
                package. Where there are none, such a model sees all since the last turn, which a warning says.
            clock: for time-outs and durations; None takes the event loop's.
            wall_clock: Unix seconds, for tokens and the stamps on the wire.

        Raises:
            ModelLicenseError: the model may not run outside LiveKit Agents.
            ValueError: no key, an empty key or secret, a path that is none, or an unknown model.
        """
        self.model = served_model(model)
        self._keys = KeyRing(keys)
        if not isinstance(base_path, str) or (
            base_path and (not base_path.startswith("/") or any(c in "{}?# " for c in base_path))
        ):
            raise ValueError(f"base_path must begin with '/' and be a plain path, got {base_path!r}")
        self.base_path = base_path.rstrip("/")
        if limits is not None and not isinstance(limits, GatewayLimits):
            raise TypeError(f"limits must be GatewayLimits, got {type(limits).__name__}")
        self.limits = limits or GatewayLimits()
        self._custom_transport = make_transport
        self._network = None if self.model.pre_speech is None else SileroSteps(vad)
        self._catch_up = CatchUp(default_scheduler())
        self.counts = GatewayCounts()
        self._admission = Admission(self.limits.max_wait if make_transport is None else math.inf, worker_count())
        self._clock = clock
        self._wall = wall_clock
        self._sessions: set[GatewaySession] = set()
        self._places = Places(self.limits.max_sessions)
        self._said_full = False
        self._lag = LagWatch(self.counts.loop_lag)
        self._silent = SilentConnections(self.limits.create_timeout, self._connections)
        self._runner: web.AppRunner | None = None
        self._url: str | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, ssl_context: ssl.SSLContext | None = None) -> None:
        """Load the model, then listen.

        Args:
            host: address to bind.
            port: 0 takes a free one; see :attr:`url`.
            ssl_context: for ``https`` and ``wss``.

        Raises:
            ModelError: the model cannot be loaded; the message says what to install.
            OSError: the address cannot be bound.
            RuntimeError: started already.
        """
        if self._runner is not None:
            raise RuntimeError("the gateway was started already")
        if self._clock is None:
            self._clock = LoopClock(asyncio.get_running_loop())
        self._places.reopen()
        if self._custom_transport is None:
            self._admission.expect(await load_model(self.model))
        if self._network is not None and not await load_vad(self._network, self.model):
            self._network = None
        app = web.Application(middlewares=[self._silent.middleware])
        for path in dict.fromkeys((f"{self.base_path}/eot", "/eot")):
            app.router.add_get(path, self._on_websocket)
        app.router.add_get("/healthz", self._on_health)
        app.router.add_get("/metrics", Metrics(self.counts, self.model.name, self._gauges).respond)
        # No access log: aiohttp's has a line per request and names no reason for a refusal; ours does.
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=http_logger,
            handle_signals=False,
            shutdown_timeout=self.limits.close_timeout,
            keepalive_timeout=KEEP_ALIVE,
        )
        self._runner = runner
        try:
            await runner.setup()
            await web.TCPSite(runner, host, port, ssl_context=ssl_context).start()
        except BaseException:
            await self.aclose()
            raise
        self._url = url_of(runner.addresses[0], tls=ssl_context is not None, path=self.base_path)
        self._lag.start()
        self._silent.start(self._clock)
        logger.info("gateway for %s at %s", self.model.name, self._url)

    async def drain(self, grace: float) -> None:
        """Take no new sessions (HTTP 503, also at ``/healthz``), and wait until the others are over.

        Args:
            grace: seconds to wait at most; then :meth:`aclose` closes those that are left.
        """
        self._places.drain()
        logger.info("no new sessions; %d are open", self._places.taken)
        await self._places.vacant(grace)

    async def aclose(self) -> None:
        """Stop listening, answer the requests that wait (for ``request_timeout`` at most), close the sessions (1001,
        going away), and wait until nothing is left. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        self._places.drain()
        self._lag.stop()
        self._silent.stop()
        for site in list(runner.sites):
            await site.stop()
        for session in list(self._sessions):
            session.leave(1001, _GOING_AWAY)
        waiting = [asyncio.ensure_future(session.over.wait()) for session in self._sessions]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=self.limits.request_timeout)
            for wait in late:
                wait.cancel()
        for session in list(self._sessions):
            session.close(1001, _GOING_AWAY)
        await runner.cleanup()
        self._url = None

    async def __aenter__(self) -> Self:
        if self._runner is None:
            await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def url(self) -> str:
        """What clients take as ``base_url``, for example "http://127.0.0.1:8080/v1"."""
        if self._url is None:
            raise RuntimeError("the gateway is not running: await start() first")
        return self._url

    @property
    def ws_url(self) -> str:
        """The same with "ws"."""
        return self.url.replace("http", "ws", 1)

    @property
    def sessions(self) -> int:
        """Sessions that are open."""
        return self._places.taken

    def replace_keys(self, keys: Mapping[str, str]) -> None:
        """Other keys, for clients that connect from now on; open sessions stay.

        Raises:
            ValueError: as for the constructor; nothing has changed then.
        """
        self._keys.replace(keys)

    def __repr__(self) -> str:
        return f"<Gateway {self.model.name} at {self._url or 'no address'}, {self._places.taken} sessions>"

    # -- requests -----------------------------------------------------------------------------------------------------

    def authenticate(self, request: web.Request) -> str:
        """The API key of a request's token.

        Raises:
            AuthError: there is no token, or it does not open the door.
        """
        return self._keys.authenticate(request.headers.get("Authorization", ""), now=self._wall())

    async def handle_websocket(self, request: web.Request) -> web.StreamResponse:
        """Serve one client whose token is good."""
        websocket = web.WebSocketResponse(
            timeout=self.limits.close_timeout,
            heartbeat=self.limits.heartbeat,
            max_msg_size=self.limits.protocol.max_message_bytes,
            compress=False,  # audio hardly shrinks, and a bomb cannot be unpacked
        )
        if not websocket.can_prepare(request):
            return self._refuse(426, "upgrade_required", "connect with a WebSocket")
        await websocket.prepare(request)
        session = self.make_session(request, websocket)
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
        return websocket

    def make_session(self, request: web.Request, websocket: web.WebSocketResponse) -> GatewaySession:
        """The session of one client."""
        assert self._clock is not None
        connection = request.transport

        def abort() -> None:
            if connection is not None:
                connection.abort()

        return GatewaySession(
            websocket,
            self.make_transport(),
            model=self.model,
            limits=self.limits,
            clock=self._clock,
            abort=abort,
            wall_clock=self._wall,
            network=self._network,
            catch_up=self._catch_up,
            counts=self.counts,
            admission=self._admission,
        )

    def make_transport(self) -> Transport:
        """A session's way to the model."""
        if self._custom_transport is not None:
            return self._custom_transport()
        # As much for the search for the onset, and for the wait behind it, as for the model and the way back.
        return LocalTransport(self.model, clock=self._clock, margin=self.limits.request_timeout / 2)

    async def _on_websocket(self, request: web.Request) -> web.StreamResponse:
        try:
            self.authenticate(request)
        except AuthError as error:
            logger.info("refused a client: %s", error.code)
            return self._refuse(401, error.code, str(error))
        if self._places.draining:
            return self._refuse(503, "draining", "this gateway is going away: try another, or again later")
        if self._places.full:
            level = logging.INFO if self._said_full else logging.WARNING
            self._said_full = True
            logger.log(level, "refused a client: all %d sessions are taken", self.limits.max_sessions)
            return self._refuse(503, "overloaded", "all sessions are taken: try again later")
        self._said_full = False
        with self._places.one():
            return await self.handle_websocket(request)

    async def _on_health(self, request: web.Request) -> web.StreamResponse:
        return health(self.model.name, draining=self._places.draining)

    def _connections(self) -> Iterable[web.RequestHandler]:
        server = None if self._runner is None else self._runner.server
        return () if server is None else server.connections

    def _gauges(self) -> dict[str, float]:
        return {
            "sessions": self._places.taken,
            "sessions_limit": self.limits.max_sessions,
            "draining": self._places.draining,
            "requests_pending": self._admission.inside,
            "expected_wait_seconds": self._admission.expected_wait,
        }

    def _refuse(self, status: int, code: str, message: str) -> web.Response:
        self.counts.refused[code] += 1
        return refusal(status, code, message)


_GOING_AWAY = "the gateway is going away"
