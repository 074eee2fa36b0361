"""``eot serve`` reads keys and certificate again: without ending a call, and whole or not at all."""

import argparse
import asyncio
import os
import shutil
import signal
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest
from gateway_client import KEY, SECRET, Client
from serving import connect, running, status_of, url_printed, wait_for

from eot_core.cli import serve
from eot_core.protocol import EotPrediction


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
