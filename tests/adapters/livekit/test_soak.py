"""Thirty calls at once in virtual time: random turns, handoffs, interruptions, detectors, gateways that die."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import weakref
from collections import Counter
from typing import Any

import pytest
from leftovers import Left
from livekit.agents import Agent, AgentSession, llm
from livekit_kit import Gateway, ToldSTT, credentials, in_virtual_time, session, until, utterance

from adapters.livekit import VAD, TurnDetector, TurnDetectorStream
from eot_core import DetectorStream, EndpointingOptions, ModelSpec, OperatingPoint

CALLS = 30
TURNS = 4
LANGUAGES = ("en", "en", "de", "fr", "multi", "sv", "")
DECIDES: tuple[dict[str, Any], ...] = (
    {},
    {"operating_point": "quick"},
    {"operating_point": OperatingPoint(max_cutoff_rate=0.03)},
    {"endpointing": EndpointingOptions(0.4, 1.6, exponent=1.5, rescore_every=0.4)},
)
SESSIONS: tuple[dict[str, Any], ...] = ({}, {}, {"max_delay": 1.2}, {"mode": "dynamic"})


class Moody:
    """A model that says anything, and now and then nothing."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def predict(self, pcm: Any) -> float:
        mood = self._chance.random()
        if mood < 0.03:
            raise RuntimeError("the model broke")
        return float("nan") if mood < 0.06 else self._chance.random()


class Watched(TurnDetector):
    """Knows what was asked of it, and its streams as long as anybody else does."""

    asked: list[asyncio.Future[Any]]
    made: weakref.WeakSet[TurnDetectorStream]
    cores: list[DetectorStream]

    def stream(self, **options: Any) -> TurnDetectorStream:  # type: ignore[override]
        stream = super().stream(**options)
        predict = stream.predict

        def watched() -> asyncio.Future[Any]:
            future = predict()
            self.asked.append(future)
            return future

        stream.predict = watched  # type: ignore[method-assign]
        self.made.add(stream)
        self.cores.append(stream._core)
        return stream


class Soak:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.asked: list[asyncio.Future[Any]] = []
        self.made: weakref.WeakSet[TurnDetectorStream] = weakref.WeakSet()
        self.cores: list[DetectorStream] = []
        self.shared = [self.detector(random.Random(seed)) for seed in (-1, -2)]

    def detector(self, chance: random.Random) -> TurnDetector:
        model = Moody(chance)
        spec = ModelSpec("smart-turn-v3.2", "tests", "none", 2.0, lambda: model, 0.5)
        decides = chance.choice(DECIDES)
        if chance.random() < 0.4:
            detector = Watched(**credentials(self.gateway), fallback_model=spec, **decides)
        else:
            detector = Watched(model=spec, **decides)
        detector.asked, detector.made, detector.cores = self.asked, self.made, self.cores
        return detector

    async def call(self, number: int) -> None:
        """A call; each line that was said is committed once, or never where LiveKit threw it away."""
        chance, words = random.Random(number), ToldSTT()
        detector = chance.choice(self.shared) if chance.random() < 0.4 else self.detector(chance)
        handling = {"turn_detection": detector, "endpointing": chance.choice(SESSIONS)}
        hands_over, hangs_up = chance.random() < 0.3, chance.random() < 0.3
        async with session(vad=VAD(), transcript=None, stt=words, turn_handling=handling) as (running, microphone):
            committed: Counter[str] = Counter()
            running.on("conversation_item_added", lambda event: committed.update(_words(event.item)))
            lines = [f"{number}-{turn}" for turn in range(TURNS)]
            for line in lines:
                before = microphone.spoken_until
                microphone.say(utterance())
                await until(lambda before=before: microphone.spoken_until != before)  # type: ignore[misc]
                late = chance.choice((0.0, 0.1, 0.4, 1.0))
                asyncio.get_running_loop().call_later(late, words.lines.put_nowait, (line, chance.choice(LANGUAGES)))
                await asyncio.sleep(late + chance.choice((0.1, 0.5, 1.0, 3.5)))
                self.happen(chance, running, detector, hands_over)
            if not hangs_up:
                await asyncio.sleep(8.0)
        assert max(committed.values(), default=0) <= 1, (number, committed)
        if not hands_over and not hangs_up:
            assert set(lines) <= set(committed), (number, committed)

    def happen(
        self, chance: random.Random, running: AgentSession[None], detector: TurnDetector, hands_over: bool
    ) -> None:
        match chance.randrange(8 if hands_over else 5):
            case 0:
                running.update_options(turn_detection=self.detector(chance))
            case 1:
                running.update_options(endpointing_opts={"max_delay": chance.choice((1.0, 2.0))})
            case 2:
                running.interrupt(force=True)
            case 3:
                detector.update_options(unlikely_threshold=chance.random())
            case 5:
                running.update_agent(Agent(instructions="The next one."))
            case 6:
                running.update_agent(Agent(instructions="One with ears.", turn_detection=self.detector(chance)))
            case 7:
                running.update_agent(Agent(instructions="One without.", turn_detection="vad"))

    async def disturb(self) -> None:
        """The gateway dies, refuses, and comes back."""
        chance = random.Random(0)
        while True:
            await asyncio.sleep(chance.uniform(1.0, 4.0))
            match chance.randrange(3):
                case 0:
                    await self.gateway.die()
                case 1:
                    self.gateway.probability = chance.choice((None, chance.random()))
                case 2:
                    self.gateway.refuse = chance.choice((None, 503))


def _words(item: object) -> list[str]:
    return (item.text_content or "").split() if isinstance(item, llm.ChatMessage) and item.role == "user" else []


@in_virtual_time
async def test_nothing_is_lost_doubled_or_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    VAD().warm_up()  # which the process keeps, as it does the threads that score
    before = Left.now()
    async with Gateway().running() as gateway:
        soak = Soak(gateway)
        disturbing = asyncio.create_task(soak.disturb())
        await asyncio.gather(*(soak.call(number) for number in range(CALLS)))
        disturbing.cancel()
        await asyncio.wait({disturbing})
    await asyncio.sleep(5.0)
    assert len(soak.asked) > CALLS
    assert all(future.done() for future in soak.asked)
    assert all(core.closed for core in soak.cores)
    soak.asked.clear()
    soak.cores.clear()
    soak.shared.clear()
    gc.collect()
    assert not soak.made
    assert [left for left in before.more() if "eot-vad" not in left] == []
    loop: Any = asyncio.get_running_loop()
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
