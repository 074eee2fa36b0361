"""The way to a model behind a WebSocket: LiveKit Inference, or any gateway that speaks its protocol.

One connection for the whole stream. What is pushed before it is up waits, in order, and is sent when it is.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl as ssl_module
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

import numpy as np

from ..audio import Resampler
from ..clock import Clock, TimerHandle
from ..cloud import CloudOptions
from ..models.base import SAMPLE_RATE, PcmArray
from .base import Answer, InferenceRequest, TransportSink
from .failures import ConnectionFailure, no_redirects
from .outbox import Audio, Flush, Item, Outbox, Start, Stop
from .proxy import proxy_of

if TYPE_CHECKING:
    import aiohttp

    from ..protocol import ClientProtocol, EotPrediction

logger = logging.getLogger("eot_core")

HEARTBEAT = 20.0
"""Seconds between pings; a connection that answers none for half as long is dead."""
GOODBYE = 1.0
"""Seconds that a clean close may take."""

_TOKEN = re.compile(r"eyJ[\w.-]+")
"""A JWT, whole or cut off."""


class WebSocketTransport:
    """See :class:`~eot_core.transports.base.Transport`."""

    def __init__(self, options: CloudOptions, *, clock: Clock, wall_clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            options: where to connect.
            clock: for the connection's time-out and for durations.
            wall_clock: Unix seconds, for the stamps on messages.
        """
        self._options = options
        self._clock = clock
        self._wall_clock = wall_clock
        self._sink: TransportSink | None = None
        self._task: asyncio.Task[None] | None = None
        self._outbox = Outbox(options.sample_rate)
        self._resampler = Resampler(options.sample_rate)
        self._captured_at = 0.0
        self._asked: dict[str, tuple[float, float | None]] = {}  # id -> when asked, when sent
        self._secrets: set[str] = set()
        self._connecting = False
        self._connected = False
        self._closing = False
        self._timer: TimerHandle | None = None

    # -- what the session asks for --------------------------------------------------------------------------------

    def open(self, sink: TransportSink) -> None:
        """Connect, in the background."""
        if self._task is not None or self._closing:
            return
        self._sink = sink
        self._timer = self._clock.call_at(self._clock.now() + self._options.connect_timeout, self._on_timeout)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="eot websocket")

    def push_audio(self, pcm: PcmArray, captured_at: float) -> None:
        """Queue audio, stamped with the time at which it was captured."""
        if self._closing:
            return
        self._captured_at = captured_at
        self._queue_audio(self._resampler.push(pcm, SAMPLE_RATE))

    def start(self, request: InferenceRequest) -> None:
        """Queue a request, behind all audio pushed so far."""
        if self._closing:
            return
        self._queue_audio(self._resampler.drain())
        self._asked[request.request_id] = (self._clock.now(), None)
        self._outbox.put(Start(request.request_id))

    def stop(self, request_id: str) -> None:
        """Tell the far end; a request that is still waiting here is not sent at all."""
        if self._asked.pop(request_id, None) is None or self._closing:
            return
        if not self._outbox.withdraw(Start(request_id)):
            self._outbox.put(Stop(request_id))

    def flush(self) -> None:
        """Queue the end of the turn."""
        if not self._closing:
            self._queue_audio(self._resampler.drain())
            self._outbox.put(Flush())

    def close(self) -> None:
        """Say goodbye in the background."""
        if self._closing:
            return
        self._closing = True
        self._sink = None
        self._cancel_timer()
        self._asked.clear()
        self._outbox.close()
        if self._task is not None and self._connecting:
            self._task.cancel()

    async def aclose(self) -> None:
        """Say goodbye, and wait until the socket is gone."""
        self.close()
        task = self._task
        if task is None or task.done():
            return
        await asyncio.wait({task}, timeout=2 * GOODBYE)
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=GOODBYE)

    def _queue_audio(self, pcm: PcmArray) -> None:
        self._outbox.put_audio(pcm, self._captured_at)
        if not self._outbox.overfull:
            return
        if self._connected:
            self._report_failure(ConnectionFailure("send_stalled", retryable=True))
        else:  # the oldest audio goes: by the time that there is a connection no model looks at it
            self._outbox.drop_oldest_audio()

    # -- the connection -------------------------------------------------------------------------------------------

    def _on_timeout(self) -> None:
        """No session_created in time: whoever holds the far end may hold it for ever."""
        self._timer = None
        self._report_failure(ConnectionFailure("connect_timeout", retryable=True))
        if self._task is not None:
            self._task.cancel()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _run(self) -> None:
        try:
            await self._converse()
        except ConnectionFailure as failure:
            self._report_failure(failure)
        except Exception as error:
            logger.exception("the connection to the turn detector broke")
            self._report_failure(ConnectionFailure(f"transport_error: {type(error).__name__}", retryable=False))
        finally:
            self._cancel_timer()

    def _report_failure(self, failure: ConnectionFailure) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            logger.debug("the connection to the turn detector failed: %s", failure.reason)
            sink.on_failed(failure.reason, retryable=failure.retryable)

    async def _converse(self) -> None:
        import aiohttp

        from ..protocol import ClientProtocol

        own: aiohttp.ClientSession | None = None
        given = self._options.http_session
        session = given() if callable(given) else given
        if session is None:
            session = own = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None), trace_configs=[no_redirects()]
            )
        try:
            self._connecting = True
            try:
                ws = await self._connect(session, through_proxy=own is not None)
            finally:
                self._connecting = False
            connection = ws._response.connection
            socket_transport = None if connection is None else connection.transport
            self._connected = True
            try:
                await self._exchange(ws, ClientProtocol())
            except ConnectionFailure as failure:
                self._report_failure(failure)  # at once: closing may take a second
            finally:
                self._connected = False
                try:
                    await ws.close()
                finally:
                    # Closed with unsent data, it would wait for a far end that does not read, for good.
                    if socket_transport is not None:
                        socket_transport.abort()
        finally:
            if own is not None:
                await own.close()

    async def _connect(self, session: aiohttp.ClientSession, *, through_proxy: bool) -> aiohttp.ClientWebSocketResponse:
        import aiohttp

        from ..protocol.auth import Credentials, Secret, connection_headers

        options = self._options
        headers = connection_headers(
            Credentials(options.api_key, options.api_secret), now=self._wall_clock(), extra=options.headers
        )
        self._secrets = {options.api_key, options.api_secret}
        self._secrets.update(str(value) for value in headers.values() if isinstance(value, Secret) and value)
        url = eot_url(options.base_url)
        try:
            return await session.ws_connect(
                url,
                headers=headers,
                proxy=proxy_of(url) if through_proxy else None,
                heartbeat=HEARTBEAT,
                ssl=True if options.ssl is None else options.ssl,
                timeout=aiohttp.ClientWSTimeout(ws_close=GOODBYE),
            )
        except (aiohttp.ClientError, OSError, ssl_module.SSLError, ValueError) as error:
            # From None: what aiohttp's errors hold includes the request's headers.
            raise ConnectionFailure.of(error) from None

    async def _exchange(self, ws: aiohttp.ClientWebSocketResponse, protocol: ClientProtocol) -> None:
        greeting = protocol.session_create(sample_rate=self._options.sample_rate, created_at=self._wall_clock())
        loop = asyncio.get_running_loop()
        receiver = loop.create_task(self._receive(ws, protocol), name="eot websocket receiver")
        sender = loop.create_task(self._send(ws, protocol, greeting), name="eot websocket sender")
        try:
            await asyncio.wait({receiver, sender}, return_when=asyncio.FIRST_COMPLETED)
            if not receiver.done():  # the sender is through, or could not send: the far end has the last word
                await asyncio.wait({receiver}, timeout=GOODBYE)
            for task in (receiver, sender):
                if task.done() and not self._closing:
                    task.result()
        finally:
            for task in (receiver, sender):
                task.cancel()
            await asyncio.gather(receiver, sender, return_exceptions=True)

    async def _send(self, ws: aiohttp.ClientWebSocketResponse, protocol: ClientProtocol, greeting: bytes) -> None:
        import aiohttp

        try:
            await ws.send_bytes(greeting)
            while not self._closing:
                while self._outbox:
                    await ws.send_bytes(self._encode(self._outbox.take(), protocol))
                await self._outbox.wait()
            await ws.send_bytes(protocol.session_close(created_at=self._wall_clock()))
        except (ConnectionError, aiohttp.ClientError):
            if not self._closing:
                raise ConnectionFailure("connection_lost", retryable=True) from None

    def _encode(self, item: Item, protocol: ClientProtocol) -> bytes:
        now = self._wall_clock()
        match item:
            case Audio(pcm, captured_at):
                data = np.asarray(pcm, dtype="<i2").tobytes()
                return protocol.input_audio(data, captured_at=captured_at, created_at=now)
            case Start(request_id):
                if request_id in self._asked:
                    self._asked[request_id] = (self._asked[request_id][0], self._clock.now())
                return protocol.inference_start(request_id, created_at=now)
            case Stop(request_id):
                return protocol.inference_stop(request_id, created_at=now)
            case Flush():
                return protocol.session_flush(created_at=now)
            case _:
                assert_never(item)

    async def _receive(self, ws: aiohttp.ClientWebSocketResponse, protocol: ClientProtocol) -> None:
        import aiohttp

        while True:
            message = await ws.receive()
            if message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                if self._read(message.data, protocol):
                    return
            elif message.type is aiohttp.WSMsgType.ERROR:
                raise ConnectionFailure("connection_lost", retryable=True)
            elif message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED):
                if self._closing:
                    return
                code = ws.close_code if ws.close_code is not None else 1006
                raise ConnectionFailure.closed(code)

    def _read(self, data: bytes | str, protocol: ClientProtocol) -> bool:
        """Whether the far end has said goodbye, as it was asked to."""
        from ..protocol import EotPrediction, ErrorCode, ProtocolError, ServerError, SessionClosed, SessionCreated

        for event in protocol.receive(data):
            if self._sink is None:  # closing: nobody listens, and the session decides no more
                if isinstance(event, SessionClosed):
                    return True
                continue
            match event:
                case SessionCreated(calibration):
                    self._cancel_timer()
                    self._sink.on_ready(calibration)
                case EotPrediction():
                    self._answer(self._sink, event)
                case ServerError(_, code, request_id):
                    text = self._without_secrets(event.message)
                    logger.debug("the turn detector's server reported error %d: %s", code, text)
                    if event.spares_the_session and request_id is not None:
                        if self._asked.pop(request_id, None) is not None:
                            self._sink.on_request_failed(request_id, f"error_{code}")
                        continue
                    raise ConnectionFailure(f"error_{code}", retryable=code == 429 or code >= 500)
                case SessionClosed():
                    raise ConnectionFailure("session_closed", retryable=True)
                case ProtocolError(ErrorCode.UNUSABLE_THRESHOLDS):
                    raise ConnectionFailure("invalid_thresholds", retryable=False)
                case ProtocolError(code, text):
                    logger.debug("the turn detector's server broke the protocol: %s", text)
                    raise ConnectionFailure(f"protocol_{code}", retryable=False)
        return False

    def _without_secrets(self, text: str) -> str:
        """What a far end wrote, which may quote our own handshake."""
        for secret in sorted(self._secrets, key=len, reverse=True):  # one may begin with another
            text = text.replace(secret, "***")
        return _TOKEN.sub("***", text)

    def _answer(self, sink: TransportSink, event: EotPrediction) -> None:
        asked_at, sent_at = self._asked.pop(event.request_id, (None, None))
        if asked_at is None or sent_at is None:
            return  # unknown, stopped, or answered before
        elapsed = self._clock.now() - sent_at
        stats = event.stats
        work = stats.server_e2e_latency or stats.preprocessing_duration + stats.inference_duration
        work = min(work, elapsed)
        sink.on_answer(
            event.request_id,
            Answer(
                probability=event.probability,
                backchannel_probability=event.backchannel_probability,
                queue_time=sent_at - asked_at,
                network_time=elapsed - work,
                inference_time=work,
            ),
        )


def eot_url(base_url: str) -> str:
    """Where to connect: ``http`` becomes ``ws``, and "/eot" is appended."""
    url = base_url.rstrip("/")
    if url.startswith(("http://", "https://")):
        url = "ws" + url[4:]
    return f"{url}/eot"
