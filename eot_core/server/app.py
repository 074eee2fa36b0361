"""The gateway: who may connect, where to, and how many."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web

from ..clock import Clock, LoopClock
from ..models import v1_mini
from ..models.base import ModelLicenseError, ModelSpec
from ..models.handle import model_handle
from ..models.registry import resolve_model
from ..protocol.auth import AuthError, Credentials, verify_token
from ..transports.base import Transport
from ..transports.local import LOAD_LIMIT, LocalTransport
from ..transports.scheduler import NO_DEADLINE, JobDone, JobFailed, default_scheduler
from .limits import GatewayLimits
from .session import GatewaySession

logger = logging.getLogger(__name__)


class Gateway:
    """One model behind ``{base_path}/eot`` (and ``/eot``), for clients with a key. ``/healthz`` needs none.

    :meth:`handle_websocket` and :meth:`make_session` may be overridden, to add to a gateway or to make it misbehave in
    a test.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelSpec = "smart-turn-v3.2",
        *,
        keys: Mapping[str, str],
        base_path: str = "/v1",
        limits: GatewayLimits | None = None,
        make_transport: Callable[[], Transport] | None = None,
        clock: Clock | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            model: a name, the path of an ONNX file, or a spec.
            keys: secret by API key; at least one.
            base_path: what comes before ``/eot``. "/v1" is where clients look whose ``base_url`` ends as LiveKit's.
            limits: bounds; None for the defaults.
            make_transport: gives each session its way to the model; None runs ``model`` in this process.
            clock: for time-outs and durations; None takes the event loop's.
            wall_clock: Unix seconds, for tokens and the stamps on the wire.

        Raises:
            ModelLicenseError: the model may not run outside LiveKit Agents.
            ValueError: no key, an empty key or secret, a path that is none, or an unknown model.
        """
        self.model = resolve_model(model)
        if self.model.name == v1_mini.NAME or self.model.license == v1_mini.LICENSE:
            raise ModelLicenseError(v1_mini.REFUSAL)
        if not 0 < self.model.default_threshold <= 1:
            raise ValueError(
                f"model: the default threshold of {self.model.name} is {self.model.default_threshold}; "
                "clients refuse one that is not above 0 and at most 1"
            )
        if not isinstance(keys, Mapping) or not keys:
            raise ValueError("keys must have at least one API key with its secret: without any, nobody may connect")
        credentials = [Credentials(key, secret) for key, secret in keys.items()]
        self._keys = {each.api_key: each.api_secret for each in credentials}
        if not isinstance(base_path, str) or (
            base_path and (not base_path.startswith("/") or any(c in "{}?# " for c in base_path))
        ):
            raise ValueError(f"base_path must begin with '/' and be a plain path, got {base_path!r}")
        self.base_path = base_path.rstrip("/")
        if limits is not None and not isinstance(limits, GatewayLimits):
            raise TypeError(f"limits must be GatewayLimits, got {type(limits).__name__}")
        self.limits = limits or GatewayLimits()
        self._custom_transport = make_transport
        self._clock = clock
        self._wall = wall_clock
        self._sessions: set[GatewaySession] = set()
        self._places = 0
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
        if self._custom_transport is None:
            await self._load()
        app = web.Application()
        for path in dict.fromkeys((f"{self.base_path}/eot", "/eot")):
            app.router.add_get(path, self._on_websocket)
        app.router.add_get("/healthz", self._on_health)
        # No access log: aiohttp's has a line per request and names no reason for a refusal; ours does.
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=self.limits.close_timeout)
        self._runner = runner
        try:
            await runner.setup()
            await web.TCPSite(runner, host, port, ssl_context=ssl_context).start()
        except BaseException:
            await self.aclose()
            raise
        bound = runner.addresses[0]
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound[0], bound[0])
        name = f"[{shown}]" if ":" in shown else shown
        self._url = f"{'https' if ssl_context else 'http'}://{name}:{bound[1]}{self.base_path}"
        logger.info("gateway for %s at %s", self.model.name, self._url)

    async def aclose(self) -> None:
        """Close the sessions (1001, going away), stop listening, and wait until nothing is left. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for site in list(runner.sites):
            await site.stop()
        for session in list(self._sessions):
            session.close(1001, "the gateway is going away")
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
        return self._places

    def __repr__(self) -> str:
        return f"<Gateway {self.model.name} at {self._url or 'no address'}, {self._places} sessions>"

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[JobDone | JobFailed] = loop.create_future()

        def deliver(result: JobDone | JobFailed) -> None:
            loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(result))

        default_scheduler().submit(
            model_handle(self.model).warm_up, deadline=NO_DEADLINE, on_done=deliver, hang_limit=LOAD_LIMIT
        )
        result = await done
        if isinstance(result, JobFailed):
            raise result.error or RuntimeError(f"the model could not be loaded: {result.reason}")

    # -- requests -----------------------------------------------------------------------------------------------------

    def authenticate(self, request: web.Request) -> str:
        """The API key of a request's token.

        Raises:
            AuthError: there is no token, or it does not open the door.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthError("missing", "an Authorization header with a bearer token is needed")
        return verify_token(token.strip(), self._keys, now=self._wall())

    async def handle_websocket(self, request: web.Request) -> web.StreamResponse:
        """Serve one client whose token is good."""
        websocket = web.WebSocketResponse(
            timeout=self.limits.close_timeout,
            heartbeat=self.limits.heartbeat,
            max_msg_size=self.limits.protocol.max_message_bytes,
            compress=False,  # audio hardly shrinks, and a bomb cannot be unpacked
        )
        if not websocket.can_prepare(request):
            return _refusal(426, "upgrade_required", "connect with a WebSocket")
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
        )

    def make_transport(self) -> Transport:
        """A session's way to the model."""
        if self._custom_transport is not None:
            return self._custom_transport()
        return LocalTransport(self.model, clock=self._clock)

    async def _on_websocket(self, request: web.Request) -> web.StreamResponse:
        try:
            self.authenticate(request)
        except AuthError as error:
            logger.info("refused a client: %s", error.code)
            return _refusal(401, error.code, str(error))
        if self._places >= self.limits.max_sessions:
            logger.warning("refused a client: all %d sessions are taken", self.limits.max_sessions)
            return _refusal(503, "overloaded", "all sessions are taken: try again later")
        self._places += 1
        try:
            return await self.handle_websocket(request)
        finally:
            self._places -= 1

    async def _on_health(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok", "model": self.model.name})


def _refusal(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
