"""A client for the gateway's tests: the real protocol over a real socket, one step at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np

from eot_core.models.base import ModelSpec, PcmArray
from eot_core.protocol import ClientProtocol, SessionCreated
from eot_core.protocol.auth import Credentials, connection_headers
from eot_core.server import Gateway

KEY, SECRET = "APIgateway", "a-secret-that-is-long-enough-for-hs256"
KEYS = {KEY: SECRET}


class ScriptedModel:
    """A model whose answers a test decides, and that remembers what it was asked."""

    def __init__(self, answer: Callable[[PcmArray], float]) -> None:
        self.answer = answer
        self.asked: list[PcmArray] = []

    def predict(self, pcm: PcmArray) -> float:
        if not pcm.any():
            return 0.0  # the warm-up
        self.asked.append(pcm)
        return self.answer(pcm)


class Gate:
    """An answer that waits until the test lets it go."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, pcm: PcmArray) -> float:
        self.entered.set()
        assert self.open.wait(20)
        return 0.5


def scripted(answer: Callable[[PcmArray], float] | float = 0.75, **fields: Any) -> tuple[ModelSpec, ScriptedModel]:
    """A spec and its model. A number is an answer to everything."""
    model = ScriptedModel(answer if callable(answer) else lambda pcm: float(answer))
    given: dict[str, Any] = {"window": 2.0, "default_threshold": 0.5, "thresholds": {"en": 0.4, "de": 0.6}, **fields}
    spec = ModelSpec(name="scripted", provider="tests", license="Apache-2.0", load=lambda: model, **given)
    return spec, model


class Client:
    """One connection."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.protocol = ClientProtocol()
        self.events: list[Any] = []

    async def create(self, sample_rate: int = 16000) -> SessionCreated:
        await self.socket.send_bytes(self.protocol.session_create(sample_rate=sample_rate, created_at=time.time()))
        return await self.next(SessionCreated)

    async def audio(self, seconds: float, *, sample_rate: int = 16000, chunk: float = 0.05, at: float = 0.0) -> None:
        """A tone. ``at``: capture time of the first chunk; 0 for now."""
        samples = (8000 * np.sin(np.arange(round(seconds * sample_rate)) * 0.2)).astype("<i2")
        size = round(chunk * sample_rate)
        for begin in range(0, len(samples), size):
            captured_at = at + begin / sample_rate if at else time.time()
            data = samples[begin : begin + size].tobytes()
            await self.socket.send_bytes(
                self.protocol.input_audio(data, captured_at=captured_at, created_at=time.time())
            )

    async def start(self, request_id: str) -> None:
        await self.socket.send_bytes(self.protocol.inference_start(request_id, created_at=time.time()))

    async def stop(self, request_id: str) -> None:
        await self.socket.send_bytes(self.protocol.inference_stop(request_id, created_at=time.time()))

    async def flush(self) -> None:
        await self.socket.send_bytes(self.protocol.session_flush(created_at=time.time()))

    async def close(self) -> None:
        await self.socket.send_bytes(self.protocol.session_close(created_at=time.time()))

    async def next(self, kind: type[Any]) -> Any:
        """The next event of this kind; others on the way are kept in ``events``."""
        async with asyncio.timeout(20):
            while True:
                message = await self.socket.receive()
                assert message.type is aiohttp.WSMsgType.BINARY, f"waited for {kind.__name__}, got {message}"
                for event in self.protocol.receive(message.data):
                    self.events.append(event)
                    if isinstance(event, kind):
                        return event

    async def closed(self) -> int | None:
        """The code with which the server closes; messages on the way are kept in ``events``."""
        async with asyncio.timeout(20):
            while True:
                message = await self.socket.receive()
                if message.type is not aiohttp.WSMsgType.BINARY:
                    return self.socket.close_code
                self.events.extend(self.protocol.receive(message.data))


@asynccontextmanager
async def connected(gateway: Gateway, **options: Any) -> AsyncIterator[Client]:
    headers = connection_headers(Credentials(KEY, SECRET), now=time.time())
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{gateway.ws_url}/eot", headers=headers, **options) as socket,
    ):
        yield Client(socket)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
