"""When an operating point ends the turn in a real session, in virtual time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from livekit.agents import Agent, LanguageCode, llm, stt
from livekit.agents.voice.turn import EndpointingOptions as SessionEndpointing
from livekit_kit import Gateway, ScriptedModel, credentials, in_virtual_time, session, until, utterance

from adapters.livekit import VAD, TurnDetector
from eot_core import EndpointingOptions, ModelSpec, OperatingPoint
from eot_core.policy_table import MeasuredPolicy, ModelPolicies, PolicyTable

MODEL = "smart-turn-v3.2"
LATENCY = 0.2
"""Seconds that the STT takes to write what it was told to."""


def spec(probability: float) -> ModelSpec:
    return ModelSpec(MODEL, "tests", "none", 8.0, lambda: ScriptedModel(probability), 0.5)


def point(low: float, high: float) -> OperatingPoint:
    """One whose delays are these in English, for :data:`MODEL`; the published ones for the cloud's."""
    policy = MeasuredPolicy(0.5, EndpointingOptions(low, high), cutoff_rate=0.04, latency=0.5)
    return OperatingPoint(
        "balanced", calibration=PolicyTable({MODEL: ModelPolicies(languages={"en": (policy,)}, provenance="made up")})
    )


class FlushedSTT(stt.STT):
    """Writes nothing before it is flushed, as ElevenLabs' realtime one."""

    def __init__(self) -> None:
        super().__init__(capabilities=_flushed())
        self.flushed_at: list[float] = []

    def stream(self, **options: Any) -> stt.RecognizeStream:
        return _Flushed(self, options["conn_options"])

    async def _recognize_impl(self, *args: Any, **options: Any) -> stt.SpeechEvent:
        raise NotImplementedError


def _flushed() -> stt.STTCapabilities:
    try:
        return stt.STTCapabilities(streaming=True, interim_results=False, manual_flush=True)
    except TypeError:
        pytest.skip("this livekit-agents flushes no STT")


class _Flushed(stt.RecognizeStream):
    def __init__(self, parent: FlushedSTT, conn_options: Any) -> None:
        self._parent = parent
        super().__init__(stt=parent, conn_options=conn_options)

    async def _run(self) -> None:
        async for item in self._input_ch:
            if isinstance(item, self._FlushSentinel):
                self._parent.flushed_at.append(time.time())
                await asyncio.sleep(LATENCY)
                said = stt.SpeechData(language=LanguageCode("en"), text="hello there")
                self._event_ch.send_nowait(stt.SpeechEvent(stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[said]))


async def turn_ends_after(detector: TurnDetector, agent: Agent | None = None, **options: Any) -> float:
    """Seconds from the true end of speech to the end of the turn."""
    async with session(agent, vad=VAD(), turn_handling=_handling(detector, options), **options) as (
        running,
        microphone,
    ):
        items: list[llm.ChatMessage] = []
        running.on("conversation_item_added", lambda event: items.append(event.item))
        microphone.say(utterance())
        await until(lambda: items)
        delay: float = items[0].metrics["end_of_turn_delay"]
        return delay


def _handling(detector: TurnDetector, options: dict[str, Any]) -> dict[str, Any]:
    return {"turn_detection": detector, "endpointing": options.pop("endpointing", {})}


@pytest.mark.parametrize("probability", [0.9, 0.1])
@in_virtual_time
async def test_the_points_delays_hold(probability: float) -> None:
    detector = TurnDetector(model=spec(probability), operating_point=point(0.8, 1.6))
    assert await turn_ends_after(detector) == pytest.approx(0.8 if probability > 0.5 else 1.6, abs=0.01)


@pytest.mark.parametrize("probability", [0.9, 0.1])
@in_virtual_time
async def test_an_stt_that_livekit_flushes_is_flushed_in_time(probability: float) -> None:
    """LiveKit flushes it once it has the detector's answer: one that is held until the end came too late."""
    detector = TurnDetector(model=spec(probability), operating_point=point(0.8, 1.6))
    delay = await turn_ends_after(detector, transcript=None, stt=FlushedSTT())
    assert delay == pytest.approx(0.8 if probability > 0.5 else 1.6, abs=0.01)


@in_virtual_time
async def test_it_is_flushed_in_each_pause_that_the_vad_reports_and_in_no_other() -> None:
    """What is said after a flush needs another: LiveKit makes room for it when the VAD reports speech."""
    detector = TurnDetector(model=spec(0.9), operating_point=point(0.8, 1.6))
    slow, words = VAD(min_silence_duration=0.55), FlushedSTT()
    async with session(vad=slow, transcript=None, stt=words, turn_detection=detector) as (running, microphone):
        items: list[llm.ChatMessage] = []
        running.on("conversation_item_added", lambda event: items.append(event.item))
        again = utterance()[np.flatnonzero(np.abs(utterance()) > 1_000)[0] :]
        microphone.say(np.concatenate((utterance(), np.zeros(round(0.4 * 16_000), np.int16), again)))
        await until(lambda: items)
        (flushed_at,) = words.flushed_at
        assert microphone.spoken_until is not None
        assert flushed_at > microphone.spoken_until
        assert items[0].metrics["end_of_turn_delay"] == pytest.approx(0.8, abs=0.03)  # the VAD's silence, and the STT


@pytest.mark.parametrize(
    ("probability", "given", "expected"),
    [
        (0.9, {"min_delay": 0.5}, 0.5),
        (0.9, {"min_delay": 1.0}, 1.0),
        (0.9, {"max_delay": 1.2}, 0.8),
        (0.1, {"max_delay": 1.2}, 1.2),
        (0.1, {"max_delay": 3.0}, 3.0),
        (0.1, {"min_delay": 0.5}, 1.6),
        (0.1, {"mode": "dynamic"}, 1.6),
        (0.9, {"min_delay": 2.0}, 2.0),
    ],
)
@in_virtual_time
async def test_delays_that_the_session_was_given_go_before_the_points(
    probability: float, given: SessionEndpointing, expected: float
) -> None:
    detector = TurnDetector(model=spec(probability), operating_point=point(0.8, 1.6))
    assert await turn_ends_after(detector, endpointing=given) == pytest.approx(expected, abs=0.01)


@in_virtual_time
async def test_delays_that_the_agent_was_given_go_before_the_sessions() -> None:
    detector = TurnDetector(model=spec(0.1), operating_point=point(0.8, 1.6))
    agent = Agent(instructions="Repeat what you are told.", turn_handling={"endpointing": {"max_delay": 1.2}})
    assert await turn_ends_after(detector, agent, endpointing={"max_delay": 3.0}) == pytest.approx(1.2, abs=0.01)


@in_virtual_time
async def test_delays_that_the_session_is_given_later_count_too() -> None:
    detector = TurnDetector(model=spec(0.1), operating_point=point(0.8, 1.6))
    async with session(vad=VAD(), turn_detection=detector) as (running, microphone):
        items: list[llm.ChatMessage] = []
        running.on("conversation_item_added", lambda event: items.append(event.item))
        running.update_options(endpointing_opts={"max_delay": 1.2})
        microphone.say(utterance())
        await until(lambda: items)
        assert items[0].metrics["end_of_turn_delay"] == pytest.approx(1.2, abs=0.01)


@in_virtual_time
async def test_the_detectors_own_delays_go_before_the_sessions() -> None:
    detector = TurnDetector(model=spec(0.1), endpointing=EndpointingOptions(0.8, 1.6))
    assert await turn_ends_after(detector, endpointing={"max_delay": 3.0}) == pytest.approx(1.6, abs=0.01)


@pytest.mark.parametrize("longest", [2.2, 4.0])
@in_virtual_time
async def test_a_fallback_in_mid_pause_to_a_model_that_waits_longer(
    longest: float, caplog: pytest.LogCaptureFixture
) -> None:
    """LiveKit asks how long the answer may take when the cloud, whose delays are shorter, is yet to give it."""
    gateway = Gateway()
    gateway.probability = None
    async with gateway.running():
        detector = TurnDetector(**credentials(gateway), fallback_model=spec(0.1), operating_point=point(0.8, longest))
        assert await turn_ends_after(detector) == pytest.approx(longest, abs=0.01)
    assert "timed out" not in caplog.text
