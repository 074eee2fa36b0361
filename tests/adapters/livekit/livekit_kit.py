"""What the LiveKit tests share: speech, frames, a session with a microphone, and a gateway on the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, ParamSpec
from unittest import mock

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from livekit import rtc
from livekit.agents import Agent, AgentSession, LanguageCode, stt
from livekit.agents.voice.io import AudioInput

from adapters.livekit.scripted import ScriptedLLM, ScriptedSTT
from eot_core import ModelSpec
from eot_core.models.base import PcmArray
from eot_core.protocol import (
    InferenceStartRequested,
    InputAudio,
    ServerProtocol,
    SessionCloseRequested,
    SessionCreateRequested,
)
from eot_core.transports.base import Calibration
from eot_core.vad import SileroVAD, SpeechEnded
from tests.faults.virtual_time import VirtualTimeLoop

_P = ParamSpec("_P")

ROOT = Path(__file__).parents[3]
RECORDINGS = (
    *sorted((ROOT / "eot_core/data").glob("*.wav")),
    ROOT.parent / "shared/audio/picovoice-samples/pic1-test_out_of_context_es.flac",
)


def in_virtual_time(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """A decorator for a test: waiting takes no time, and what it reads off any clock is exact."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        loop = VirtualTimeLoop()
        with (
            loop.in_charge(),
            mock.patch("time.perf_counter", loop.time),
            asyncio.Runner(loop_factory=lambda: loop) as runner,
        ):
            runner.run(test(*args, **kwargs))

    return run


@functools.cache
def recording() -> PcmArray:
    """Real or synthesised speech: int16 mono at 16 kHz."""
    import soundfile

    for path in RECORDINGS:
        if path.exists():
            pcm, rate = soundfile.read(path, dtype="int16")
            if rate != 16_000:
                import soxr

                pcm = soxr.resample(pcm, rate, 16_000)
            return np.asarray(pcm, dtype=np.int16)
    pytest.skip("no recording is here")


@functools.cache
def utterance() -> PcmArray:
    """The recording's first speech of a second or more: int16 mono at 16 kHz, up to the true end of speech."""
    pcm = recording()
    for event in SileroVAD().stream().push(np.concatenate((pcm, np.zeros(16_000, np.int16))), 16_000):
        if isinstance(event, SpeechEnded) and event.speech_ended_at >= 1.0:
            return pcm[: round(event.speech_ended_at * 16_000)]
    raise AssertionError("the recording holds no speech")


def noise(seconds: float, *, rate: int = 16_000, seed: int = 0) -> PcmArray:
    """Something that is no silence: int16 mono."""
    return np.random.default_rng(seed).normal(0, 3000, round(seconds * rate)).astype(np.int16)


def frame(pcm: PcmArray, rate: int = 16_000, channels: int = 1) -> rtc.AudioFrame:
    return rtc.AudioFrame(np.ascontiguousarray(pcm).tobytes(), rate, channels, len(pcm) // channels)


def frames(pcm: PcmArray, rate: int = 16_000, seconds: float = 0.05) -> Iterator[rtc.AudioFrame]:
    step = round(rate * seconds)
    for start in range(0, len(pcm), step):
        yield frame(pcm[start : start + step], rate)


class ScriptedModel:
    """A model that says what it is told to say."""

    def __init__(self, probability: float = 0.7) -> None:
        self.probability = probability

    def predict(self, pcm: np.ndarray) -> float:
        return self.probability


def scripted(model: object | None = None) -> ModelSpec:
    """A local model that is ``model``; None: a :class:`ScriptedModel`."""
    loaded = model or ScriptedModel()
    return ModelSpec(
        name="scripted", provider="tests", license="none", window=2.0, load=lambda: loaded, default_threshold=0.5
    )  # type: ignore[arg-type, return-value]


class Microphone(AudioInput):
    """Audio in the time of the loop: what is said, and silence in between."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self._to_say: list[PcmArray] = []
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.time()
        self.spoken_until: float | None = None
        """Wall-clock time of the end of what was said last."""
        self.sends_silence = True
        """False: nothing at all is sent while nothing is said, as by a microphone that is muted."""

    def say(self, pcm: PcmArray) -> None:
        self._to_say += [pcm[start : start + 800] for start in range(0, len(pcm), 800)]

    async def __anext__(self) -> rtc.AudioFrame:
        await until(lambda: self._to_say or self.sends_silence, 60.0)
        self._next = max(self._next, self._loop.time() - 0.5)
        await asyncio.sleep(max(0.0, self._next - self._loop.time()))
        self._next += 0.05
        chunk = np.zeros(800, np.int16)
        if self._to_say:
            said = self._to_say.pop(0)
            chunk[: len(said)] = said
            if not self._to_say:
                self.spoken_until = time.time()
        return frame(chunk)


@contextlib.asynccontextmanager
async def session(
    agent: Agent | None = None, *, vad: Any, transcript: str | None = "hello there", **options: Any
) -> AsyncIterator[tuple[AgentSession[None], Microphone]]:
    """A running session, text out, with a microphone that has said nothing yet. ``transcript`` None: no STT."""
    if transcript is not None:
        options["stt"] = ScriptedSTT([transcript], vad=vad)
    options.setdefault("llm", ScriptedLLM())
    running: AgentSession[None] = AgentSession(vad=vad, **options)
    microphone = Microphone()
    running.input.audio = microphone
    await running.start(agent or Agent(instructions="Repeat what you are told."))
    try:
        yield running, microphone
    finally:
        await running.aclose()


async def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait for a condition; the limit is only there to end a test that fails."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


class Gateway:
    """A real WebSocket server that speaks the protocol and answers what it is told to."""

    def __init__(self) -> None:
        self.calibration = Calibration({"en": 0.56, "de": 0.5, "fr": 0.44}, 0.56)
        self.probability: float | None = 0.9
        """None: no answer."""
        self.backchannel: float | None = None
        self.refuse: int | None = None
        """HTTP status instead of a connection."""
        self.hold = asyncio.Event()
        """The handshake waits for this."""
        self.hold.set()
        self.received: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self._sockets: list[web.WebSocketResponse] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Gateway]:
        app = web.Application()
        app.router.add_get("/v1/eot", self._serve)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            self.hold.set()
            await self.die()
            await runner.cleanup()

    async def die(self) -> None:
        """Close every connection the hard way."""
        for socket in self._sockets:
            await socket.close(code=1011)
        self._sockets.clear()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        await self.hold.wait()
        if self.refuse is not None:
            return web.Response(status=self.refuse)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.append(socket)
        protocol = ServerProtocol()
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY:
                continue
            for event in protocol.receive(message.data):
                self.received.append(event)
                now = time.time()
                if isinstance(event, SessionCreateRequested):
                    await socket.send_bytes(protocol.session_created(self.calibration, created_at=now))
                elif isinstance(event, InferenceStartRequested) and self.probability is not None:
                    answer = protocol.eot_prediction(
                        event.request_id, self.probability, created_at=now, backchannel_probability=self.backchannel
                    )
                    await socket.send_bytes(answer)
                elif isinstance(event, SessionCloseRequested):
                    await socket.send_bytes(protocol.session_closed(created_at=now))
                    await socket.close()
        return socket

    @property
    def seconds(self) -> float:
        """Of audio received."""
        return sum(len(event.pcm) for event in self.received if isinstance(event, InputAudio)) / 32_000


def credentials(gateway: Gateway | str) -> dict[str, Any]:
    """What a detector needs to be given to connect there."""
    url = gateway if isinstance(gateway, str) else gateway.url
    return {"base_url": url, "api_key": "key", "api_secret": "s" * 32}


class ToldSTT(stt.STT):
    """Writes what it is told to, when it is told to."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))
        self.lines: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def stream(self, **options: Any) -> stt.RecognizeStream:
        return _Told(self, options["conn_options"])

    async def _recognize_impl(self, *args: Any, **options: Any) -> stt.SpeechEvent:
        raise NotImplementedError


class _Told(stt.RecognizeStream):
    def __init__(self, parent: ToldSTT, conn_options: Any) -> None:
        self._lines = parent.lines
        super().__init__(stt=parent, conn_options=conn_options)

    async def _run(self) -> None:
        while True:
            text, language = await self._lines.get()
            said = stt.SpeechData(language=LanguageCode(language), text=text)
            self._event_ch.send_nowait(stt.SpeechEvent(stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[said]))
