"""A model that scores turns says the same of the same audio at the gateway as in the client's own process.

Each conversation goes through two streams at once: one asks the gateway over a loopback WebSocket, the other asks the
same model here, and is told of the onset of speech by a VAD, as a framework does.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from gateway_client import KEY, KEYS, SECRET, eventually
from vad_speech import recordings

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
    gateway: float
    local: float


class Caller:
    """One conversation, heard by both streams."""

    def __init__(self, gateway: Gateway, far: DetectorStream, near: DetectorStream, vad: VADStream, frame: int) -> None:
        self.gateway, self.far, self.near, self.vad, self.frame = gateway, far, near, vad, frame
        self.scores: list[Scores] = []
        self.heard = 0

    async def hear(self, pcm: Pcm, *, ask: bool = True) -> None:
        """Frame by frame; asks in each pause, as soon as the VAD reports it."""
        for begin in range(0, len(pcm), self.frame):
            frame = pcm[begin : begin + self.frame]
            for stream in (self.far, self.near):
                stream.push_audio(frame)
            self.heard += len(frame)
            if self.heard % 32_000 < self.frame:
                await eventually(self.kept_pace)
            await self.act(self.vad.push(frame, 16_000), ask)

    def kept_pace(self) -> bool:
        """Audio comes a hundred times as fast here as in a call; no VAD could hear it all before it is overwritten."""
        for session in self.gateway._sessions:
            finder = session._turns._finder
            return finder is None or finder.next > self.heard - 24_000
        return False

    async def act(self, events: list[VADEvent], ask: bool) -> None:
        for event in events:
            if isinstance(event, SpeechStarted):
                self.far.cancel()
                self.near.cancel()
            elif isinstance(event, SpeechEnded) and ask:
                await self.ask()
        await asyncio.sleep(0)

    async def ask(self) -> None:
        far, near = await asyncio.gather(self.far.predict(), self.near.predict())
        assert (far.outcome, near.outcome) == (Outcome.ANSWERED, Outcome.ANSWERED), (far, near)
        assert (far.source, near.source) == ("cloud", "local")
        self.scores.append(Scores(far.probability, near.probability))

    def flush(self) -> None:
        self.far.flush("turn committed")
        self.near.flush("turn committed")


@asynccontextmanager
async def calling(
    model: ModelSpec, *, wire_rate: int = 16_000, frame: int = 320, vad: SileroVAD | None = None
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
            yield Caller(gateway, far, near, SileroVAD().stream(), frame)
        finally:
            await far.aclose()
            await near.aclose()


def assert_equal(scores: list[Scores], bound: float = 1e-3) -> None:
    assert scores
    assert [pair.gateway for pair in scores] == pytest.approx([pair.local for pair in scores], abs=bound)


@pytest.mark.parametrize("name", MODELS)
async def test_long_quiet_before_the_turn(name: str) -> None:
    async with calling(model_spec(name)) as caller:
        await caller.hear(np.concatenate((hush(7.3), speech(), hush(0.5))))
        assert len(caller.scores) == 1
        assert_equal(caller.scores)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("frame", [160, 320, 512, 800])
async def test_two_turns_with_a_flush_between(name: str, frame: int) -> None:
    async with calling(model_spec(name), frame=frame) as caller:
        await caller.hear(np.concatenate((hush(1.0), speech(), hush(0.4))))
        caller.flush()
        await caller.hear(np.concatenate((hush(2.7), speech(1), hush(0.4), speech(2), hush(0.4))))
        caller.flush()
        assert len(caller.scores) == 3
        assert_equal(caller.scores)


async def test_while_the_agent_talks_for_long() -> None:
    async with calling(model_spec("eot-open-1")) as caller:
        await caller.hear(np.concatenate((speech(), hush(0.4))))
        caller.flush()
        await caller.hear(hush(31.0))
        await caller.hear(np.concatenate((speech(1), hush(0.4))))
        assert_equal(caller.scores)


async def test_a_turn_longer_than_the_window() -> None:
    async with calling(model_spec("eot-open-1")) as caller:
        await caller.hear(np.concatenate((hush(2.0), *(speech(2) for _ in range(4)), hush(0.4))))
        assert_equal(caller.scores)


async def test_a_turn_that_is_flushed_while_the_user_speaks() -> None:
    """The speech that goes on is no onset, here nor there."""
    async with calling(model_spec("eot-open-1")) as caller:
        await caller.hear(np.concatenate((hush(1.0), speech())))
        caller.flush()
        await caller.hear(np.concatenate((speech(1), hush(0.4))))
        await caller.hear(np.concatenate((hush(1.0), speech(2), hush(0.4))))
        assert len(caller.scores) == 2
        assert_equal(caller.scores)


@pytest.mark.parametrize(("wire_rate", "bound"), [(48_000, 0.03), (8_000, 0.2)])
async def test_other_rates_on_the_wire(wire_rate: int, bound: float) -> None:
    async with calling(model_spec("eot-open-1"), wire_rate=wire_rate) as caller:
        await caller.hear(np.concatenate((hush(5.0), speech(), hush(0.4))))
        caller.flush()
        await caller.hear(np.concatenate((hush(1.0), speech(1), hush(0.4))))
        assert_equal(caller.scores, bound)


@pytest.mark.parametrize("name", ["smart-turn-v3.2", "eot-open-1"])
async def test_recorded_speech(name: str) -> None:
    async with calling(model_spec(name)) as caller:
        for recording in recordings(3):
            await caller.hear(hush(3.0))
            await caller.hear(recording)
            caller.flush()
        assert len(caller.scores) > 6
        assert_equal(caller.scores)
