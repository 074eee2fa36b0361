"""What can go wrong between a stream and its gateway, and what is expected of the stream then."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from far_end import BINARY, CLOSE, TEXT, Connection, FarEnd, closed, created, error, frame, prediction

CLOUD, LOCAL = 0.9, 0.75
"""What the two models answer; both end the turn."""


class Moment(enum.Enum):
    """When the fault strikes."""

    CONNECT = "at connect"
    """As soon as the far end can, before anything is said."""
    SPEECH = "in speech"
    """Half a second into the speech."""
    FLIGHT = "in flight"
    """A tenth of a second after a request was made."""


class Stage(enum.Enum):
    """How far a connection has come when the fault strikes it."""

    TCP = "connected"
    HTTP = "request read"
    UPGRADED = "session_create read"
    OPEN = "session_created sent"


@dataclass
class Strike:
    """One case at one moment, as the far end knows it."""

    moment: Moment
    now: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the driver."""
    requests: list[str] = field(default_factory=list)
    """Ids of ``inference_start``, as they arrive."""
    far: FarEnd | None = None

    @property
    def in_flight(self) -> bool:
        return self.moment is Moment.FLIGHT


Hit = Callable[[Connection, Strike], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """A row of the matrix, for each moment."""

    name: str
    reason: str | None
    """Of the fallback; None: the stream stays with the cloud."""
    stage: Stage
    hit: Hit
    """What the far end does; for a stage before OPEN instead of what is proper."""
    same_as: Mapping[Moment, str] = field(default_factory=dict)
    """Why a moment has no row of its own."""
    answers_after: bool = True
    """Whether the far end answers requests once it has struck (where the connection lives on)."""
    turn: int = 1
    """In which turn it strikes."""
    late: float | None = None
    """Fraction of the deadline at which the request in flight is resolved; None: as soon as the fault is noticed."""
    retries: int = 0
    connect_timeout: Mapping[Moment, float] = field(default_factory=dict)
    scheme: str = "ws"
    lookup_fails: bool = False
    nobody_listens: bool = False
    narrow: bool = False
    """Small buffers on the way, 48 kHz on the wire, and a long speech."""
    closes_stream: bool = False
    """The fault is our own end's."""


# -- what the far end does --------------------------------------------------------------------------------------------


def refuse(status: int) -> Hit:
    return lambda connection, strike: connection.reply(status)


def close(code: int) -> Hit:
    return lambda connection, strike: connection.frame(CLOSE, code.to_bytes(2, "big"))


def write(data: bytes) -> Hit:
    return lambda connection, strike: connection.raw(data)


def say(*messages: Any) -> Hit:
    async def hit(connection: Connection, strike: Strike) -> None:
        for message in messages:
            await connection.send(message)

    return hit


def answer(*probabilities: float, late: float = 0.0) -> Hit:
    """To the request in flight, or to one that nobody made."""

    async def hit(connection: Connection, strike: Strike) -> None:
        await asyncio.sleep(late)
        for probability in probabilities:
            await connection.send(prediction(strike.requests[-1] if strike.in_flight else "nobody's", probability))

    return hit


async def answer_the_last_turn_again(connection: Connection, strike: Strike) -> None:
    await connection.send(prediction(strike.requests[0], 0.1))
    if strike.in_flight:
        await connection.send(prediction(strike.requests[-1], CLOUD))


async def answer_an_unknown_request(connection: Connection, strike: Strike) -> None:
    await connection.send(prediction("nobody's", 0.1))
    if strike.in_flight:
        await connection.send(prediction(strike.requests[-1], CLOUD))


async def reset(connection: Connection, strike: Strike) -> None:
    connection.abort()


async def reset_in_mid_frame(connection: Connection, strike: Strike) -> None:
    await connection.raw(frame(BINARY, bytes(1000))[:500])
    connection.abort()


async def die(connection: Connection, strike: Strike) -> None:
    """The whole process: nobody listens any more."""
    assert strike.far is not None
    strike.far.stop_listening()
    connection.abort()


async def nothing(connection: Connection, strike: Strike) -> None:
    """Says nothing (more)."""


async def error_of_the_request(connection: Connection, strike: Strike) -> None:
    await connection.send(error(504, request_id=strike.requests[-1] if strike.in_flight else "nobody's"))


_TIMEOUTS = {Moment.CONNECT: 0.2, Moment.SPEECH: 0.8, Moment.FLIGHT: 1.7}
"""Seconds after the opening: before the speech, in it, and while the request is in flight."""
_ONLY_ANSWERS = dict.fromkeys((Moment.CONNECT, Moment.SPEECH), "there is no request to answer")
_NO_TURN_YET = {Moment.CONNECT: "no request was made yet"}

CASES = (
    Case("refused", "connect_error", Stage.OPEN, die, nobody_listens=True, retries=1),
    Case("DNS failure", "dns_error", Stage.TCP, nothing, lookup_fails=True),
    Case("TLS failure", "tls_error", Stage.TCP, write(b"HTTP/1.1 400 no TLS\r\n\r\n"), scheme="wss"),
    *(
        Case(f"HTTP {status}", f"http_{status}", Stage.HTTP, refuse(status))
        for status in (401, 403, 404, 429, 500, 503)
    ),
    Case("garbage for HTTP", "http_400", Stage.HTTP, write(b"\x00\x01garbage\r\n\r\n")),
    Case("reset in the HTTP handshake", "connection_lost", Stage.HTTP, reset),
    Case("hangs: no HTTP answer", "connect_timeout", Stage.HTTP, nothing, connect_timeout=_TIMEOUTS),
    Case("hangs: no session_created", "connect_timeout", Stage.UPGRADED, nothing, connect_timeout=_TIMEOUTS),
    Case(
        "hangs longer than a request waits",
        "timeout",
        Stage.UPGRADED,
        nothing,
        late=0.75,
        answers_after=False,
        same_as=dict.fromkeys((Moment.CONNECT, Moment.SPEECH), "nothing happens before the request's deadline"),
    ),
    *(
        Case(f"close {code} in the handshake", f"connection_closed_{code}", Stage.UPGRADED, close(code))
        for code in (1000, 1001, 1011, 4000)
    ),
    *(
        Case(f"close {code} in mid-stream", f"connection_closed_{code}", Stage.OPEN, close(code))
        for code in (1000, 1001, 1011, 4000)
    ),
    Case("reset in the handshake", "connection_closed_1006", Stage.UPGRADED, reset),
    Case("reset in mid-frame", "connection_closed_1006", Stage.OPEN, reset_in_mid_frame),
    Case("garbage for a frame", "connection_lost", Stage.OPEN, write(b"\xff" * 64)),
    Case("garbage for a message", "protocol_malformed", Stage.OPEN, write(frame(BINARY, b"\xff\xff\xff"))),
    Case("text frame", "protocol_text_frame", Stage.OPEN, write(frame(TEXT, b"hello"))),
    Case(
        "message of more than 1 MiB",
        "protocol_message_too_large",
        Stage.OPEN,
        write(frame(BINARY, bytes((1 << 20) + 1))),
    ),
    Case("prediction before session_created", "protocol_out_of_order", Stage.UPGRADED, say(prediction("x", 0.5))),
    Case("second session_created", "protocol_out_of_order", Stage.OPEN, say(created())),
    Case("thresholds: none", "invalid_thresholds", Stage.UPGRADED, say(created({}))),
    Case("thresholds: default 0", "invalid_thresholds", Stage.UPGRADED, say(created(default=0.0))),
    Case("thresholds: NaN", "invalid_thresholds", Stage.UPGRADED, say(created({"en": math.nan}))),
    Case("error 500", "error_500", Stage.OPEN, say(error(500))),
    Case("error 429", "error_429", Stage.OPEN, say(error(429))),
    Case("error 503 before session_created", "error_503", Stage.UPGRADED, say(error(503))),
    Case("error 504 for one request", "error_504", Stage.OPEN, error_of_the_request),
    Case("session_closed", "session_closed", Stage.OPEN, say(closed())),
    Case("probability NaN", "protocol_bad_probability", Stage.OPEN, answer(math.nan)),
    Case("probability 1.5", "protocol_bad_probability", Stage.OPEN, answer(1.5)),
    Case("probability -0.5", "protocol_bad_probability", Stage.OPEN, answer(-0.5)),
    Case("answer to an unknown request", None, Stage.OPEN, answer_an_unknown_request),
    Case("answer to the last turn again", None, Stage.OPEN, answer_the_last_turn_again, turn=2, same_as=_NO_TURN_YET),
    Case("answer given twice", None, Stage.OPEN, answer(CLOUD, 0.1), same_as=_ONLY_ANSWERS),
    Case("no answer", "timeout", Stage.OPEN, nothing, answers_after=False, late=0.75, same_as=_ONLY_ANSWERS),
    Case(
        "answer after the deadline",
        "timeout",
        Stage.OPEN,
        answer(0.1, late=1.0),
        late=0.75,
        same_as=_ONLY_ANSWERS,
    ),
    Case("stalled reader", "timeout", Stage.OPEN, nothing, answers_after=False, late=0.75),
    Case(
        "stalled reader, long speech",
        "send_stalled",
        Stage.OPEN,
        nothing,
        answers_after=False,
        narrow=True,
        same_as={Moment.FLIGHT: "the request times out long before"},
    ),
    Case("our end closes", None, Stage.OPEN, nothing, closes_stream=True, answers_after=False),
)

STALLED = ("stalled reader", "stalled reader, long speech")


# -- the far end ------------------------------------------------------------------------------------------------------


def script(case: Case, strike: Strike) -> Callable[[Connection], Awaitable[None]]:
    """What the far end does with each connection."""

    async def talk(connection: Connection) -> None:
        if case.stage in (Stage.UPGRADED, Stage.OPEN):
            await connection.accept()
        loop = asyncio.get_running_loop()
        reading = loop.create_task(read(connection), name="far end's reader")
        striking = loop.create_task(strike.now.wait(), name="far end's strike")
        try:
            await asyncio.wait({striking, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():  # the client has left
                return
            if case.name in STALLED:
                reading.cancel()
                await asyncio.Event().wait()  # until the far end is stopped
            await case.hit(connection, strike)
            if case.stage is Stage.HTTP and case.hit is not nothing:
                return
            await reading
        finally:
            for task in (reading, striking):
                task.cancel()
            await asyncio.gather(reading, striking, return_exceptions=True)

    async def read(connection: Connection) -> None:
        """Proper, but for what the case holds back."""
        if case.stage in (Stage.TCP, Stage.HTTP):
            await connection.reader.read()
            return
        while True:
            message = await connection.receive()
            match message.WhichOneof("message"):
                case "session_create" if case.stage is Stage.OPEN:
                    await connection.send(created())
                case "inference_start":
                    strike.requests.append(message.inference_start.request_id)
                    if withheld(case, strike):
                        continue
                    await connection.send(prediction(strike.requests[-1], CLOUD))
                case "session_close":
                    await connection.send(closed())
                    await connection.frame(CLOSE, b"\x03\xe8")

    return talk


def withheld(case: Case, strike: Strike) -> bool:
    if case.stage is not Stage.OPEN:
        return True
    if strike.now.is_set():
        return not case.answers_after
    # The request that the fault is to find in flight.
    return strike.in_flight and len(strike.requests) == case.turn


class _NoSuchName(AbstractResolver):
    """The name server's answer, when the time has come."""

    def __init__(self, strike: Strike) -> None:
        self._strike = strike

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        await self._strike.now.wait()
        raise OSError(None, "Name or service not known")

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class Surroundings:
    """What a detector is made with."""

    strike: Strike
    url: str
    http_session: aiohttp.ClientSession | None
    connect_timeout: float
    retries: int
    sample_rate: int


@asynccontextmanager
async def surroundings(case: Case, moment: Moment) -> AsyncIterator[Surroundings]:
    """The far end of one cell, and the client's side of the network."""
    strike = Strike(moment)
    async with contextlib.AsyncExitStack() as stack:
        far = FarEnd(
            script(case, strike),
            read_request=case.stage is not Stage.TCP,
            receive_buffer=4096 if case.narrow else None,
        )
        await stack.enter_async_context(far)
        strike.far = far
        url = f"{case.scheme}://127.0.0.1:{far.port}/v1"
        session = None
        if case.lookup_fails:
            url = "ws://gateway.invalid/v1"
            connector = aiohttp.TCPConnector(resolver=_NoSuchName(strike))
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        if case.narrow:
            connector = aiohttp.TCPConnector(socket_factory=_narrow_socket)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        if case.nobody_listens and moment is Moment.CONNECT:
            far.stop_listening()
        yield Surroundings(
            strike=strike,
            url=url,
            http_session=session,
            connect_timeout=case.connect_timeout.get(moment, 10.0),
            retries=case.retries,
            sample_rate=48_000 if case.narrow else 16_000,
        )


def _narrow_socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return made


def cells() -> list[tuple[Case, Moment]]:
    return [(case, moment) for case in CASES for moment in Moment if moment not in case.same_as]


TELLING = (
    "refused",
    "HTTP 401",
    "hangs: no session_created",
    "close 1011 in mid-stream",
    "thresholds: NaN",
    "error 500",
    "no answer",
    "answer after the deadline",
)
"""Cases that show how it goes without a local model, where all of them would show the same over and over."""


def telling_cells() -> list[tuple[Case, Moment]]:
    return [(case, moment) for case, moment in cells() if case.name in TELLING]
