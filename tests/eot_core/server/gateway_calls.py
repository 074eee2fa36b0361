"""One conversation at the gateway and in the caller's own process, for tests that compare their answers.

It goes through two streams at once: one asks the gateway over a loopback WebSocket, the other asks the same model here.
A VAD tells both what a framework's adapter tells its stream: when speech began and ended, and how long that is ago.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from gateway_client import KEY, KEYS, SECRET, eventually

from eot_core import DetectorStream, Outcome, TurnDetector
from eot_core.cli.audio_file import read_audio
from eot_core.data import demo_recording
from eot_core.models.base import ModelSpec
from eot_core.models.registry import resolve_model
from eot_core.server import Gateway
from eot_core.vad import SileroVAD, SpeechEnded, SpeechStarted, VADEvent, VADStream

MODELS = ("smart-turn-v3.2", "eot-open-1", "eot-open-1-fast-4s")

Pcm = npt.NDArray[np.int16]


def hush(seconds: float, seed: int = 0) -> Pcm:
    """A quiet room."""
    return np.random.default_rng(seed).integers(-8, 9, round(seconds * 16_000), dtype=np.int16)


BURSTS = ((0.55, 2.15), (2.95, 5.12), (5.9, 8.82))
"""Seconds of the bundled recording in which somebody speaks, without a long pause."""


def speech(which: int = 0) -> Pcm:
    """Two or three seconds of somebody speaking."""
    pcm, rate = read_audio(str(demo_recording()))
    assert rate == 16_000
    begin, end = BURSTS[which]
    return np.asarray(pcm, dtype=np.int16)[round(begin * rate) : round(end * rate)]


def model_spec(name: str) -> ModelSpec:
    spec = resolve_model(name)
    if not spec.is_available():
        pytest.skip(f"{name} is not installed")
    return spec


@dataclass
class Scores:
    """Of one request."""

    gateway: float
    local: float
    again_at: float | None = None


class Caller:
    """One conversation, heard by both streams, a hundred times as fast as in a call."""

    def __init__(
        self,
        gateway: Gateway,
        far: DetectorStream,
        near: DetectorStream,
        vad: VADStream,
        frame: int,
        again: Sequence[float],
    ) -> None:
        self.gateway, self.far, self.near, self.vad, self.frame = gateway, far, near, vad, frame
        self.again = again
        self.scores: list[Scores] = []
        self.heard = 0
        self.due: list[tuple[float, float]] = []

    async def hear(self, pcm: Pcm, *, ask: bool = True) -> None:
        """Frame by frame; asks in each pause as soon as the VAD reports it, and again at the moments in ``again``."""
        for begin in range(0, len(pcm), self.frame):
            frame = pcm[begin : begin + self.frame]
            while self.due and self.heard + len(frame) > self.due[0][0]:
                await self.ask(again_at=self.due.pop(0)[1])
            for stream in (self.far, self.near):
                stream.push_audio(frame)
            self.heard += len(frame)
            if self.heard % 32_000 < self.frame:
                await eventually(self.kept_pace)
            await self.act(self.vad.push(frame, 16_000), ask)

    def kept_pace(self) -> bool:
        """No VAD could hear it all before it is overwritten."""
        for session in self.gateway._sessions:
            finder = session._turns._finder
            if finder is None or finder.next > self.heard - 24_000:
                return True
            session._turns._catch_up()  # as the next message would make it, which here waits for this one
        return False

    async def act(self, events: list[VADEvent], ask: bool) -> None:
        now = self.heard / 16_000
        for event in events:
            if isinstance(event, SpeechStarted):
                self.due.clear()
                for stream in (self.far, self.near):
                    stream.cancel(speech=event.speech_duration + now - event.at)
            elif isinstance(event, SpeechEnded) and ask:
                await self.ask(silence=event.silence_duration + now - event.at)
                self.due = [((event.at - event.silence_duration + again) * 16_000, again) for again in self.again]
        await asyncio.sleep(0)

    async def ask(self, *, silence: float | None = None, again_at: float | None = None) -> Scores:
        streams = (self.far, self.near)
        far, near = await asyncio.gather(*(s.predict(silence=silence, again_at=again_at) for s in streams))
        assert (far.outcome, near.outcome) == (Outcome.ANSWERED, Outcome.ANSWERED), (far, near)
        assert (far.source, near.source) == ("cloud", "local")
        self.scores.append(Scores(far.probability, near.probability, again_at))
        return self.scores[-1]

    def flush(self) -> None:
        self.due.clear()
        self.far.flush("turn committed")
        self.near.flush("turn committed")


@asynccontextmanager
async def calling(
    model: ModelSpec,
    *,
    wire_rate: int = 16_000,
    frame: int = 320,
    vad: SileroVAD | None = None,
    again: Sequence[float] = (),
) -> AsyncIterator[Caller]:
    async with Gateway(model, keys=KEYS, **({} if vad is None else {"vad": vad})) as gateway:
        cloud = TurnDetector(
            version="v1",
            base_url=gateway.url,
            api_key=KEY,
            api_secret=SECRET,
            local_fallback=False,
            sample_rate=wire_rate,
            prediction_timeout=20.0,
        )
        local = TurnDetector(model=model, prediction_timeout=20.0)
        far, near = cloud.stream(), local.stream()
        try:
            yield Caller(gateway, far, near, SileroVAD().stream(), frame, again)
        finally:
            await far.aclose()
            await near.aclose()


def assert_equal(scores: list[Scores], bound: float = 1e-3) -> None:
    assert scores
    assert [pair.gateway for pair in scores] == pytest.approx([pair.local for pair in scores], abs=bound)
