"""One client's WebSocket: frames in and out, bounded in number and time. What they mean is the session's business."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from .limits import GatewayLimits

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Goodbye:
    code: int
    reason: str


class Connection:
    """A client that does not read costs no more memory than its queue, and no more time than the limits give it."""

    def __init__(
        self,
        websocket: web.WebSocketResponse,
        limits: GatewayLimits,
        *,
        abort: Callable[[], None],
        on_cut: Callable[[], None],
    ) -> None:
        """
        Args:
            websocket: prepared.
            limits: ``max_outgoing``, ``send_timeout`` and ``close_timeout`` count.
            abort: cuts the connection at once, without a closing handshake.
            on_cut: called when that was done.
        """
        self._websocket = websocket
        self._limits = limits
        self._abort = abort
        self._on_cut = on_cut
        self._outbox: asyncio.Queue[bytes | _Goodbye] = asyncio.Queue(limits.max_outgoing)
        self._closing = False
        self._farewell = False
        """Whether a close of ours is queued."""

    @property
    def closing(self) -> bool:
        """Whether it is over, or about to be: nothing is read or sent any more."""
        return self._closing

    async def run(self, receive: Callable[[bytes | str], None]) -> str:
        """Read until either side closes; what was queued before a close of ours still goes out. Leaves no task behind.

        Args:
            receive: called with each frame. Synchronous and short: while it lasts nothing is read, and TCP holds a fast
                client back.

        Returns:
            How it ended, where not with a close of ours: "client" with a closing handshake of the client's, "violation"
            of the WebSocket protocol, or "lost" without a word.
        """
        writer = asyncio.create_task(self._write(), name="eot-gateway-writer")
        try:
            while True:
                message = await self._websocket.receive()
                if message.type is aiohttp.WSMsgType.CLOSE:
                    return "client"
                if message.type not in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                    return "violation" if isinstance(message.data, aiohttp.WebSocketError) else "lost"
                if not self._closing:
                    receive(message.data)
        finally:
            self._closing = True
            if not self._farewell:
                writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)  # each step of it is bounded in time

    def send(self, data: bytes) -> None:
        """Queue a message; a client that lets too many pile up is cut off."""
        if not self._closing:
            self._put(data)

    def close(self, code: int, reason: str) -> None:
        """Send what is queued, then close. Idempotent."""
        if not self._closing:
            self._closing = True
            self._farewell = self._put(_Goodbye(code, reason))

    def _put(self, item: bytes | _Goodbye) -> bool:
        try:
            self._outbox.put_nowait(item)
        except asyncio.QueueFull:
            self._cut()
            return False
        return True

    def _cut(self) -> None:
        logger.warning("a client does not read its messages: its connection is cut")
        self._closing = True
        self._abort()
        self._on_cut()

    async def _write(self) -> None:
        while True:
            item = await self._outbox.get()
            try:
                async with asyncio.timeout(self._limits.send_timeout + self._limits.close_timeout):
                    if isinstance(item, _Goodbye):
                        await self._websocket.close(code=item.code, message=item.reason.encode())
                        return
                    async with asyncio.timeout(self._limits.send_timeout):
                        await self._websocket.send_bytes(item)
            except TimeoutError:
                self._cut()
                return
            except ConnectionError:
                return  # it has gone; the reader notices too
