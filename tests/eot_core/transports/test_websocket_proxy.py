"""Through the proxy that the environment names, as the STT's, the LLM's and the TTS's clients go."""

from __future__ import annotations

import asyncio
import base64
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import pytest
from far_end import FarEnd
from websocket_rig import Authority, Left, behave, eventually, make_authority, opened, request, tone

from eot_core.transports.proxy import proxy_of

PASSWORD = "proxy-password"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "WSS_PROXY", "HTTP_PROXY", "WS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Proxy:
    """An HTTP proxy on a free port of the loopback; whatever host is asked for, ``port`` of the loopback answers."""

    def __init__(self, port: int, status: int = 200) -> None:
        self._to = port
        self._status = status
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.heads: list[str] = []
        """What each client asked for, up to the empty line."""
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._run(reader, writer), name="far end proxy")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        writer.write(f"HTTP/1.1 {self._status} as asked\r\n\r\n".encode())
        if self._status == 200:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._to)
            try:
                await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))
            finally:
                up_writer.close()
                writer.close()
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # one end has gone: so does the other
    writer.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)


async def _proxied(
    stack: AsyncExitStack, authority: Authority, status: int = 200
) -> tuple[Proxy, str, dict[str, object]]:
    """A gateway whose name nobody but the proxy resolves: proxy, URL, options of the transport."""
    far = await stack.enter_async_context(FarEnd(behave, tls=authority.server()))
    proxy = await stack.enter_async_context(Proxy(far.port, status))
    trust = authority.client()
    trust.check_hostname = False  # the certificate is 127.0.0.1's
    return proxy, "https://gateway.invalid/v1", {"ssl": trust}


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "WSS_PROXY", "ALL_PROXY"])
async def test_a_gateway_behind_the_environment_s_proxy(
    variable: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Left.now()
    async with AsyncExitStack() as stack:
        proxy, url, options = await _proxied(stack, authority)
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        async with opened(url, **options) as (transport, sink):
            transport.push_audio(tone(0.1), 1.0)
            transport.start(request("a"))
            await eventually(lambda: sink.answers or sink.failures)
            assert sink.failures == []
        assert [head.split("\r\n")[0] for head in proxy.heads] == ["CONNECT gateway.invalid:443 HTTP/1.1"]
        assert "authorization" not in proxy.heads[0].lower(), "the gateway's key is none of the proxy's business"
    await asyncio.sleep(0.05)
    assert before.more() == []


async def test_a_proxy_with_a_password(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with AsyncExitStack() as stack:
        proxy, url, options = await _proxied(stack, authority)
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}")
        async with opened(url, **options) as (_, sink):
            await eventually(lambda: sink.ready or sink.failures)
        assert sink.failures == []
        proof = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        assert f"Proxy-Authorization: Basic {proof}" in proxy.heads[0]
    assert PASSWORD not in caplog.text
    assert proof not in caplog.text


@pytest.mark.parametrize(("status", "lasting"), [(407, True), (403, True), (502, False)])
async def test_a_proxy_that_refuses(
    status: int, lasting: bool, authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with AsyncExitStack() as stack:
        proxy, url, options = await _proxied(stack, authority, status)
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}")
        async with opened(url, **options) as (_, sink):
            await eventually(lambda: sink.failures)
        assert sink.failures == [(f"proxy_http_{status}", not lasting)]
    assert PASSWORD not in caplog.text


async def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Proxy(0) as gone:
        port = gone.port
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    async with opened("https://gateway.invalid/v1") as (_, sink):
        await eventually(lambda: sink.failures)
    assert sink.failures == [("proxy_connect_error", True)]


async def test_a_gateway_on_this_machine_is_reached_directly(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with FarEnd(behave, tls=authority.server()) as far, opened(far.url, ssl=authority.client()) as (_, sink):
        await eventually(lambda: sink.ready or sink.failures)
    assert sink.failures == []


async def test_a_session_of_the_caller_s_goes_its_own_way(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        proxy, url, options = await _proxied(stack, authority)
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        through = f"http://127.0.0.1:{proxy.port}"
        http = await stack.enter_async_context(aiohttp.ClientSession(proxy=through))
        async with opened(url, http_session=http, **options) as (_, sink):
            await eventually(lambda: sink.ready or sink.failures)
        assert sink.failures == []
        assert len(proxy.heads) == 1


@pytest.mark.parametrize(
    ("env", "url", "expected"),
    [
        ({}, "wss://gateway.example/v1/eot", None),
        ({"https": "http://proxy:3128"}, "wss://gateway.example/v1/eot", "http://proxy:3128"),
        ({"https": "https://proxy"}, "wss://gateway.example/v1/eot", "https://proxy"),
        ({"https": "proxy:3128"}, "wss://gateway.example/v1/eot", "http://proxy:3128"),
        ({"https": "http://one", "wss": "http://two"}, "wss://gateway.example/v1/eot", "http://two"),
        ({"http": "http://proxy:3128"}, "wss://gateway.example/v1/eot", None),
        ({"http": "http://p", "https": "http://p", "all": "http://p"}, "ws://gateway.example/v1/eot", None),
        ({"all": "socks5://proxy:1080"}, "wss://gateway.example/v1/eot", None),
        ({"https": ""}, "wss://gateway.example/v1/eot", None),
        ({"https": "http://proxy", "no": "gateway.example"}, "wss://gateway.example/v1/eot", None),
        ({"https": "http://proxy", "no": "other.example"}, "wss://gateway.example/v1/eot", "http://proxy"),
        ({"https": "http://proxy", "no": ".example"}, "wss://gateway.example:8443/eot", None),
        ({"https": "http://proxy", "no": "*"}, "wss://gateway.example/v1/eot", None),
        ({"https": "http://proxy"}, "wss://localhost:8443/eot", None),
        ({"https": "http://proxy"}, "wss://127.0.0.2/eot", None),
        ({"https": "http://proxy"}, "wss://[::1]:8443/eot", None),
        ({"https": "http://proxy"}, "wss://10.0.0.1/eot", "http://proxy"),
    ],
)
def test_which_proxy(env: dict[str, str], url: str, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme, value in env.items():
        monkeypatch.setenv(f"{scheme}_proxy", value)
    assert proxy_of(url) == expected
