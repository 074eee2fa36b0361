"""How a stream reaches the cloud from inside LiveKit, and what LiveKit hears of a fallback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import aiohttp
import pytest
from livekit.agents import APIConnectOptions, LanguageCode
from livekit.agents.metrics import EOTInferenceMetrics
from livekit.agents.utils import http_context
from livekit_kit import Gateway, credentials, frame, noise, until

from adapters.livekit import TurnDetector
from eot_core import BackchannelOpportunity, FallbackOccurred, FallbackOptions


def closed_port() -> str:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


async def test_the_gateway_answers_and_livekit_gets_the_metrics(gateway: Gateway) -> None:
    detector = TurnDetector(**credentials(gateway))
    metrics: list[EOTInferenceMetrics] = []
    detector.on("metrics_collected", metrics.append)
    stream = detector.stream()
    assert (detector.model, stream.model) == ("turn-detector-v1", "turn-detector-v1")
    stream.push_audio(frame(noise(1.0, rate=24_000), 24_000))
    event = await stream.predict()
    assert event.end_of_turn_probability == pytest.approx(0.9)
    assert await stream.unlikely_threshold(LanguageCode("de-DE")) == pytest.approx(0.5)
    assert gateway.seconds == pytest.approx(1.0, abs=0.01)
    (only,) = metrics
    assert only.metadata is not None
    assert (only.metadata.model_name, only.metadata.model_provider) == ("turn-detector-v1", "livekit")
    await stream.aclose()


async def test_the_handshake_names_the_agent_as_livekit_does(gateway: Gateway) -> None:
    stream = TurnDetector(**credentials(gateway)).stream()
    await until(lambda: gateway.headers)
    (headers,) = gateway.headers
    assert headers["User-Agent"].startswith("LiveKit Agents/")
    assert headers["Authorization"].startswith("Bearer ")
    await stream.aclose()


async def test_inside_a_job_its_http_session_is_used_and_outside_one_of_our_own(gateway: Gateway) -> None:
    detector = TurnDetector(**credentials(gateway))
    async with http_context.open() as of_the_job:
        of_the_job.headers["X-Job"] = "yes"
        inside = detector.stream()
        await until(lambda: len(gateway.headers) == 1)
        await inside.aclose()
        assert not of_the_job.closed
    outside = detector.stream()
    await until(lambda: len(gateway.headers) == 2)
    await outside.aclose()
    assert [headers.get("X-Job") for headers in gateway.headers] == ["yes", None]


async def test_an_http_session_that_is_given_comes_first(gateway: Gateway) -> None:
    async with aiohttp.ClientSession(headers={"X-Mine": "yes"}) as mine, http_context.open():
        stream = TurnDetector(**credentials(gateway), http_session=mine).stream()
        await until(lambda: gateway.headers)
        assert gateway.headers[0]["X-Mine"] == "yes"
        await stream.aclose()
        assert not mine.closed


async def test_a_fallback_is_announced_and_metrics_name_the_model_that_answered() -> None:
    detector = TurnDetector(**credentials(closed_port()))
    heard: list[Any] = []
    detector.on("fallback", heard.append)
    detector.on("metrics_collected", heard.append)
    stream = detector.stream()
    stream.push_audio(frame(noise(1.2)))
    event = await stream.predict()
    assert 0.0 < event.end_of_turn_probability < 1.0
    fallback, metrics = heard
    assert isinstance(fallback, FallbackOccurred)
    assert (fallback.from_model, fallback.to_model) == ("turn-detector-v1", "turn-detector-v1-mini")
    assert isinstance(metrics, EOTInferenceMetrics)
    assert metrics.metadata is not None
    assert metrics.metadata.model_name == "turn-detector-v1-mini"
    assert stream.is_fallback
    assert stream.model == detector.model == "turn-detector-v1-mini"
    other = detector.stream()  # which tries the cloud
    assert detector.model == other.model == "turn-detector-v1"
    await other.aclose()
    await stream.aclose()
    assert detector.model == "turn-detector-v1"


async def test_without_a_local_fallback_turns_end_on_the_delays() -> None:
    stream = TurnDetector(**credentials(closed_port()), local_fallback=False).stream()
    stream.push_audio(frame(noise(1.2)))
    assert (await stream.predict()).end_of_turn_probability == 1.0
    assert 0.0 <= await stream.unlikely_threshold(None) <= 1.0
    assert stream.is_degraded
    await stream.aclose()


@pytest.mark.parametrize("local_fallback", [True, False])
async def test_it_is_degraded_only_where_nobody_is_left(gateway: Gateway, local_fallback: bool) -> None:
    stream = TurnDetector(**credentials(gateway), local_fallback=local_fallback).stream()
    assert not stream.is_degraded
    await until(lambda: gateway.headers and stream._core.thresholds.calibration is not None)
    await gateway.die()
    await until(lambda: stream.is_fallback)
    assert stream.is_degraded is not local_fallback
    await stream.aclose()


async def test_connection_options_are_honoured() -> None:
    """LiveKit's own detector discards them."""
    detector = TurnDetector(
        **credentials("http://127.0.0.1:9/v1"),
        conn_options=APIConnectOptions(max_retry=2, retry_interval=0.2, timeout=3.0),
    )
    core = detector._core
    assert core._cloud is not None
    assert core._cloud.connect_timeout == 3.0
    assert (core._fallback.retries, core._fallback.retry_interval) == (2, 0.2)
    stream = detector.stream(conn_options=APIConnectOptions(max_retry=0, retry_interval=0.1, timeout=0.5))
    assert stream._core._session._options.fallback.retries == 0
    await stream.aclose()
    assert core._cloud.connect_timeout == 3.0
    assert TurnDetector(**credentials("http://127.0.0.1:9/v1"))._core._fallback.retries == 0
    explicit = TurnDetector(
        **credentials("http://127.0.0.1:9/v1"),
        conn_options=APIConnectOptions(max_retry=9),
        fallback=FallbackOptions(retries=1),
    )
    assert explicit._core._fallback.retries == 1


async def test_a_refused_connection_is_tried_again_as_often_as_asked(gateway: Gateway) -> None:
    gateway.refuse = 503
    options = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=3.0)
    detector = TurnDetector(**credentials(gateway), conn_options=options)
    fallbacks: list[FallbackOccurred] = []
    detector.on("fallback", fallbacks.append)
    stream = detector.stream()
    await until(lambda: fallbacks)
    assert len(gateway.headers) == 3
    await stream.aclose()


async def test_a_connection_that_takes_too_long_is_given_up(gateway: Gateway) -> None:
    gateway.hold.clear()
    detector = TurnDetector(**credentials(gateway), conn_options=APIConnectOptions(max_retry=0, timeout=0.1))
    stream = detector.stream()
    await until(lambda: stream.is_fallback)
    await stream.aclose()


async def test_backchannels_are_announced(gateway: Gateway) -> None:
    from dataclasses import replace

    gateway.calibration = replace(gateway.calibration, default_backchannel_threshold=0.3)
    gateway.backchannel = 0.8
    detector = TurnDetector(**credentials(gateway))
    opportunities: list[BackchannelOpportunity] = []
    detector.on("backchannel_opportunity", opportunities.append)
    stream = detector.stream()
    stream.push_audio(frame(noise(1.0)))
    event = await stream.predict()
    assert event.backchannel_probability == pytest.approx(0.8)
    assert await stream.backchannel_threshold(None) == pytest.approx(0.3)
    assert len(opportunities) == 1
    await asyncio.sleep(0)
    await stream.aclose()
