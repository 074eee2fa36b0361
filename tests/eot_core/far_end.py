"""The far end of a WebSocket, byte by byte: a server that does what a test's script says, legal or not.

Raw asyncio streams, because a proper WebSocket server refuses to send half a frame, to stop reading, or to leave a
handshake hanging.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

from livekit.protocol.agent_pb import agent_inference as pb

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

THRESHOLDS = {"en": 0.56, "de": 0.6}


class Gone(Exception):
    """The client closed or dropped the connection."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"closed with {code}")
        self.code = code
        """Of its close frame; None where there was none."""


class Connection:
    """One client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.path = ""
        self.headers: dict[str, str] = {}
        """Lower-case names."""
        self.received: list[pb.ClientMessage] = []
        self.close_code: int | None = None
        self.gone = asyncio.Event()
        """The client's end of the TCP connection is closed, or this end closed it."""

    # -- before the upgrade -------------------------------------------------------------------------------------------

    async def read_request(self) -> None:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.path = head[0].split(" ")[1]
        for line in head[1:]:
            name, _, value = line.partition(":")
            if value:
                self.headers[name.lower()] = value.strip()

    async def reply(self, status: int) -> None:
        """Refuse the upgrade."""
        await self.raw(f"HTTP/1.1 {status} no\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno".encode())

    async def accept(self) -> None:
        """Upgrade."""
        key = self.headers["sec-websocket-key"]
        proof = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        await self.raw(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {proof}\r\n\r\n".encode()
        )

    # -- after it -----------------------------------------------------------------------------------------------------

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def frame(self, opcode: int, payload: bytes) -> None:
        """One whole frame."""
        await self.raw(frame(opcode, payload))

    async def send(self, message: pb.ServerMessage) -> None:
        await self.frame(BINARY, message.SerializeToString())

    async def close(self, code: int) -> None:
        """A close frame; then wait for the client's, as a proper server does."""
        await self.frame(CLOSE, struct.pack("!H", code))
        try:
            while True:
                await self.receive()
        except Gone:
            return

    def abort(self) -> None:
        """RST, with whatever was under way lost."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def receive(self) -> pb.ClientMessage:
        """The next message; pings are answered on the way.

        Raises:
            Gone: there is none.
        """
        while True:
            opcode, payload = await self._read_frame()
            if opcode == PING:
                await self.frame(PONG, payload)
            elif opcode == CLOSE:
                self.close_code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                raise Gone(self.close_code)
            elif opcode == BINARY:
                message = pb.ClientMessage.FromString(payload)
                self.received.append(message)
                return message

    async def _read_frame(self) -> tuple[int, bytes]:
        try:
            first, second = await self.reader.readexactly(2)
            length = second & 127
            if length >= 126:
                size = 2 if length == 126 else 8
                length = int.from_bytes(await self.reader.readexactly(size), "big")
            assert second & 128, "a client masks its frames"
            assert first & 128, "no message here is fragmented"
            mask = await self.reader.readexactly(4)
            payload = await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Gone(None) from None
        key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        return first & 15, (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")

    async def until(self, kind: str) -> pb.ClientMessage:
        """The next message of this kind, reading past others."""
        while True:
            message = await self.receive()
            if message.WhichOneof("message") == kind:
                return message

    def kinds(self) -> list[str]:
        """What has been received, repetitions of audio as one."""
        kinds: list[str] = []
        for message in self.received:
            kind = str(message.WhichOneof("message"))
            if kind != "input_audio" or kinds[-1:] != ["input_audio"]:
                kinds.append(kind)
        return kinds

    async def serve(self, probability: float = 0.9) -> None:
        """Behave from here on: thresholds for a session, a prediction for a request, a close for a close."""
        while True:
            message = await self.receive()
            kind = message.WhichOneof("message")
            if kind == "session_create":
                await self.send(created())
            elif kind == "inference_start":
                await self.send(prediction(message.inference_start.request_id, probability))
            elif kind == "session_close":
                await self.send(pb.ServerMessage(session_closed=pb.SessionClosed()))
                await self.close(1000)


Script = Callable[[Connection], Awaitable[None]]


class FarEnd:
    """Listens on a free port of the loopback; ``script`` is run for each connection once its HTTP request is read."""

    def __init__(
        self,
        script: Script,
        *,
        tls: ssl.SSLContext | None = None,
        read_request: bool = True,
        receive_buffer: int | None = None,
    ) -> None:
        """
        Args:
            script: ends with the connection.
            tls: for ``wss``.
            read_request: False hands the script a connection of which nothing was read.
            receive_buffer: SO_RCVBUF in bytes; small, so that a server which does not read is felt soon.
        """
        self._script = script
        self._tls = tls
        self._read_request = read_request
        self._receive_buffer = receive_buffer
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[Connection] = set()
        self.connections: list[Connection] = []
        self.arrived = asyncio.Event()
        self.port = 0

    @property
    def descriptors(self) -> set[int]:
        """Of the sockets at this end."""
        sockets = list(self._server.sockets) if self._server is not None else []
        sockets += [each.writer.get_extra_info("socket") for each in self._open]
        return {each.fileno() for each in sockets}

    @property
    def url(self) -> str:
        return f"ws{'s' if self._tls else ''}://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        # With its protocol named asyncio switches Nagle's algorithm off, so that a second frame waits for no ACK.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._receive_buffer is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        listening.bind(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self._server = await asyncio.start_server(self._on_connection, sock=listening, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def stop_listening(self) -> None:
        """From now on connections are refused; those that are open live on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def stop(self) -> None:
        """Stop listening, and cut off whoever is connected."""
        self.stop_listening()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._run(reader, writer), name="far end")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self._open.add(connection)
        try:
            if self._read_request:
                await connection.read_request()
            self.connections.append(connection)
            self.arrived.set()
            await self._script(connection)
        except (Gone, OSError, asyncio.IncompleteReadError):
            pass  # the client has left, or trusts no such certificate, as clients may
        finally:
            connection.gone.set()
            writer.close()
            self._open.discard(connection)


def frame(opcode: int, payload: bytes) -> bytes:
    """A frame as a server sends it, unmasked."""
    length = len(payload)
    if length < 126:
        head = bytes([128 | opcode, length])
    elif length < 1 << 16:
        head = bytes([128 | opcode, 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([128 | opcode, 127]) + length.to_bytes(8, "big")
    return head + payload


def created(
    thresholds: Mapping[str, float] | None = None,
    default: float = 0.56,
    *,
    backchannel: float = 0.0,
    backchannels: Mapping[str, float] | None = None,
) -> pb.ServerMessage:
    return pb.ServerMessage(
        session_created=pb.SessionCreated(
            default_thresholds=THRESHOLDS if thresholds is None else thresholds,
            default_threshold=default,
            default_backchannel_thresholds=backchannels or {},
            default_backchannel_threshold=backchannel,
        )
    )


def prediction(request_id: str, probability: float, *, backchannel: float = 0.0) -> pb.ServerMessage:
    return pb.ServerMessage(
        request_id=request_id,
        eot_prediction=pb.EotPrediction(
            probability=probability,
            backchannel_probability=backchannel,
            backend=pb.EotPrediction.EOT_BACKEND_MULTIMODAL,
        ),
    )


def error(code: int, text: str = "it broke", request_id: str | None = None) -> pb.ServerMessage:
    message = pb.ServerMessage(error=pb.InferenceError(message=text, code=code))
    if request_id is not None:
        message.request_id = request_id
    return message


def closed() -> pb.ServerMessage:
    return pb.ServerMessage(session_closed=pb.SessionClosed())
