"""What the tests of the WebSocket transport share: a sink, audio, certificates, and counts of what is left over."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from far_end import Connection, created
from leftovers import Left

from eot_core.clock import Clock, LoopClock
from eot_core.cloud import CloudOptions
from eot_core.models.base import PcmArray
from eot_core.transports.base import Answer, Calibration, InferenceRequest
from eot_core.transports.websocket import WebSocketTransport

__all__ = ["Left"]

KEY, SECRET = "APIwebsocket", "a-secret-that-is-long-enough-for-hs256"

Script = Callable[[Connection], Awaitable[None]]


@dataclass
class Sink:
    """Writes down what a transport reports."""

    ready: list[Calibration | None] = field(default_factory=list)
    answers: list[tuple[str, Answer]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Id, reason."""
    failures: list[tuple[str, bool]] = field(default_factory=list)
    """Reason, retryable."""
    on_failure: Callable[[], None] | None = None

    def on_ready(self, calibration: Calibration | None) -> None:
        self.ready.append(calibration)

    def on_answer(self, request_id: str, answer: Answer) -> None:
        self.answers.append((request_id, answer))

    def on_request_failed(self, request_id: str, reason: str) -> None:
        self.refused.append((request_id, reason))

    def on_failed(self, reason: str, *, retryable: bool) -> None:
        self.failures.append((reason, retryable))
        if self.on_failure is not None:
            self.on_failure()


def options(url: str, **changes: Any) -> CloudOptions:
    return CloudOptions(**{"base_url": url, "api_key": KEY, "api_secret": SECRET, **changes})


@asynccontextmanager
async def opened(
    url: str, *, clock: Clock | None = None, **changes: Any
) -> AsyncIterator[tuple[WebSocketTransport, Sink]]:
    """A transport that is connecting; closed afterwards."""
    transport, sink = make(url, clock=clock, **changes)
    transport.open(sink)
    try:
        yield transport, sink
    finally:
        await transport.aclose()


def make(url: str, *, clock: Clock | None = None, **changes: Any) -> tuple[WebSocketTransport, Sink]:
    clock = clock or LoopClock(asyncio.get_running_loop())
    return WebSocketTransport(options(url, **changes), clock=clock), Sink()


def request(request_id: str) -> InferenceRequest:
    """The transport looks at nothing but the id: the audio is on its way already."""
    return InferenceRequest(request_id, np.ones(1, np.int16), 0.0, 1.0)


def tone(seconds: float, sample_rate: int = 16_000) -> PcmArray:
    return np.asarray(8_000 * np.sin(np.arange(round(seconds * sample_rate)) * 0.2), dtype=np.int16)


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.002)


async def behave(connection: Connection) -> None:
    await connection.accept()
    await connection.serve()


async def open_session(connection: Connection) -> None:
    """Up to and with ``session_created``."""
    await connection.accept()
    await connection.until("session_create")
    await connection.send(created())


def close_late(code: int) -> Script:
    async def script(connection: Connection) -> None:
        await open_session(connection)
        await connection.until("input_audio")
        await connection.close(code)

    return script


def say_late(*messages: object) -> Script:
    async def script(connection: Connection) -> None:
        await open_session(connection)
        for message in messages:
            await connection.send(message)  # type: ignore[arg-type]
        await connection.serve()

    return script


def audio_of(connection: Connection) -> np.ndarray:
    pieces = [m.input_audio.audio for m in connection.received if m.WhichOneof("message") == "input_audio"]
    return np.frombuffer(b"".join(pieces), dtype="<i2")


@dataclass(frozen=True)
class Authority:
    """A private CA and a certificate of 127.0.0.1 that it signed."""

    ca: Path
    certificate: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


def make_authority(folder: Path) -> Authority:
    """Made with the openssl command; skips the test where there is none."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command makes the certificates")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    # With the extensions that RFC 5280 asks for: Python 3.13 checks them (VERIFY_X509_STRICT).
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    run(
        "req",
        "-x509",
        *new_key,
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "30",
        "-subj",
        "/CN=private CA",
        *usage,
    )
    run("req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=gateway")
    (folder / "names").write_text(
        "subjectAltName=IP:127.0.0.1,DNS:localhost\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nextendedKeyUsage=serverAuth\n"
    )
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", "names")
    run("x509", "-req", "-in", "server.csr", *signing, "-out", "server.pem")
    return Authority(folder / "ca.pem", folder / "server.pem", folder / "server.key")
