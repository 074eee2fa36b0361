"""A model behind a socket, and what takes its place when the socket is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from call import Call, Script, final

from adapters.pipecat import BackchannelOpportunityFrame, TurnDetectorProcessor, TurnDetectorUserTurnStopStrategy
from eot_core import EndpointingOptions, TurnDetector
from eot_core.clock import LoopClock
from eot_core.protocol import InferenceStartRequested, ServerProtocol, SessionCloseRequested, SessionCreateRequested
from eot_core.server import Gateway
from eot_core.transports.base import Calibration

KEYS = {"api_key": "key", "api_secret": "secret-of-at-least-32-characters-long"}
QUICK = EndpointingOptions(min_delay=0.05, max_delay=0.1)


async def test_turns_from_a_gateway_then_without_it() -> None:
    script, local = Script(0.9), Script(0.8)
    gateway = Gateway(script.spec(name="gateway-model"), keys={KEYS["api_key"]: KEYS["api_secret"]})
    await gateway.start()
    processor = TurnDetectorProcessor(
        version="v1", base_url=gateway.url, fallback_model=local.spec(name="spare"), endpointing=QUICK, **KEYS
    )
    fallbacks: list[Any] = []
    processor.strategy.add_event_handler("on_fallback", lambda _, event: fallbacks.append(event))
    async with Call(clock=LoopClock(asyncio.get_running_loop()), before=[processor]) as call:
        call.listen(processor.strategy)
        await call.utter()
        await call.send(final("one", finalized=True))
        await call.until(lambda: len(call.turns) == 1)
        assert call.predictions[0].source == "cloud"
        assert call.predictions[0].probability == pytest.approx(0.9)
        assert fallbacks == []
        await gateway.aclose()
        await call.until(lambda: fallbacks)
        assert (fallbacks[0].from_model, fallbacks[0].to_model) == ("turn-detector-v1", "spare")
        await call.utter()
        await call.send(final("two", finalized=True))
        await call.until(lambda: len(call.turns) == 2)
        assert (call.predictions[1].source, call.predictions[1].model) == ("local", "spare")
        assert call.decisions[1].source == "local"


@asynccontextmanager
async def far_end(probability: float, backchannel: float) -> AsyncIterator[str]:
    """A server that answers every request, with a backchannel probability."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        protocol = ServerProtocol()
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                continue
            for event in protocol.receive(message.data):
                if isinstance(event, SessionCreateRequested):
                    calibration = Calibration({"en": 0.5}, 0.5, {"en": 0.4}, 0.4)
                    await socket.send_bytes(protocol.session_created(calibration, created_at=time.time()))
                elif isinstance(event, InferenceStartRequested):
                    answer = protocol.eot_prediction(
                        event.request_id, probability, created_at=time.time(), backchannel_probability=backchannel
                    )
                    await socket.send_bytes(answer)
                elif isinstance(event, SessionCloseRequested):
                    await socket.send_bytes(protocol.session_closed(created_at=time.time()))
                    await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/eot", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def test_a_pause_in_which_mhm_would_be_welcome() -> None:
    async with far_end(0.1, 0.7) as url:
        strategy = TurnDetectorUserTurnStopStrategy(
            detector=TurnDetector(version="v1", base_url=url, local_fallback=False, **KEYS)
        )
        told: list[Any] = []
        strategy.add_event_handler("on_backchannel_opportunity", lambda _, event: told.append(event))
        async with Call(strategy, clock=LoopClock(asyncio.get_running_loop())) as call:
            await call.utter()
            await call.until(lambda: call.sink.of(BackchannelOpportunityFrame))
            (frame,) = call.sink.of(BackchannelOpportunityFrame)
            assert len(call.source.of_up(BackchannelOpportunityFrame)) == 1
            assert round(frame.probability, 3) == 0.7
            assert round(frame.threshold, 3) == 0.4
            assert round(frame.end_of_turn_probability, 3) == 0.1
            await call.until(lambda: told)
            assert told[0].probability == frame.probability
            assert call.predictions[0].source == "cloud"


async def test_no_mhm_below_its_threshold() -> None:
    async with far_end(0.1, 0.3) as url:
        strategy = TurnDetectorUserTurnStopStrategy(
            detector=TurnDetector(version="v1", base_url=url, local_fallback=False, **KEYS)
        )
        async with Call(strategy, clock=LoopClock(asyncio.get_running_loop())) as call:
            await call.utter()
            assert call.predictions[0].source == "cloud"
            await call.settle()
            assert call.sink.of(BackchannelOpportunityFrame) == []
