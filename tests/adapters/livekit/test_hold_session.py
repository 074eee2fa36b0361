"""Held answers inside a real session: the time of the hold is moved by hand, the rest is in virtual time.

In real time where a model hangs: virtual time waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from livekit.agents import Agent, AgentSession, llm
from livekit_kit import Microphone, ToldSTT, in_virtual_time, session, until, utterance

from adapters.livekit import VAD, TurnDetector
from eot_core import EndpointingOptions, ModelSpec, OperatingPoint
from eot_core.clock import ManualClock

MODEL = "smart-turn-v3.2"


class Model:
    """Says the same each time; hangs from the ``hangs_at``-th time on."""

    def __init__(self, probability: float, hangs_at: int | None = None) -> None:
        self.probability, self.hangs_at, self.asked = probability, hangs_at, 0
        self.go = threading.Event()

    def predict(self, pcm: np.ndarray[Any, Any]) -> float:
        if pcm.any():
            self.asked += 1
            if self.hangs_at is not None and self.asked >= self.hangs_at:
                self.go.wait(20)
        return self.probability

    def spec(self) -> ModelSpec:
        return ModelSpec(MODEL, "tests", "none", 8.0, lambda: self, 0.5)


class Turn:
    """A user who has just fallen silent; the answer is held until ``clock`` is moved."""

    def __init__(self, running: AgentSession[None], words: ToldSTT, clock: ManualClock) -> None:
        self.running, self.words, self.clock = running, words, clock
        self.items: list[llm.ChatMessage] = []
        running.on("conversation_item_added", lambda event: self.items.append(event.item))

    @property
    def stream(self) -> Any:
        activity: Any = self.running._activity
        return activity._audio_recognition._turn_detector_stream

    @property
    def held(self) -> bool:
        return self.stream._held_answer is not None and not self.stream._held_answer.done()

    async def write(self, text: str, language: str = "en") -> None:
        """Have it written, and see LiveKit ask with its language."""
        await self.words.lines.put((text, language))
        await until(lambda: self.stream._core._session.language == language)


@contextlib.asynccontextmanager
async def spoken(model: Model, held: bool = True, **options: Any) -> AsyncIterator[Turn]:
    clock, words = ManualClock(100.0), ToldSTT()
    detector = TurnDetector(model=model.spec(), **options)
    detector._core._clock = clock
    agent = Agent(instructions="Repeat what you are told.")
    microphone: Microphone
    try:
        async with session(agent, vad=VAD(), transcript=None, stt=words, turn_detection=detector) as (
            running,
            microphone,
        ):
            turn = Turn(running, words, clock)
            microphone.say(utterance())
            await until(lambda: microphone.spoken_until is not None and (turn.held or not held))
            yield turn
    finally:
        model.go.set()


@in_virtual_time
async def test_the_language_is_named_after_the_prediction() -> None:
    """The usual order in the first turn of a call: the delays are those of the language all the same."""
    point = OperatingPoint("patient")
    english, german = (point.resolve(MODEL, language).options.max_delay for language in ("en", "de"))
    assert german < english - 0.5
    async with spoken(Model(0.001), operating_point=point) as turn:
        await turn.write("schalte das Licht an", "de")
        assert turn.held
        turn.clock.advance(german - 0.4)  # some 0.25 s of the pause are over
        assert turn.held
        turn.clock.advance(0.4)
        assert not turn.held
        await until(lambda: turn.items)
        assert turn.items[0].text_content == "schalte das Licht an"


async def test_a_further_score_that_hangs_delays_no_turn_that_is_decided() -> None:
    options = EndpointingOptions(0.4, 1.8, exponent=1.0, rescore_every=0.4)
    model = Model(0.8, hangs_at=2)  # 0.68 s after the end of speech
    async with spoken(model, endpointing=options) as turn:
        await turn.write("turn on the light")
        turn.clock.advance(0.2)  # at 0.4 s: another score is asked for
        await until(lambda: model.asked == 2)
        turn.clock.advance(0.15)
        assert turn.held
        turn.clock.advance(0.15)
        assert not turn.held
        await until(lambda: turn.items)


@pytest.mark.parametrize("probability", [0.9, 0.2])
@in_virtual_time
async def test_a_detector_that_is_replaced_while_it_holds_an_answer_gives_its_own(probability: float) -> None:
    async with spoken(Model(probability), endpointing=EndpointingOptions(0.8, 2.0)) as turn:
        answer = turn.stream._held_answer
        await turn.write("turn on the light")
        before = turn.stream
        turn.running.update_options(turn_detection=TurnDetector())
        await until(lambda: before._core.closed)
        assert answer.result().end_of_turn_probability == probability
        assert await before.unlikely_threshold(None) == 0.5
        await until(lambda: turn.items)


class Waiter(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="Wait.")
        self.entered = False

    async def on_enter(self) -> None:
        self.entered = True


@in_virtual_time
async def test_another_agent_takes_over_while_an_answer_is_held() -> None:
    """LiveKit waits for the answer before it hands over, and asks nobody meanwhile how the pause goes on."""
    async with spoken(Model(0.2), endpointing=EndpointingOptions(0.8, 2.0)) as turn:
        await turn.write("turn on the light")
        other, answer = Waiter(), turn.stream._held_answer
        turn.running.update_agent(other)
        await until(lambda: other.entered)
        assert answer.result().end_of_turn_probability == 0.2


@in_virtual_time
async def test_a_session_that_closes_waits_for_no_answer_that_is_held() -> None:
    async with spoken(Model(0.2), endpointing=EndpointingOptions(0.8, 2.0)) as turn:
        await turn.write("turn on the light")
        answer = turn.stream._held_answer
        await asyncio.wait_for(turn.running.aclose(), 15)
        assert answer.result().end_of_turn_probability == 0.2


async def test_an_answer_that_comes_while_the_session_closes_is_given() -> None:
    model = Model(0.2, hangs_at=1)
    async with spoken(model, held=False, endpointing=EndpointingOptions(0.8, 2.0), prediction_timeout=60.0) as turn:
        await until(lambda: model.asked == 1)
        await turn.write("turn on the light")
        closing = asyncio.create_task(turn.running.aclose())
        stream = turn.stream
        await until(lambda: stream._asked_by is not None and stream._asked_by.done())
        model.go.set()
        await asyncio.wait_for(closing, 15)
