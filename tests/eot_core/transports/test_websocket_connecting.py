"""Where the WebSocket transport connects to, as whom, and through what."""

from __future__ import annotations

import time
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from far_end import FarEnd
from livekit.protocol.agent_pb import agent_inference as pb
from websocket_rig import audio_of, behave, eventually, make_authority, opened, request, tone

from eot_core.protocol.auth import verify_token
from eot_core.transports.websocket import eot_url


async def test_it_proves_who_it_is() -> None:
    async with FarEnd(behave) as far:
        async with opened(far.url, headers=lambda: {"X-LiveKit-Room-ID": "RM_1"}) as (_, sink):
            await eventually(lambda: sink.ready)
        headers = far.connections[0].headers
    token = headers["authorization"].removeprefix("Bearer ")
    assert verify_token(token, {"APIwebsocket": "a-secret-that-is-long-enough-for-hs256"}, now=time.time())
    assert headers["x-livekit-room-id"] == "RM_1"
    assert headers["user-agent"].startswith("eot-adapters/")


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 24_000, 44_100, 48_000])
async def test_the_sample_rate_on_the_wire(sample_rate: int) -> None:
    async with FarEnd(behave) as far:
        async with opened(far.url, sample_rate=sample_rate) as (transport, sink):
            for begin in range(0, 16_000, 800):
                transport.push_audio(tone(1.0)[begin : begin + 800], 1.0)
            transport.start(request("a"))
            await eventually(lambda: sink.answers)
        (connection,) = far.connections
        assert connection.received[0].session_create.settings.sample_rate == sample_rate
        assert connection.received[0].session_create.settings.encoding == pb.AUDIO_ENCODING_PCM_S16LE
        audio = audio_of(connection)
        assert abs(len(audio) - sample_rate) <= 1, "to the last sample: the request closes the resampler's filter"
        hertz = int(np.argmax(np.abs(np.fft.rfft(audio, n=sample_rate))))
        assert hertz == pytest.approx(0.2 / (2 * np.pi) * 16_000, abs=1.5)


@pytest.mark.parametrize("callable_", [False, True])
async def test_a_given_http_session_is_used_and_not_closed(callable_: bool) -> None:
    async with aiohttp.ClientSession(headers={"X-Mine": "yes"}) as http, FarEnd(behave) as far:
        async with opened(far.url, http_session=(lambda: http) if callable_ else http) as (_, sink):
            await eventually(lambda: sink.ready)
        assert far.connections[0].headers["x-mine"] == "yes"
        assert not http.closed


async def test_a_callable_without_a_session_means_one_of_its_own() -> None:
    async with FarEnd(behave) as far, opened(far.url, http_session=lambda: None) as (_, sink):
        await eventually(lambda: sink.ready)


async def test_wss_with_a_private_ca(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    async with FarEnd(behave, tls=authority.server()) as far:
        assert far.url.startswith("wss://")
        async with opened(far.url, ssl=authority.client()) as (transport, sink):
            await eventually(lambda: sink.ready)
            transport.push_audio(tone(0.1), 1.0)
            transport.start(request("a"))
            await eventually(lambda: sink.answers)
        async with opened(far.url) as (_, sink):
            await eventually(lambda: sink.failures)
            assert sink.failures == [("tls_error", False)], "no system trusts this CA"
        async with opened(far.url, ssl=False) as (_, sink):
            await eventually(lambda: sink.ready)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("ws://host/v1", "ws://host/v1/eot"),
        ("wss://host/v1/", "wss://host/v1/eot"),
        ("http://host:80", "ws://host:80/eot"),
        ("https://host/a/b//", "wss://host/a/b/eot"),
    ],
)
def test_where_it_connects(base: str, expected: str) -> None:
    assert eot_url(base) == expected


async def test_http_urls(tmp_path: Path) -> None:
    async with FarEnd(behave) as far, opened(far.url.replace("ws", "http", 1)) as (_, sink):
        await eventually(lambda: sink.ready)
    authority = make_authority(tmp_path)
    async with (
        FarEnd(behave, tls=authority.server()) as far,
        opened(far.url.replace("wss", "https", 1), ssl=authority.client()) as (_, sink),
    ):
        await eventually(lambda: sink.ready)
