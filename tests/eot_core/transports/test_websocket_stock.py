"""LiveKit's own cloud detector, unmodified, and ours: the same conversation with the same gateway, side by side."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import jwt
import numpy as np
import pytest
from aiohttp import web
from fakes import fake_spec
from livekit.protocol.agent_pb import agent_inference as pb
from websocket_rig import KEY, SECRET, eventually, tone

from eot_core import TurnDetector
from eot_core.models.base import PcmArray
from eot_core.protocol import ServerProtocol
from eot_core.server import Gateway, GatewaySession
from eot_core.transports.base import Answer, InferenceRequest, TransportSink

inference = pytest.importorskip("livekit.agents.inference")
rtc = pytest.importorskip("livekit.rtc")
language = pytest.importorskip("livekit.agents.language")
job = pytest.importorskip("livekit.agents.job")
adapters_livekit = pytest.importorskip("adapters.livekit")

FRAMES = [tone(1.0)[begin : begin + 800] for begin in range(0, 12_800, 800)]


class SilentAtFirst:
    """A way to a model that does not answer a session's first request, so that it can be cancelled in flight."""

    def __init__(self) -> None:
        self.asked = 0

    def open(self, sink: TransportSink) -> None:
        self.sink = sink

    def start(self, request: InferenceRequest) -> None:
        self.asked += 1
        if self.asked > 1:
            self.sink.on_answer(request.request_id, Answer(0.75))

    def push_audio(self, pcm: PcmArray, captured_at: float) -> None: ...
    def stop(self, request_id: str) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    async def aclose(self) -> None: ...


class Recorder(Gateway):
    """A real gateway that writes down what it is sent."""

    def __init__(self) -> None:
        super().__init__(fake_spec(), keys={KEY: SECRET}, make_transport=SilentAtFirst)
        self.received: list[pb.ClientMessage] = []
        self.headers: list[dict[str, str]] = []
        self.closed_with: list[int | None] = []

    async def handle_websocket(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        response = await super().handle_websocket(request)
        assert isinstance(response, web.WebSocketResponse)
        self.closed_with.append(response.close_code)
        return response

    def make_session(self, request: web.Request, websocket: web.WebSocketResponse) -> GatewaySession:
        session = super().make_session(request, websocket)
        received = self.received

        class Protocol(ServerProtocol):
            def receive(self, data: bytes | bytearray | memoryview | str) -> list[Any]:
                assert isinstance(data, bytes)
                received.append(pb.ClientMessage.FromString(data))
                return super().receive(data)

        session.protocol = Protocol(self.limits.protocol)
        return session

    def count(self, kind: str) -> int:
        return sum(message.WhichOneof("message") == kind for message in self.received)


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    async with Recorder() as gateway:
        yield gateway


class Caller:
    """The conversation's steps, on either detector."""

    def __init__(self, push: Callable[[PcmArray], None], stream: Any, cancel: Callable[[], None]) -> None:
        self.push = push
        self.stream = stream
        self.cancel = cancel


def stock(gateway: Recorder, http: aiohttp.ClientSession) -> Caller:
    detector = inference.TurnDetector(
        version="v1", base_url=gateway.url, api_key=KEY, api_secret=SECRET, http_session=http, local_fallback=False
    )
    stream = detector.stream()

    def push(pcm: PcmArray) -> None:
        stream.push_audio(rtc.AudioFrame(pcm.tobytes(), 16_000, 1, len(pcm)))

    return Caller(push, stream, stream.cancel_inference)


def ours(gateway: Recorder, http: aiohttp.ClientSession) -> Caller:
    detector = TurnDetector(
        version="v1", base_url=gateway.url, api_key=KEY, api_secret=SECRET, http_session=http, local_fallback=False
    )
    stream = detector.stream()
    return Caller(stream.push_audio, stream, stream.cancel)


async def converse(gateway: Recorder, caller: Caller) -> None:
    """The script. It waits where the stock client would lose something otherwise."""
    await eventually(lambda: gateway.count("session_create") == 1)
    await asyncio.sleep(0.05)
    frames = iter(FRAMES)
    for _ in range(6):
        caller.push(next(frames))
    await eventually(lambda: gateway.count("input_audio") == 6)
    caller.stream.predict()
    await eventually(lambda: gateway.count("inference_start") == 1)
    caller.cancel()
    caller.push(next(frames))
    await eventually(lambda: gateway.count("input_audio") == 7)
    await asyncio.wait_for(caller.stream.predict(), 20)
    caller.stream.flush("turn committed")
    caller.stream.flush("turn committed")
    for _ in range(4):
        caller.push(next(frames))
    await eventually(lambda: gateway.count("input_audio") == 11)
    caller.push(next(frames))  # in the same tick as the request
    await asyncio.wait_for(caller.stream.predict(), 20)
    await eventually(lambda: gateway.count("input_audio") == 12)
    caller.push(next(frames))
    await eventually(lambda: gateway.count("input_audio") == 13)
    await caller.stream.aclose()
    await eventually(lambda: gateway.sessions == 0)


def readable(messages: list[pb.ClientMessage]) -> list[str]:
    """A line for each message, with all that it says but for ids and times."""
    ids: list[str] = []
    lines = []
    for message in messages:
        kind = str(message.WhichOneof("message"))
        assert message.HasField("created_at"), kind
        match kind:
            case "session_create":
                settings = message.session_create.settings
                lines.append(f"session_create {settings.sample_rate} Hz, encoding {settings.encoding}")
            case "input_audio":
                audio = message.input_audio
                assert audio.HasField("created_at")
                index = next(i for i, frame in enumerate(FRAMES) if frame.tobytes() == audio.audio)
                lines.append(f"input_audio, frame {index}, {audio.num_samples} samples")
            case "inference_start" | "inference_stop":
                request_id = getattr(message, kind).request_id
                if request_id not in ids:
                    ids.append(request_id)
                lines.append(f"{kind}, request {ids.index(request_id)}")
            case _:
                lines.append(kind)
    return lines


DIFFERENCES = {
    "+ inference_stop, request 0": "a request that is cancelled is stopped: the gateway need not finish it",
    "- session_flush": "the stock client sends a flush for each call; a second one without anything in between says "
    "nothing, so ours sends one",
    "+ input_audio, frame 11, 800 samples": "audio pushed in the tick of a request is part of it: ours sends it first",
    "- input_audio, frame 11, 800 samples": "the stock client's request overtakes it, and the model does not hear it",
    "+ session_close": "the gateway is told that the session is over; the stock client's aclose() only hangs up",
}
"""Where our client differs from the stock one on purpose: "+" is sent by ours only, "-" by the stock one only."""


async def test_both_send_the_same_messages_but_for_what_is_better() -> None:
    sent: dict[str, list[str]] = {}
    for name, make in (("stock", stock), ("ours", ours)):
        async with recorder() as gateway, aiohttp.ClientSession() as http:
            await converse(gateway, make(gateway, http))
            sent[name] = readable(gateway.received)
            assert gateway.closed_with == [1000], name
    differences = [line for line in difflib.ndiff(sent["stock"], sent["ours"]) if line[0] in "+-"]
    assert sorted(differences) == sorted(DIFFERENCES), "\n".join(difflib.ndiff(sent["stock"], sent["ours"]))
    assert len(sent["stock"]) == 19, sent["stock"]


async def test_the_differences_matter_to_a_gateway() -> None:
    """The order of the same-tick frame, as both clients send it."""
    orders = {}
    for name, make in (("stock", stock), ("ours", ours)):
        async with recorder() as gateway, aiohttp.ClientSession() as http:
            await converse(gateway, make(gateway, http))
            lines = readable(gateway.received)
            frame = lines.index("input_audio, frame 11, 800 samples")
            orders[name] = "frame first" if frame < lines.index("inference_start, request 2") else "request first"
    assert orders == {"stock": "request first", "ours": "frame first"}


def claims(headers: Mapping[str, str]) -> dict[str, Any]:
    token = headers["Authorization"].removeprefix("Bearer ")
    found: dict[str, Any] = jwt.decode(token, SECRET, algorithms=["HS256"])
    found["valid for"] = found.pop("exp") - found.pop("nbf")
    return found


def in_a_job() -> Any:
    """What LiveKit looks at of a job's context."""
    return SimpleNamespace(
        job=SimpleNamespace(id="AJ_1", room=SimpleNamespace(sid="RM_1")),
        room=SimpleNamespace(isconnected=lambda: True),
        agent=SimpleNamespace(sid="PA_1"),
        inference_headers={"X-LiveKit-Inference-Priority": "low"},
    )


async def connect_and_close(gateway: Recorder, detector: Any) -> dict[str, str]:
    stream = detector.stream()
    await eventually(lambda: gateway.count("session_create") == 1)
    await stream.aclose()
    await eventually(lambda: gateway.sessions == 0)
    return gateway.headers[0]


@pytest.mark.parametrize("inside", [False, True], ids=["outside a job", "inside a job"])
async def test_both_present_themselves_in_the_same_way(inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_WORKER_TOKEN", "worker-token")
    reset = job._JobContextVar.set(in_a_job()) if inside else None
    try:
        found: list[dict[str, str]] = []
        for make in (inference.TurnDetector, adapters_livekit.TurnDetector):
            async with recorder() as gateway, aiohttp.ClientSession() as http:
                detector = make(
                    version="v1",
                    base_url=gateway.url,
                    api_key=KEY,
                    api_secret=SECRET,
                    http_session=http,
                    local_fallback=False,
                )
                found.append(await connect_and_close(gateway, detector))
    finally:
        if reset is not None:
            job._JobContextVar.reset(reset)
    theirs, mine = found
    assert claims(theirs) == claims(mine)
    assert claims(mine) == {"iss": KEY, "sub": "agent", "inference": {"perform": True}, "valid for": 600}
    assert theirs["User-Agent"] == mine["User-Agent"]
    told = [{name: each[name] for name in each if name.lower().startswith("x-livekit")} for each in found]
    sessions = [each.pop("X-LiveKit-Session-ID", None) for each in told]
    assert told[0] == told[1]
    if inside:
        assert told[1] == {
            "X-LiveKit-Room-ID": "RM_1",
            "X-LiveKit-Job-ID": "AJ_1",
            "X-LiveKit-Agent-ID": "PA_1",
            "X-LiveKit-Worker-Token": "worker-token",
            "X-LiveKit-Inference-Priority": "low",
        }
        assert all(session is not None and session.startswith("inference_") for session in sessions)
        assert sessions[0] != sessions[1], "one for each connection"
    else:
        assert told[1] == {}
        assert sessions == [None, None]


async def test_the_detectors_answers_are_the_same() -> None:
    """What comes back over the wire reads the same at both ends of it."""
    answers: list[float] = []
    thresholds: list[float] = []
    for make in (stock, ours):
        async with recorder() as gateway, aiohttp.ClientSession() as http:
            caller = make(gateway, http)
            await eventually(lambda gateway=gateway: gateway.count("session_create") == 1)
            await asyncio.sleep(0.05)
            caller.push(np.concatenate(FRAMES[:4]))
            await asyncio.sleep(0.05)
            caller.stream.predict()
            await eventually(lambda gateway=gateway: gateway.count("inference_start") == 1)
            prediction = await asyncio.wait_for(caller.stream.predict(), 20)
            answers.append(getattr(prediction, "end_of_turn_probability", None) or prediction.probability)
            threshold = caller.stream.unlikely_threshold(language.LanguageCode("en"))
            thresholds.append(await threshold if isinstance(threshold, Awaitable) else threshold)
            await caller.stream.aclose()
    assert answers == [0.75, 0.75]
    assert thresholds == [0.5, 0.5]
