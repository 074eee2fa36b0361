"""What a gateway counts, and how it shows it."""

import os
import sys
from typing import Any

import pytest
from gateway_client import KEY, KEYS, SECRET, Gate, connected, eventually, scripted
from operating import fetch, figures, refused

from eot_core.protocol import EotPrediction, InferenceStarted, InferenceStopped, ServerError, SessionClosed
from eot_core.server import Gateway, GatewayLimits
from eot_core.server.counts import BOUNDS, Durations
from eot_core.server.lag import PERIOD, LagWatch


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
