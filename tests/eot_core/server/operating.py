"""What somebody sees of a gateway from outside: its pages, its figures, and how it refuses."""

import time

import aiohttp
import aiohttp.web
import pytest
from gateway_client import KEY, SECRET

from eot_core.protocol.auth import Credentials, connection_headers
from eot_core.server import Gateway


def root_of(gateway: Gateway) -> str:
    return gateway.url.removesuffix("/v1")


async def fetch(gateway: Gateway, path: str, **headers: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as http, http.get(root_of(gateway) + path, headers=headers) as response:
        return response.status, response.headers["Content-Type"], await response.text()


async def figures(gateway: Gateway) -> dict[str, float]:
    """The page, without the model's label: 'name{labels}' -> value."""
    parser = pytest.importorskip("prometheus_client.parser")
    status, _, text = await fetch(gateway, "/metrics")
    assert status == 200
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("model", "scripted") == "scripted"
            assert sample.name.startswith(("eot_gateway_", "process_"))
            shown = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
            found[sample.name.removeprefix("eot_gateway_") + (f"{{{shown}}}" if shown else "")] = sample.value
    return found


async def refused(gateway: Gateway, key: str = KEY, secret: str = SECRET) -> int:
    headers = connection_headers(Credentials(key, secret), now=time.time())
    async with aiohttp.ClientSession() as http:
        try:
            async with http.ws_connect(f"{gateway.ws_url}/eot", headers=headers):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status
