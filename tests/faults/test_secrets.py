"""What opens the door is never written down: not in a log at DEBUG, a repr, an exception, an event or a metric."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import virtual_time
from fakes import FakeModel, fake_spec
from far_end import CLOSE, Connection, FarEnd, created, error
from fault_cases import Case, Moment, cells
from fault_cell import KEY, SECRET, Mode

from eot_core import TurnDetector
from eot_core.cloud import CloudOptions, select
from eot_core.protocol.auth import Credentials, connection_headers, mint_token
from eot_core.transports.websocket import WebSocketTransport

NOISE = (np.random.default_rng(0).standard_normal(1_600) * 3000).astype(np.int16)
WORKER_TOKEN = "worker-token-of-a-hosted-agent"
JWT = re.compile(r"eyJ[\w-]{8,}")

TOLD = (
    "refused",
    "DNS failure",
    "TLS failure",
    "HTTP 401",
    "garbage for HTTP",
    "reset in the HTTP handshake",
    "hangs: no HTTP answer",
    "close 1011 in mid-stream",
    "garbage for a message",
    "thresholds: NaN",
    "error 500",
    "probability NaN",
    "our end closes",
)


def assert_clean(text: str, where: str) -> None:
    for name, secret in (("key", KEY), ("secret", SECRET), ("worker token", WORKER_TOKEN)):
        assert secret not in text, f"the {name} is in {where}"
    assert not JWT.search(text), f"a token is in {where}"


class _Everything(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # Tracebacks as they are printed, and whatever an exporter would find in the record.
        self.lines.append(f"{self.format(record)} {vars(record)!r}")


@pytest.fixture
def written(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Everything is logged, and looked at when the test is over."""
    loggers = [logging.getLogger(name) for name in ("", "eot_core", "adapters", "aiohttp", "asyncio", "livekit")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    everything = _Everything()
    loggers[0].addHandler(everything)
    yield
    loggers[0].removeHandler(everything)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    assert any(line.startswith("eot_core") for line in everything.lines), "nothing was logged: nothing was looked at"
    for line in everything.lines:
        assert_clean(line, f"a log record: {line[:60]}")
    output, errors = capfd.readouterr()
    assert_clean(output + errors, "what was printed")


def _id(cell: tuple[Case, Moment]) -> str:
    return f"{cell[0].name}, {cell[1].value}"


_CELLS = [cell for cell in cells() if cell[0].name in TOLD and cell[1] is Moment.FLIGHT]


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("half", ["stream", "session"])
@pytest.mark.parametrize("cell", _CELLS, ids=_id)
def test_no_failure_tells(cell: tuple[Case, Moment], half: str) -> None:
    if half == "stream":
        from through_stream import through_stream as through
    else:
        pytest.importorskip("livekit.agents")
        from through_agent_session import through_agent_session as through
    row = virtual_time.run(lambda: through(*cell, Mode.FALLBACK))
    assert_clean(repr(row), "a row")
    logging.getLogger("eot_core").debug("looked at")


async def everything_that_can_be_shown(url: str) -> list[object]:
    """A detector's life with an answer, a failure, and all events and metrics."""
    shown: list[object] = []
    detector = TurnDetector(
        version="v1",
        base_url=url,
        api_key=KEY,
        api_secret=SECRET,
        headers={"X-LiveKit-Worker-Token": WORKER_TOKEN},
        fallback_model=fake_spec(FakeModel(0.75)),
    )
    for event in ("prediction", "fallback", "backchannel_opportunity"):
        detector.on(event, shown.append)
    stream = detector.stream()
    await asyncio.sleep(0.1)
    for _ in range(2):
        stream.push_audio(NOISE)
        shown.append(await stream.predict())
        stream.flush()
    shown += [detector, detector.describe_options(), detector.selected_because, stream, stream.thresholds]
    shown += [vars(detector), stream._session, [task.get_coro() for task in asyncio.all_tasks()], asyncio.all_tasks()]
    shown += [each for each in gc.get_objects() if isinstance(each, WebSocketTransport | CloudOptions)]
    await stream.aclose()
    return shown


@pytest.mark.usefixtures("written")
def test_a_far_end_that_gives_our_own_words_back() -> None:
    """Servers quote requests in their errors."""

    async def echo(connection: Connection) -> None:
        token = connection.headers["authorization"]
        assert connection.headers["x-livekit-worker-token"] == WORKER_TOKEN
        await connection.accept()
        await connection.until("session_create")
        await connection.send(created())
        await connection.until("inference_start")
        await connection.send(error(403, f"refused {token}, key {KEY}, {SECRET} and {WORKER_TOKEN}"))
        await connection.frame(CLOSE, (1008).to_bytes(2, "big") + token[:80].encode())
        await connection.serve()

    async def scenario() -> list[object]:
        async with FarEnd(echo) as far:
            return await everything_that_can_be_shown(far.url)

    shown = virtual_time.run(scenario)
    assert "error_403" in repr(shown)
    for each in shown:
        assert_clean(repr(each) + str(each), type(each).__name__)


@pytest.mark.usefixtures("written")
def test_a_refusal_that_quotes_the_request() -> None:
    async def refuse(connection: Connection) -> None:
        token = connection.headers["authorization"]
        body = f"bad token {token}"
        head = f"HTTP/1.1 401 {token}\r\nX-Echo: {token}\r\nContent-Length: {len(body)}\r\n\r\n"
        await connection.raw((head + body).encode())

    async def scenario() -> list[object]:
        async with FarEnd(refuse) as far:
            return await everything_that_can_be_shown(far.url)

    shown = virtual_time.run(scenario)
    assert "http_401" in repr(shown)
    for each in shown:
        assert_clean(repr(each) + str(each), type(each).__name__)


@pytest.mark.usefixtures("written")
def test_headers_that_cannot_be_sent() -> None:
    async def scenario() -> list[object]:
        async with FarEnd(lambda connection: connection.serve()) as far:
            detector = TurnDetector(
                version="v1",
                base_url=far.url,
                api_key=KEY,
                api_secret=SECRET,
                headers={"X-LiveKit-Worker-Token": f"{WORKER_TOKEN}\r\n"},
                fallback_model=fake_spec(FakeModel(0.75)),
            )
            stream = detector.stream()
            await asyncio.sleep(0.1)
            assert stream.is_fallback
            await stream.aclose()
            return [detector, stream]

    for each in virtual_time.run(scenario):
        assert_clean(repr(each), type(each).__name__)


def _wrong_calls() -> list[Any]:
    good: dict[str, Any] = {"version": "v1", "base_url": "ws://host", "api_key": KEY, "api_secret": SECRET}
    return [
        lambda: TurnDetector(**{**good, "base_url": f"https://{KEY}:{SECRET}@host"}),
        lambda: TurnDetector(**{**good, "base_url": f"ftp://{KEY}:{SECRET}@host"}),
        lambda: TurnDetector(**{**good, "base_url": f"https://{KEY}:{SECRET}@host:port"}),
        lambda: TurnDetector(**{**good, "connect_timeout": -1}),
        lambda: TurnDetector(**{**good, "unlikely_threshold": 7}),
        lambda: TurnDetector(**{**good, "api_secret": ""}),
        lambda: CloudOptions("nowhere", KEY, SECRET),
        lambda: CloudOptions("ws://host", KEY, SECRET, sample_rate=1),
        lambda: select(version="v1", base_url=None, api_key=KEY, api_secret=None, env={}),
        lambda: Credentials(KEY, ""),
        lambda: mint_token(KEY, SECRET, now=0.0, ttl=-1),
        lambda: connection_headers(Credentials(KEY, SECRET), now=0.0, extra={"X": f"{WORKER_TOKEN}\n"}),
    ]


@pytest.mark.parametrize("call", _wrong_calls())
def test_errors_do_not_quote_them(call: Any) -> None:
    with pytest.raises((ValueError, TypeError)) as raised:
        call()
    assert_clean(f"{raised.value} {raised.value!r}", "an exception")


def test_reprs_do_not_show_them() -> None:
    token = mint_token(KEY, SECRET, now=0.0)
    assert token.startswith("eyJ"), "the pattern would find one"
    options = CloudOptions("ws://host", KEY, SECRET, headers={"X-LiveKit-Worker-Token": WORKER_TOKEN})
    headers = connection_headers(Credentials(KEY, SECRET), now=0.0, extra={"X-LiveKit-Worker-Token": WORKER_TOKEN})
    chosen = select(version="v1", base_url=None, api_key=KEY, api_secret=SECRET, env={})
    for each in (options, headers, chosen, Credentials(KEY, SECRET), token):
        assert_clean(repr(each), type(each).__name__)


def test_metrics_and_usage_of_an_agent_session_do_not_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("livekit.agents")
    from adapters.livekit import TurnDetector as LiveKitTurnDetector

    monkeypatch.setenv("LIVEKIT_WORKER_TOKEN", WORKER_TOKEN)

    async def scenario() -> list[object]:
        from livekit import rtc

        async def behave(connection: Connection) -> None:
            await connection.accept()
            await connection.serve()

        async with FarEnd(behave) as far:
            detector = LiveKitTurnDetector(version="v1", base_url=far.url, api_key=KEY, api_secret=SECRET)
            shown: list[object] = [detector, detector.describe_options()]
            for event in ("metrics_collected", "prediction", "fallback", "backchannel_opportunity"):
                detector.on(event, shown.append)
            stream = detector.stream()
            stream.push_audio(rtc.AudioFrame(NOISE.tobytes(), 16_000, 1, len(NOISE)))
            shown += [await stream.predict(), stream]
            await stream.aclose()
            return shown

    shown = virtual_time.run(scenario)
    assert len(shown) == 6
    for each in shown:
        assert_clean(repr(each) + str(each), type(each).__name__)
