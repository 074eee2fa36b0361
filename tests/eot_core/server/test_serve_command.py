"""``eot serve`` as a user runs it: a process, signals, an exit code."""

import argparse
import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
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


async def test_keys_change_at_sighup_and_calls_go_on(model: str, tmp_path: Path) -> None:
    file, other = tmp_path / "keys", "another-secret-that-is-long-enough"
    file.write_text(f"# who may connect\n\n{KEY}:{SECRET}\n")
    with running("--model", model, "--keys-file", str(file)) as process:
        url = url_printed(process)
        async with aiohttp.ClientSession() as http:
            client = Client(await connect(http, url, KEY, SECRET))
            await client.create()

            async def changed() -> bool:
                return await status_of(http, url, "new", other) == 101

            assert not await changed()
            file.write_text(f"new:{other}\n")
            process.send_signal(signal.SIGHUP)
            await wait_for(changed)
            assert await status_of(http, url, KEY, SECRET) == 401
            file.write_text("nonsense\n")
            process.send_signal(signal.SIGHUP)
            await client.audio(0.5)
            await client.start("r1")
            await client.next(EotPrediction)
            assert await changed(), "a file without sense changes nothing"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        errors = process.stderr.read()
        assert "the keys were read again" in errors
        assert "key number 1 is not KEY:SECRET" in errors
        assert not any(secret in errors for secret in (SECRET, other, "nonsense"))


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


def test_keys_are_read_again_at_sighup(caplog: pytest.LogCaptureFixture) -> None:
    files: list[dict[str, str] | str] = ["no key", {"new": "secret"}]
    replaced: list[dict[str, str]] = []

    def read_keys() -> dict[str, str]:
        found = files.pop(0)
        if isinstance(found, str):
            raise ValueError(found)
        return found

    class Served:
        url, model = "http://nowhere", argparse.Namespace(name="any")

        async def start(self, host: str, port: int, *, ssl_context: object) -> None:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGHUP)
                await asyncio.sleep(0.05)
            os.kill(os.getpid(), signal.SIGTERM)

        def replace_keys(self, keys: dict[str, str]) -> None:
            replaced.append(keys)

        async def aclose(self) -> None: ...

    asyncio.run(asyncio.wait_for(serve._serve(Served(), "127.0.0.1", 0, read_keys=read_keys), 20))
    assert replaced == [{"new": "secret"}]
    assert [record.getMessage() for record in caplog.records] == [
        "nothing was changed: no key",
        "the keys were read again",
    ]


def write_certificate(folder: Path, name: str) -> None:
    """cert.pem and key.pem for 127.0.0.1; made out to ``name``."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes its certificate with openssl")
    command = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name}"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run([openssl, *command.split()], cwd=folder, check=True, capture_output=True)


async def test_tls_and_a_certificate_that_is_renewed_at_sighup(model: str, tmp_path: Path) -> None:
    write_certificate(tmp_path, "first")
    tls = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    with running("--model", model, "--key", f"{KEY}:{SECRET}", *tls) as process:
        url = url_printed(process)
        assert url.startswith("https://127.0.0.1:")

        async def trusted() -> bool:
            """Whether the certificate that lies there is the one that is shown."""
            context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
                try:
                    client = Client(await connect(http, url, KEY, SECRET))
                except aiohttp.ClientConnectorCertificateError:
                    return False
                await client.create()
                return True

        assert await trusted()
        write_certificate(tmp_path, "second")
        assert not await trusted()
        process.send_signal(signal.SIGHUP)
        await wait_for(trusted)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize("mistake", ["half a pair", "keys"])
async def test_a_renewal_that_fails_leaves_certificate_and_keys_as_they_were(
    model: str, tmp_path: Path, mistake: str
) -> None:
    """A signal between the writing of the certificate and of its key is all that it takes."""
    write_certificate(tmp_path, "first")
    first, keys = tmp_path / "first.pem", tmp_path / "keys"
    shutil.copy(tmp_path / "cert.pem", first)
    keys.write_text(f"{KEY}:{SECRET}\n")
    tls = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    with running("--model", model, "--keys-file", str(keys), *tls) as process:
        url = url_printed(process)
        old_key = (tmp_path / "key.pem").read_bytes()
        write_certificate(tmp_path, "second")
        if mistake == "keys":
            keys.write_text("nonsense\n")
        else:
            (tmp_path / "key.pem").write_bytes(old_key)
        assert process.stderr is not None
        process.send_signal(signal.SIGHUP)
        assert "nothing was changed: " in await asyncio.to_thread(process.stderr.readline)
        context = ssl.create_default_context(cafile=str(first))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
            assert await status_of(http, url, KEY, SECRET) == 101


@pytest.mark.parametrize(("hard", "warned"), [(2048, False), (300, True)])
def test_the_limit_of_descriptors_is_raised_to_what_the_sessions_need(model: str, hard: int, warned: bool) -> None:
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
        assert soft == ("300" if warned else "640")
        assert ("300 descriptors" in process.stderr.read()) is warned
