"""``eot serve`` as a user runs it: a process, signals, an exit code."""

import argparse
import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import aiohttp
import pytest
from gateway_client import KEY, SECRET, Client
from serving import connect, running, status_of, url_printed, wait_for

from eot_core.cli import serve
from eot_core.protocol import EotPrediction
from eot_core.protocol.auth import Credentials, connection_headers


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
        (["--key", f"a:{SECRET}", "--grace", "-1"], 2, "--grace"),
        (["--key", f"a:{SECRET}", "--grace", "nan"], 2, "--grace"),
        (["--key", f"a:{SECRET}", "--tls-key", "/no/such/file"], 2, "--tls-key needs --tls-cert"),
        (["--key", f"a:{SECRET}", "--tls-cert", "/no/such/file"], 2, "/no/such/file cannot be used: No such file"),
        (["--key", f"a:{SECRET}", "--tls-cert", __file__], 2, f"{__file__} cannot be used: "),
        (["--keys-file", "/no/such/file"], 2, "--keys-file /no/such/file cannot be read: FileNotFoundError"),
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

        async def start(self, host: str, port: int, *, ssl_context: object) -> None:
            started.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(3600)

        async def aclose(self) -> None:
            started.append(False)

    asyncio.run(serve._serve(Loading(), "127.0.0.1", 0))
    assert started == [True, False]


async def test_with_grace_a_call_goes_on_and_no_other_begins(model: str) -> None:
    """Until it ends by itself: then the gateway need not wait any longer."""
    with running("--model", model, "--key", f"{KEY}:{SECRET}", "--grace", "600") as process:
        url = url_printed(process)
        root = url.removesuffix("/v1")
        async with aiohttp.ClientSession() as http:

            async def draining() -> bool:
                async with http.get(f"{root}/healthz") as response:
                    assert (await response.json())["status"] == ("ok" if response.status == 200 else "draining")
                    return response.status == 503

            client = Client(await connect(http, url, KEY, SECRET))
            await client.create()
            process.send_signal(signal.SIGTERM)
            await wait_for(draining)
            assert await status_of(http, url, KEY, SECRET) == 503
            await client.audio(0.5)
            await client.start("r1")
            await client.next(EotPrediction)
            await client.close()
            assert await client.closed() == 1000
        assert process.wait(20) == 0


async def test_a_second_signal_ends_the_grace(model: str) -> None:
    with running("--model", model, "--key", f"{KEY}:{SECRET}", "--grace", "600") as process:
        url = url_printed(process)
        async with aiohttp.ClientSession() as http:
            client = Client(await connect(http, url, KEY, SECRET))
            await client.create()
            process.send_signal(signal.SIGTERM)

            async def draining() -> bool:
                return await status_of(http, url, KEY, SECRET) == 503

            await wait_for(draining)
            process.send_signal(signal.SIGTERM)
            assert await client.closed() == 1001
        assert process.wait(20) == 0


async def test_refused_clients_are_in_the_log_where_it_is_asked_for(model: str) -> None:
    with running("--model", model, "--key", f"{KEY}:{SECRET}", "--log-level", "info") as process:
        url = url_printed(process)
        async with aiohttp.ClientSession() as http:
            assert await status_of(http, url, KEY, "wrong-secret-that-is-long-enough-too") == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        errors = process.stderr.read()
        assert "refused a client: bad_signature" in errors
        assert KEY not in errors


@pytest.mark.parametrize("second", [False, True])
def test_grace_ends_with_the_last_session_or_at_a_second_signal(second: bool) -> None:
    happened: list[str] = []

    class Draining:
        """A gateway that is told to go at once, and whose last session never ends where it has to be told twice."""

        url, model = "http://nowhere", argparse.Namespace(name="any")

        async def start(self, host: str, port: int, *, ssl_context: object) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        async def drain(self, grace: float) -> None:
            happened.append(f"drain {grace:g}")
            if second:
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.sleep(3600)

        async def aclose(self) -> None:
            happened.append("closed")

    asyncio.run(asyncio.wait_for(serve._serve(Draining(), "127.0.0.1", 0, grace=60.0), 20))
    assert happened == ["drain 60", "closed"]


@pytest.mark.parametrize(("hard", "warned"), [(2048, False), (300, True)])
def test_the_limit_of_descriptors_is_raised_as_far_as_it_may_be(model: str, hard: int, warned: bool) -> None:
    """A shell gives 1,024 or 256; where there are no more, asyncio writes a hundred tracebacks a second."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < hard:
        pytest.skip("fewer are allowed here")

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))

    with running("--model", model, "--key", f"{KEY}:{SECRET}", preexec_fn=few) as process:
        url_printed(process)
        limits = Path(f"/proc/{process.pid}/limits")
        if not limits.exists():
            pytest.skip("reads the limit in /proc")
        soft = next(line.split()[3] for line in limits.read_text().splitlines() if line.startswith("Max open files"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert soft == str(hard), "for those as well who all come at once, and have to be told that there is no room"
        assert ("300 descriptors" in process.stderr.read()) is warned
