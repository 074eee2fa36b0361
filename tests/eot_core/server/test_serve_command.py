"""``eot serve`` as a user runs it: a process, signals, an exit code."""

import argparse
import asyncio
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from gateway_client import KEY, SECRET, Client

from eot_core.cli import serve
from eot_core.protocol import EotPrediction
from eot_core.protocol.auth import Credentials, connection_headers

MAIN = """
import argparse, sys
from eot_core.cli import serve
parser = argparse.ArgumentParser()
serve.add_parser(parser.add_subparsers())
args = parser.parse_args()
sys.exit(args.run(args))
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A file that averages the waveform, so that the command is tried without anybody's weights."""
    spec = importlib.util.spec_from_file_location("tiny_onnx", Path(__file__).parents[1] / "models" / "tiny_onnx.py")
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    return str(writer.write_mean_model(tmp_path / "tiny.onnx", ["batch", 128000]))


@contextmanager
def running(*arguments: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_where_it_is_serves_and_ends_cleanly(model: str, number: signal.Signals) -> None:
    with running("--model", model, env={serve.KEYS_VARIABLE: f"{KEY}:{SECRET}"}) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert "ready at http://127.0.0.1:" in line, process.stderr.read()
        url = line.split()[-1]
        headers = connection_headers(Credentials(KEY, SECRET), now=time.time())
        async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/eot", headers=headers) as websocket:
            client = Client(websocket)
            await client.create()
            await client.audio(0.5)
            await client.start("r1")
            assert 0 <= (await client.next(EotPrediction)).probability <= 1
            process.send_signal(number)
            assert await client.closed() == 1001
        assert process.wait(20) == 0
        assert process.stdout.read() == "", "one line, and no more"
        errors = process.stderr.read()
        assert "Traceback" not in errors
        assert SECRET not in line + errors


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no key"),
        (["--key", f"onlyone{SECRET}"], 2, "key number 1 is not KEY:SECRET"),
        (["--key", f"a:{SECRET}", "--key", f"a:{SECRET}"], 2, "key number 2"),
        (["--key", f"a:{SECRET}", "--port", "70000"], 2, "--port"),
        (["--key", f"a:{SECRET}", "--max-sessions", "0"], 2, "max_sessions"),
        (["--key", f"a:{SECRET}", "--base-path", "x"], 2, "base_path"),
        (["--key", f"a:{SECRET}", "--model", "turn-detector-v1-mini"], 2, "only inside LiveKit Agents"),
        (["--key", f"a:{SECRET}", "--model", "no-such-model"], 2, "no-such-model"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(serve.KEYS_VARIABLE, raising=False)
    assert serve.run(parse(arguments)) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert SECRET not in shown.err + shown.out


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_parser(parser.add_subparsers())
    args = parser.parse_args(["serve", *arguments])
    assert args.run is serve.run
    return args


def test_an_address_that_is_taken_is_explained(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert serve.run(parse(["--key", f"a:{SECRET}", "--port", port, "--model", model])) == 1
    assert "address" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    assert serve.run(parse(["--key", f"a:{SECRET}", "--port", "0", "--model", str(broken)])) == 1
    assert "broken.onnx" in capsys.readouterr().err


def test_keys_come_from_both_places() -> None:
    assert serve.parse_keys(["a:b", " c:d:e "]) == {"a": "b", "c": "d:e"}


def test_a_signal_while_the_model_loads_ends_it_too() -> None:
    started: list[bool] = []

    class Loading:
        model = None

        async def start(self, host: str, port: int) -> None:
            started.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(3600)

        async def aclose(self) -> None:
            started.append(False)

    asyncio.run(serve._serve(Loading(), "127.0.0.1", 0))
    assert started == [True, False]
