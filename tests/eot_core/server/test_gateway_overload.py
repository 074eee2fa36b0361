"""More requests than a gateway can answer in time."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gateway_client import KEY, KEYS, SECRET, Gate, ScriptedModel, connected, eventually, scripted

from eot_core import TurnDetector
from eot_core.cpu import worker_count
from eot_core.models.base import PcmArray
from eot_core.protocol import EotPrediction, InferenceStarted, ServerError
from eot_core.server import Gateway, GatewayLimits
from eot_core.server.admission import Admission


def test_whoever_would_wait_too_long_is_not_let_in() -> None:
    admission = Admission(max_wait=0.25, workers=2)
    assert [admission.enter() for _ in range(100)] == [True] * 100, "nothing is known yet of how long one takes"
    for _ in range(99):
        admission.leave()
    admission.leave(0.1)
    assert (admission.inside, admission.expected_wait) == (0, 0.0)
    assert [admission.enter() for _ in range(8)] == [True] * 5 + [False] * 3, "the model's own work counts"
    assert admission.expected_wait == pytest.approx(0.25)
    admission.leave(0.2)
    assert admission.expected_wait == pytest.approx(4 * 0.11 / 2)
    assert not admission.enter()
    for _ in range(4):
        admission.leave(10.0)
    assert admission.enter(), "an empty gateway always tries"
    assert not admission.enter(), "but one: on a host without CPU to spare all would be late, and late is worse than no"


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
        assert (error.message, error.code, error.request_id) == ("expired", 503, "late")
