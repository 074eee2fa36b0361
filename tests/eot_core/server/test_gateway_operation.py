"""What somebody needs who runs a gateway: metrics, health, keys that change, an end that loses nothing."""

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import numpy as np
import pytest
from gateway_client import KEY, KEYS, SECRET, Client, ScriptedModel, connected, eventually, scripted

from eot_core import TurnDetector
from eot_core.clock import ManualClock
from eot_core.cpu import worker_count
from eot_core.models.base import PcmArray
from eot_core.protocol import EotPrediction, InferenceStarted, InferenceStopped, ServerError, SessionClosed
from eot_core.protocol.auth import Credentials, connection_headers
from eot_core.server import Gateway, GatewayLimits
from eot_core.server.admission import Admission
from eot_core.server.counts import BOUNDS, Durations
from eot_core.server.keys import KeyRing
from eot_core.server.lag import PERIOD, LagWatch
from eot_core.vad import SileroVAD


class Gate:
    """An answer that waits until the test lets it go."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, pcm: PcmArray) -> float:
        self.entered.set()
        assert self.open.wait(20)
        return 0.5


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


# ---- metrics


async def test_metrics_tell_what_came_of_sessions_and_requests() -> None:
    gate = Gate()
    answers: list[Any] = [0.75, float("nan"), gate]
    spec, _ = scripted(lambda pcm: answers[0](pcm) if callable(answers[0]) else answers[0])
    limits = GatewayLimits(max_sessions=2)
    async with Gateway(spec, keys=KEYS, limits=limits) as gateway:
        assert (await figures(gateway))["sessions_limit"] == 2
        async with connected(gateway) as client, connected(gateway) as other:
            assert await refused(gateway) == 503
            assert await refused(gateway, secret="wrong" * 8) == 401
            await client.create()
            await client.start("silence")
            await client.next(EotPrediction)
            await client.audio(1.0)
            await client.start("r1")
            await client.next(EotPrediction)
            answers.pop(0)
            await client.start("r2")
            await client.next(ServerError)
            answers.pop(0)
            await client.start("r3")
            await eventually(gate.entered.is_set)
            await client.start("r4")
            await client.next(InferenceStopped)
            await client.stop("r4")
            await client.next(InferenceStopped)
            await client.start("r5")
            await client.next(InferenceStarted)
            await client.close()
            await client.next(SessionClosed)
            await other.socket.send_bytes(b"\xff\xff\xff")
            await other.closed()
        gate.open.set()
        await eventually(lambda: gateway.sessions == 0)
        found = await figures(gateway)
    assert {name: value for name, value in found.items() if "requests_total" in name and value} == {
        "requests_total{outcome=default,reason=no_audio}": 1,
        "requests_total{outcome=answered,reason=}": 1,
        "requests_total{outcome=failed,reason=bad_probability}": 1,
        "requests_total{outcome=superseded,reason=}": 1,
        "requests_total{outcome=stopped,reason=}": 1,
        "requests_total{outcome=abandoned,reason=}": 1,
    }
    assert (found["sessions"], found["sessions_started_total"], found["draining"]) == (0, 2, 0)
    assert found["sessions_ended_total{reason=client}"] == 1
    assert found["sessions_ended_total{reason=violation}"] == 1
    assert found["refused_total{reason=overloaded}"] == 1
    assert found["refused_total{reason=bad_signature}"] == 1
    assert found["audio_seconds_total"] == pytest.approx(1.0)
    for name in ("preparation", "queue", "inference", "answer"):
        assert found[f"{name}_seconds_count"] == found[f"{name}_seconds_bucket{{le=+Inf}}"] == 1
        assert found[f"{name}_seconds_sum"] >= 0
    assert found["answer_seconds_sum"] >= found["inference_seconds_sum"]


async def test_what_may_happen_is_there_before_it_does() -> None:
    """A counter that begins with its first failure has no rate for it: the alert would miss that one."""
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway:
        found = await figures(gateway)
        assert (await fetch(gateway, "/metrics"))[2].count("eot_gateway_sessions{model=") == 1
    for name in (
        "requests_total{outcome=answered,reason=}",
        "requests_total{outcome=failed,reason=overloaded}",
        "requests_total{outcome=failed,reason=expired}",
        "requests_total{outcome=failed,reason=model_error}",
        "sessions_ended_total{reason=lost}",
        "sessions_ended_total{reason=slow_reader}",
        "refused_total{reason=overloaded}",
        "refused_total{reason=bad_signature}",
    ):
        assert found[name] == 0, name


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="prometheus-client reads /proc")
async def test_the_process_shows_what_it_uses() -> None:
    """Under the names that every dashboard knows."""
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway:
        before = await figures(gateway)
        async with connected(gateway) as client:
            await client.create()
            after = await figures(gateway)
    assert after["process_open_fds"] > before["process_open_fds"] > 0
    assert after["process_resident_memory_bytes"] > 1_000_000
    assert after["process_cpu_seconds_total"] > 0


async def test_metrics_speak_openmetrics_too_and_show_no_secret() -> None:
    pytest.importorskip("prometheus_client")
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        await client.create()
        await client.start(f"a request called {SECRET}")
        await client.next(EotPrediction)
        accept = "application/openmetrics-text; version=1.0.0"
        for headers, kind in (({}, "text/plain"), ({"Accept": accept}, "application/openmetrics-text")):
            status, content_type, text = await fetch(gateway, "/metrics", **headers)
            assert (status, content_type.split(";")[0]) == (200, kind)
            assert "eot_gateway_sessions{" in text
            assert not any(secret in text for secret in (KEY, SECRET))


async def test_without_the_extra_the_page_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _ = scripted()
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    async with Gateway(spec, keys=KEYS) as gateway:
        status, _, text = await fetch(gateway, "/metrics")
    assert status == 501
    assert "pip install 'eot-adapters[serve]'" in text


def test_durations_fall_into_their_buckets() -> None:
    durations = Durations()
    for seconds in (-1.0, float("nan"), float("inf"), 0.0, BOUNDS[0], BOUNDS[1], BOUNDS[-1] + 1):
        durations.observe(seconds)
    assert (durations.buckets[0], durations.buckets[1], durations.buckets[-1]) == (5, 1, 1)
    assert durations.total == pytest.approx(BOUNDS[0] + BOUNDS[1] + BOUNDS[-1] + 1)


async def test_a_loop_that_is_held_up_is_seen() -> None:
    class Loop:
        """Time by hand: a loop that is late by a quarter of a second."""

        now = 10.0

        def time(self) -> float:
            return self.now

    lags, loop = Durations(), Loop()
    watch = LagWatch(lags)
    watch.start()
    watch.stop()
    loop.now = 10.25
    watch._look(loop, 10.0)  # type: ignore[arg-type]
    watch.stop()
    watch.stop()
    assert (lags.total, sum(lags.buckets)) == (0.25, 1)
    assert PERIOD < 1


# ---- too many requests


def test_whoever_would_wait_too_long_is_not_let_in() -> None:
    admission = Admission(max_wait=0.25, workers=2)
    assert [admission.enter() for _ in range(100)] == [True] * 100, "nothing is known yet of how long one takes"
    for _ in range(99):
        admission.leave()
    admission.leave(0.1)
    assert (admission.inside, admission.expected_wait) == (0, 0.0)
    assert [admission.enter() for _ in range(8)] == [True] * 6 + [False] * 2
    assert admission.expected_wait == pytest.approx(0.3)
    admission.leave(0.2)
    assert admission.expected_wait == pytest.approx(5 * 0.11 / 2)
    assert not admission.enter()
    for _ in range(5):
        admission.leave(10.0)
    assert admission.enter(), "an empty gateway always tries"


async def test_the_first_requests_after_a_start_are_not_let_in_blindly() -> None:
    """They come together, from all the calls that lost the gateway before."""
    gate = Gate()

    class Slow(ScriptedModel):
        def predict(self, pcm: PcmArray) -> float:
            if not pcm.any():
                time.sleep(0.05)  # as the warm-up does
            return super().predict(pcm)

    spec, _ = scripted()
    spec = replace(spec, load=lambda: Slow(gate))
    async with (
        Gateway(spec, keys=KEYS, limits=GatewayLimits(max_wait=0.005, request_timeout=30.0)) as gateway,
        connected(gateway) as first,
        connected(gateway) as second,
    ):
        for client in (first, second):
            await client.create()
            await client.audio(0.1)
        await first.start("r1")
        await eventually(gate.entered.is_set)
        try:
            await second.start("r2")
            assert (await second.next(ServerError)).request_id == "r2"
        finally:
            gate.open.set()
        await first.next(EotPrediction)


async def test_a_request_that_would_wait_too_long_is_refused_at_once() -> None:
    gate = Gate()
    answers: list[Any] = [lambda pcm: time.sleep(0.05) or 0.75, gate]
    spec, _ = scripted(lambda pcm: answers[0](pcm))
    async with (
        Gateway(spec, keys=KEYS, limits=GatewayLimits(max_wait=0.005, request_timeout=30.0)) as gateway,
        connected(gateway) as first,
        connected(gateway) as second,
    ):
        for client in (first, second):
            await client.create()
            await client.audio(0.1)
        await first.start("r1")
        await first.next(EotPrediction)
        answers.pop(0)
        await first.start("r2")
        await eventually(gate.entered.is_set)
        try:
            await second.start("r3")
            error = await second.next(ServerError)
            assert (error.message, error.code, error.request_id) == ("overloaded", 503, "r3")
        finally:
            gate.open.set()
        await first.next(EotPrediction)
        await second.start("r4")
        await second.next(EotPrediction)
        assert gateway.counts.requests["failed", "overloaded"] == 1
        assert gateway._admission.inside == 0


async def test_a_call_that_finds_no_room_once_stays_with_the_gateway() -> None:
    """Our own client: its local model answers what is refused, and the next request comes back."""
    gate = Gate()
    spec, _ = scripted(gate)
    near, _ = scripted(0.25)
    async with Gateway(spec, keys=KEYS, limits=GatewayLimits(max_wait=0.001, request_timeout=30.0)) as gateway:
        assert gateway._admission.enter()
        gateway._admission.leave(20.0)  # what a request took so far, in seconds
        detector = TurnDetector(
            base_url=gateway.url, api_key=KEY, api_secret=SECRET, fallback_model=near, prediction_timeout=20.0
        )
        stream = detector.stream()
        fallbacks: list[Any] = []
        stream.on("fallback", fallbacks.append)
        try:
            async with connected(gateway) as other:
                await other.create()
                await other.audio(0.1)
                await other.start("r1")
                await eventually(gate.entered.is_set)
                stream.push_audio(np.full(1_600, 1_000, np.int16))
                prediction = await stream.predict()
                assert (prediction.source, prediction.probability) == ("local", 0.25)
                gate.open.set()
                await other.next(EotPrediction)
            prediction = await stream.predict()
            assert (prediction.source, prediction.probability) == ("cloud", 0.5)
            assert not stream.is_fallback
            assert fallbacks == []
            assert gateway.counts.requests["failed", "overloaded"] == 1
        finally:
            gate.open.set()
            await stream.aclose()


async def test_sessions_that_end_leave_no_request_behind() -> None:
    gate = Gate()
    spec, _ = scripted(gate)
    async with Gateway(spec, keys=KEYS) as gateway:
        async with connected(gateway) as client:
            await client.create()
            await client.audio(0.1)
            await client.start("r1")
            await eventually(gate.entered.is_set)
            assert gateway._admission.inside == 1
        await eventually(lambda: gateway.sessions == 0)
        gate.open.set()
        assert gateway._admission.inside == 0


async def test_a_request_whose_onset_nobody_had_time_to_find_has_expired() -> None:
    gate = Gate()
    spec, _ = scripted(gate, pre_speech=0.25)
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(spec, keys=KEYS, limits=GatewayLimits(request_timeout=0.2)))
        if gateway._network is None:
            pytest.skip("the Silero VAD is not installed")
        clients = [await stack.enter_async_context(connected(gateway)) for _ in range(worker_count() + 1)]
        *busy, late = clients
        try:
            for client in busy:
                await client.create()
                await client.audio(0.3)
                gate.entered.clear()
                await client.start("busy")
                await eventually(gate.entered.is_set)
            await late.create()
            await late.audio(0.3)
            await late.start("late")
            await late.next(InferenceStarted)
            await asyncio.sleep(0.25)
        finally:
            gate.open.set()
        error = await late.next(ServerError)
        assert (error.message, error.code, error.request_id) == ("expired", 504, "late")


# ---- keys


async def test_keys_change_while_sessions_go_on() -> None:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        await client.create()
        gateway.replace_keys({"new": "another-secret-that-is-long-enough"})
        assert await refused(gateway) == 401
        assert await refused(gateway, "new", "another-secret-that-is-long-enough") == 101
        with pytest.raises(ValueError, match="keys must have"):
            gateway.replace_keys({})
        with pytest.raises(ValueError, match="api_secret"):
            gateway.replace_keys({"new": ""})
        assert await refused(gateway, "new", "another-secret-that-is-long-enough") == 101, "nothing has changed"
        await client.audio(0.1)
        await client.start("r1")
        await client.next(EotPrediction)


def test_a_key_ring_shows_no_key() -> None:
    ring = KeyRing(KEYS)
    assert (repr(ring), len(ring)) == ("<KeyRing of 1>", 1)


# ---- the end


async def test_closing_answers_what_waits_first() -> None:
    gate = Gate()
    spec, _ = scripted(gate)
    gateway = Gateway(spec, keys=KEYS)
    await gateway.start()
    async with connected(gateway) as busy, connected(gateway) as idle:
        await idle.create()
        await busy.create()
        await busy.audio(0.1)
        await busy.start("r1")
        await eventually(gate.entered.is_set)
        closing = asyncio.create_task(gateway.aclose())
        assert await idle.closed() == 1001, "those that wait for nothing at once"
        gate.open.set()
        assert (await busy.next(EotPrediction)).request_id == "r1"
        assert await busy.closed() == 1001
        await closing
    assert +gateway.counts.requests == {("answered", ""): 1}
    assert +gateway.counts.ended == {"going_away": 2}


@pytest.mark.parametrize("ending", ["stopped", "failed", "no_audio"])
async def test_a_request_that_ends_otherwise_is_not_waited_for(ending: str) -> None:
    gate = Gate()
    spec, model = scripted(gate)
    gateway = Gateway(spec, keys=KEYS, limits=GatewayLimits(request_timeout=30.0))
    await gateway.start()
    async with connected(gateway) as client:
        await client.create()
        await client.audio(0.1)
        await client.start("r1")
        await eventually(gate.entered.is_set)
        closing = asyncio.create_task(gateway.aclose())
        if ending == "stopped":
            await client.stop("r1")
        elif ending == "failed":
            model.answer = lambda pcm: float("nan")
            gate.open.set()
            await client.start("r2")
        else:
            await client.start("r2")
            gate.open.set()
        assert await client.closed() == 1001
        gate.open.set()
        await closing


async def test_closing_does_not_wait_for_a_model_that_hangs() -> None:
    gate = Gate()
    spec, _ = scripted(gate)
    gateway = Gateway(spec, keys=KEYS, limits=GatewayLimits(request_timeout=0.2))
    await gateway.start()
    async with connected(gateway) as client:
        await client.create()
        await client.audio(0.1)
        await client.start("r1")
        await eventually(gate.entered.is_set)
        try:
            closing = asyncio.create_task(gateway.aclose())
            assert await client.closed() == 1001
            await asyncio.wait_for(closing, 20)
        finally:
            gate.open.set()
    assert gateway.counts.requests["abandoned", ""] == 1


async def test_draining_takes_no_new_sessions_and_ends_with_the_last() -> None:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway:
        await asyncio.wait_for(gateway.drain(600.0), 20)
        assert await refused(gateway) == 503
    gateway = Gateway(spec, keys=KEYS)
    async with gateway:
        assert (await fetch(gateway, "/healthz"))[0] == 200
        async with connected(gateway) as client:
            await client.create()
            draining = asyncio.create_task(gateway.drain(600.0))
            await eventually(lambda: gateway._places.draining)
            assert await refused(gateway) == 503
            status, _, text = await fetch(gateway, "/healthz")
            assert (status, "draining" in text) == (503, True)
            await client.audio(0.1)
            await client.start("r1")
            await client.next(EotPrediction)
            assert not draining.done()
        await asyncio.wait_for(draining, 20)
    assert +gateway.counts.refused == {"draining": 1}


async def test_draining_ends_with_its_grace() -> None:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway, connected(gateway) as client:
        await client.create()
        await asyncio.wait_for(gateway.drain(0.05), 20)
        assert gateway.sessions == 1


# ---- without a VAD


async def test_a_vad_that_is_missing_is_one_warning_and_what_there_was_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec, model = scripted(pre_speech=0.25)
    missing = SileroVAD(weights=tmp_path / "silero_vad.onnx")
    async with Gateway(spec, keys=KEYS, vad=missing) as gateway, connected(gateway) as client:
        await talk(client, "r1")
        await talk(client, "r2")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "scripted scores turns" in record.getMessage()
    assert "silero_vad.onnx" in record.getMessage()
    assert [len(pcm) for pcm in model.asked] == [24_000, 24_000 + 4_000]


async def talk(client: Client, request_id: str) -> None:
    if request_id == "r1":
        await client.create()
    await client.audio(1.5)
    await client.start(request_id)
    await client.next(EotPrediction)
    await client.flush()


async def test_a_vad_is_not_even_loaded_for_a_rolling_window(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS, vad=SileroVAD(weights=tmp_path / "silero_vad.onnx")):
        assert caplog.records == []


async def test_a_vad_that_is_broken_is_an_error() -> None:
    class Broken(SileroVAD):
        def _load(self) -> Any:
            raise RuntimeError("no such instruction")

    spec, _ = scripted(pre_speech=0.25)
    with pytest.raises(RuntimeError, match="no such instruction"):
        await Gateway(spec, keys=KEYS, vad=Broken()).start()


# ---- connections


async def test_a_connection_that_asks_for_nothing_is_closed() -> None:
    """It needs no key for that, and there are only so many descriptors."""
    spec, _ = scripted()
    clock = ManualClock()
    async with Gateway(spec, keys=KEYS, clock=clock) as gateway, connected(gateway) as call:
        await call.create()
        port = int(root_of(gateway).rsplit(":", 1)[1])
        mute, slow, polite = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        slow[1].write(b"GET /v1/eot HTTP/1.1\r\n")
        polite[1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await polite[0].readline()
        assert gateway._runner is not None
        assert gateway._runner.server is not None
        server = gateway._runner.server
        await eventually(lambda: len(server.connections) == 4)
        clock.advance(10.0)
        assert len(server.connections) == 4, "they have time to begin"
        clock.advance(10.0)
        await eventually(lambda: len(server.connections) == 2)
        for reader, _ in (mute, slow):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        polite[1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in (await polite[0].readuntil(b"200 OK"))
        await call.audio(0.1)
        await call.start("r1")
        await call.next(EotPrediction)
        for _, writer in (mute, slow, polite):
            writer.close()


async def test_whoever_is_refused_keeps_no_connection() -> None:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(root_of(gateway).rsplit(":", 1)[1]))
        writer.write(b"GET /v1/eot HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(20):
            assert b"401" in await reader.read(), "to its end"
        writer.close()


async def test_what_is_no_http_is_one_line_and_shows_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """Scanners send such things all day, and it may be a token that a proxy broke."""
    caplog.set_level(logging.DEBUG)
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway:
        for garbage in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", f"GET /v1/eot HTTP/1.1\r\n{SECRET * 300}: x\r\n".encode()):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(root_of(gateway).rsplit(":", 1)[1]))
            writer.write(garbage)
            async with asyncio.timeout(20):
                assert b" 400 " in await reader.read()
            writer.close()
    assert [r.getMessage() for r in caplog.records if "no HTTP" in r.getMessage()] == ["refused a client: no HTTP"] * 2
    assert not [r for r in caplog.records if r.exc_info or r.levelno > logging.INFO]
    assert SECRET not in caplog.text


async def test_a_bug_of_ours_is_still_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Gateway):
        async def handle_websocket(self, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
            raise ZeroDivisionError

    spec, _ = scripted()
    async with Broken(spec, keys=KEYS) as gateway:
        assert await refused(gateway) == 500
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [ZeroDivisionError]
