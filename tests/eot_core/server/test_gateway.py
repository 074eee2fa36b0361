"""The gateway as a whole: who gets in, how many, and that nothing is left when it closes."""

import asyncio
import gc
import logging
import os
import shutil
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest
from gateway_client import KEY, KEYS, SECRET, connected, eventually, scripted

from eot_core.models.base import Model, ModelLicenseError, ModelNotInstalledError, ModelSpec
from eot_core.models.v1_mini import v1_mini_spec
from eot_core.protocol import EotPrediction
from eot_core.protocol.auth import Credentials, connection_headers, mint_token
from eot_core.server import Gateway, GatewayLimits


async def status_of(url: str, **options: Any) -> int:
    """HTTP status of an attempt to connect; 101 when it succeeds."""
    async with aiohttp.ClientSession() as http:
        try:
            async with http.ws_connect(url, **options):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_only_a_good_token_opens_the_door(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url, now = f"{gateway.ws_url}/eot", time.time()
    good = mint_token(KEY, SECRET, now=now)
    other = mint_token(KEY, "another-secret-another-secret-another", now=now)
    old = mint_token(KEY, SECRET, now=now - 7200)
    assert await status_of(url, headers=bearer(good)) == 101
    assert await status_of(url, headers={"Authorization": f"bearer {good}"}) == 101, "schemes have no case"
    refused: list[dict[str, str]] = [
        {},
        bearer(""),
        bearer("nonsense"),
        bearer(other),
        bearer(old),
        bearer(mint_token("nobody", SECRET, now=now)),
        {"Authorization": good},
        {"Authorization": f"Basic {good}"},
    ]
    assert [await status_of(url, headers=headers) for headers in refused] == [401] * len(refused)
    assert "bad_signature" in caplog.text, "the reason is logged"
    for secret in (SECRET, KEY, good, other, old):
        assert secret not in caplog.text
        assert secret not in repr(gateway)
    await eventually(lambda: gateway.sessions == 0)


async def test_a_refusal_says_why_and_shows_no_token(gateway: Gateway) -> None:
    token = mint_token(KEY, SECRET, now=time.time() - 7200)
    async with aiohttp.ClientSession() as http, http.get(f"{gateway.url}/eot", headers=bearer(token)) as response:
        body = await response.text()
    assert response.status == 401
    assert "expired" in body
    assert token not in body


async def test_paths(gateway: Gateway) -> None:
    headers = connection_headers(Credentials(KEY, SECRET), now=time.time())
    root = gateway.ws_url.removesuffix("/v1")
    assert await status_of(f"{root}/v1/eot", headers=headers) == 101
    assert await status_of(f"{root}/eot", headers=headers) == 101
    for path in ("/", "/v1", "/v2/eot", "/eot/", "/v1/eot/more"):
        assert await status_of(root + path, headers=headers) == 404
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{gateway.url.removesuffix('/v1')}/healthz") as response:
            assert await response.json() == {"status": "ok", "model": "scripted"}
        async with http.get(f"{gateway.url}/eot", headers=headers) as response:
            assert response.status == 426, "a good token, but no WebSocket"


@pytest.mark.parametrize(("base_path", "path"), [("", "/eot"), ("/a/b/", "/a/b/eot")])
async def test_the_base_path_is_configurable(base_path: str, path: str) -> None:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS, base_path=base_path) as gateway:
        assert gateway.url.startswith("http://127.0.0.1:")
        async with connected(gateway) as client:
            assert client.socket._response.url.path == path


async def test_sessions_are_counted_and_a_place_that_is_freed_is_taken() -> None:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS, limits=GatewayLimits(max_sessions=1)) as gateway:
        headers = connection_headers(Credentials(KEY, SECRET), now=time.time())
        async with connected(gateway) as client:
            await client.create()
            assert await status_of(f"{gateway.ws_url}/eot", headers=headers) == 503
            assert await status_of(f"{gateway.ws_url}/eot") == 401, "who may not come in learns nothing else"
        await eventually(lambda: gateway.sessions == 0)
        assert await status_of(f"{gateway.ws_url}/eot", headers=headers) == 101


async def test_a_full_gateway_warns_once_until_somebody_gets_in_again(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand clients that come back at once are no thousand lines."""
    caplog.set_level(logging.INFO, "eot_core.server")
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS, limits=GatewayLimits(max_sessions=1)) as gateway:
        headers = connection_headers(Credentials(KEY, SECRET), now=time.time())
        for _ in range(2):
            async with connected(gateway) as client:
                await client.create()
                for _ in range(3):
                    assert await status_of(f"{gateway.ws_url}/eot", headers=headers) == 503
            await eventually(lambda: gateway.sessions == 0)
    lines = [record.levelname for record in caplog.records if "all 1 sessions" in record.getMessage()]
    assert lines == ["WARNING", "INFO", "INFO"] * 2


def leftovers() -> tuple[int, int]:
    """Tasks of this loop, and sockets of this process."""
    gc.collect()
    sockets = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            sockets += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
        except FileNotFoundError:  # the listing's own descriptor
            continue
    return len(asyncio.all_tasks()), sockets


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
async def test_closing_tells_the_clients_and_leaves_nothing() -> None:
    gate = threading.Event()
    spec, _ = scripted(lambda pcm: float(gate.wait(20)) * 0.5)
    before = leftovers()
    gateway = Gateway(spec, keys=KEYS)
    await gateway.start()
    try:
        async with connected(gateway) as busy, connected(gateway) as idle, connected(gateway) as new:
            await idle.create()
            await busy.create()
            await busy.audio(0.1)
            await busy.start("r1")
            closing = asyncio.create_task(gateway.aclose())
            assert [await client.closed() for client in (busy, idle, new)] == [1001] * 3
            await closing
            await gateway.aclose()
    finally:
        gate.set()
    assert gateway.sessions == 0
    await eventually(lambda: leftovers() == before)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
async def test_closing_does_not_wait_for_a_client_that_hangs() -> None:
    spec, _ = scripted()
    before = leftovers()
    gateway = Gateway(spec, keys=KEYS, limits=GatewayLimits(close_timeout=0.1))
    await gateway.start()
    async with connected(gateway, autoclose=False, autoping=False) as client:
        await client.create()
        await asyncio.wait_for(gateway.aclose(), 20)
        assert gateway.sessions == 0
    await eventually(lambda: leftovers() == before)


async def test_life_cycle() -> None:
    spec, _ = scripted()
    gateway = Gateway(spec, keys=KEYS)
    with pytest.raises(RuntimeError, match="await start"):
        _ = gateway.url
    await gateway.aclose()
    await gateway.start("0.0.0.0")
    assert gateway.ws_url.startswith("ws://127.0.0.1:")
    with pytest.raises(RuntimeError, match="already"):
        await gateway.start()
    async with gateway, connected(gateway) as client:
        await client.create()
        assert repr(gateway) == f"<Gateway scripted at {gateway.url}, 1 sessions>"


async def test_an_address_that_is_taken_is_an_error_and_leaves_nothing(gateway: Gateway) -> None:
    spec, _ = scripted()
    port = int(gateway.url.removesuffix("/v1").rsplit(":", 1)[1])
    second = Gateway(spec, keys=KEYS)
    with pytest.raises(OSError, match="address"):
        await second.start("127.0.0.1", port)
    await second.start()
    await second.aclose()


async def test_a_model_that_is_not_installed_is_an_error_before_listening() -> None:
    def load() -> Model:
        raise ModelNotInstalledError("pip install it")

    spec = ModelSpec("missing", "tests", "MIT", 1.0, load, 0.5)
    with pytest.raises(ModelNotInstalledError, match="pip install it"):
        await Gateway(spec, keys=KEYS).start()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A folder with cert.pem and key.pem, for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes its certificate with openssl")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run([openssl, *command.split()], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


async def test_tls(certificate: Path) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    spec, _ = scripted()
    gateway = Gateway(spec, keys=KEYS)
    await gateway.start(ssl_context=server_side)
    async with gateway:
        assert gateway.ws_url.startswith("wss://")
        trusting = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
        async with connected(gateway, ssl=trusting) as client:
            await client.create()
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            async with connected(gateway):
                pass


@pytest.mark.parametrize("model", ["turn-detector-v1-mini", "v1-mini"])
def test_v1_mini_is_refused_by_name(model: str) -> None:
    with pytest.raises(ModelLicenseError, match="only inside LiveKit Agents"):
        Gateway(model, keys=KEYS)


def test_v1_mini_is_refused_as_a_spec() -> None:
    spec = v1_mini_spec(load=lambda: pytest.fail("loaded"), check=lambda: None)
    with pytest.raises(ModelLicenseError, match="only inside LiveKit Agents"):
        Gateway(spec, keys=KEYS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": {}}, "keys must have"),
        ({"keys": None}, "keys must have"),
        ({"keys": {"": "secret"}}, "api_key"),
        ({"keys": {"key": ""}}, "api_secret"),
        ({"keys": KEYS, "base_path": "v1"}, "base_path"),
        ({"keys": KEYS, "base_path": 1}, "base_path"),
        ({"keys": KEYS, "limits": 5}, "limits must be GatewayLimits, got int"),
        ({"keys": KEYS, "base_path": "/{x}"}, "base_path"),
        ({"keys": KEYS, "model": "no-such-model"}, "no-such-model"),
        ({"keys": KEYS, "model": scripted(default_threshold=0.0)[0]}, "default threshold of scripted is 0"),
    ],
)
def test_arguments_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Gateway(**options)


@pytest.mark.parametrize("name", ["max_sessions", "max_outgoing", "idle_timeout", "send_timeout"])
@pytest.mark.parametrize("value", [0, -1, None, "1", float("nan")])
def test_limits_are_checked(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        GatewayLimits(**{name: value})


async def test_a_gateway_can_be_made_to_misbehave() -> None:
    class Misbehaving(Gateway):
        async def handle_websocket(self, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
            return aiohttp.web.Response(status=429)

    spec, _ = scripted()
    headers = connection_headers(Credentials(KEY, SECRET), now=time.time())
    async with Misbehaving(spec, keys=KEYS) as gateway:
        assert await status_of(f"{gateway.ws_url}/eot", headers=headers) == 429
        assert gateway.sessions == 0


async def test_smart_turn_scores_over_the_wire() -> None:
    gateway = Gateway("smart-turn-v3.2", keys=KEYS)
    if not gateway.model.is_available():
        pytest.skip("smart-turn's weights come with pipecat-ai")
    async with gateway, connected(gateway) as client:
        created = await client.create()
        assert created.calibration.thresholds["en"] == 0.5
        assert len(created.calibration.thresholds) == 23
        await client.audio(2.0)
        await client.start("r1")
        prediction = await client.next(EotPrediction)
        assert 0 <= prediction.probability <= 1
        assert prediction.stats.inference_duration > 0
        assert prediction.stats.server_e2e_latency >= prediction.stats.inference_duration
