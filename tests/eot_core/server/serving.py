"""``eot serve`` as a process, and clients that come to it."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import aiohttp

from eot_core.protocol.auth import Credentials, connection_headers

MAIN = """
import argparse, sys
from eot_core.cli import serve
parser = argparse.ArgumentParser()
serve.add_parser(parser.add_subparsers())
args = parser.parse_args()
sys.exit(args.run(args))
"""


@contextmanager
def running(
    *arguments: str, env: dict[str, str] | None = None, preexec_fn: Callable[[], None] | None = None
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        preexec_fn=preexec_fn,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


async def connect(http: aiohttp.ClientSession, url: str, key: str, secret: str) -> aiohttp.ClientWebSocketResponse:
    headers = connection_headers(Credentials(key, secret), now=time.time())
    return await http.ws_connect(f"{url}/eot", headers=headers)


async def status_of(http: aiohttp.ClientSession, url: str, key: str, secret: str) -> int:
    try:
        await (await connect(http, url, key, secret)).close()
    except aiohttp.WSServerHandshakeError as error:
        return error.status
    return 101


def url_printed(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert "ready at" in line, process.stderr.read()
    return line.split()[-1]


async def wait_for(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(0.02)
