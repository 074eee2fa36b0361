"""Which session hears of a detector's metrics, and under which name, in virtual time."""

from __future__ import annotations

import pytest
from livekit.agents import Agent, AgentSession, MetricsCollectedEvent
from livekit.agents.metrics import EOTInferenceMetrics, EOTModelUsage, EOUMetrics
from livekit.agents.voice.agent_activity import AgentActivity
from livekit_kit import (
    Gateway,
    Microphone,
    credentials,
    frame,
    in_virtual_time,
    scripted,
    session,
    until,
    utterance,
)

from adapters.livekit import VAD, TurnDetector
from eot_core import Prediction


def requests(running: AgentSession[None]) -> int:
    """That the session's usage counts."""
    return sum(usage.total_requests for usage in running.usage.model_usage if isinstance(usage, EOTModelUsage))


async def take_a_turn(running: AgentSession[None], microphone: Microphone) -> None:
    roles: list[str] = []
    running.on("conversation_item_added", lambda event: roles.append(getattr(event.item, "role", "none")))
    microphone.say(utterance())
    await until(lambda: roles[-2:] == ["user", "assistant"])


@in_virtual_time
async def test_sessions_that_share_a_detector_count_what_they_asked_for() -> None:
    """As after a warm transfer, where LiveKit hands the detector on."""
    detector = TurnDetector(model=scripted())
    heard: list[EOTInferenceMetrics] = []
    detector.on("metrics_collected", heard.append)
    async with (
        session(vad=VAD(), turn_detection=detector) as (one, microphone),
        session(vad=VAD(), turn_detection=detector) as (other, _),
    ):
        await take_a_turn(one, microphone)
        assert (requests(one), requests(other)) == (1, 0)
    assert len(heard) == 1


@in_virtual_time
async def test_a_detector_that_took_anothers_place_is_counted() -> None:
    """LiveKit connects the metrics of the detector that an agent starts with."""
    async with session(vad=VAD(), turn_detection=TurnDetector(model=scripted())) as (running, microphone):
        running.update_options(turn_detection=TurnDetector(model=scripted()))
        await take_a_turn(running, microphone)
        assert requests(running) == 1
        running.update_agent(Agent(instructions="Repeat what you are told."))
        await take_a_turn(running, microphone)
        assert requests(running) == 2


@in_virtual_time
async def test_what_nobody_known_asks_for_goes_to_whoever_listens() -> None:
    detector = TurnDetector(model=scripted())
    stream = detector.stream()

    async def ask() -> None:
        stream.push_audio(frame(utterance()))
        assert (await stream.predict()).end_of_turn_probability > 0.0

    async with session(vad=VAD(), turn_detection=detector) as (running, _):
        await ask()
        assert requests(running) == 1
    await ask()
    assert requests(running) == 1, "it has left"
    await stream.aclose()


@pytest.mark.parametrize("answers", [True, False])
@in_virtual_time
async def test_the_metrics_of_a_turn_name_the_model_that_judged_it(answers: bool) -> None:
    gateway = Gateway()
    gateway.probability = 0.9 if answers else None
    async with gateway.running():
        detector = TurnDetector(**credentials(gateway), fallback_model=scripted())
        metrics: list[EOUMetrics] = []

        def collect(event: MetricsCollectedEvent) -> None:
            if isinstance(event.metrics, EOUMetrics):
                metrics.append(event.metrics)

        async with session(vad=VAD(), turn_detection=detector) as (running, microphone):
            running.on("metrics_collected", collect)
            await take_a_turn(running, microphone)
        (only,) = metrics
        assert only.metadata is not None
        named = (only.metadata.model_name, only.metadata.model_provider)
        assert named == (("turn-detector-v1", "livekit") if answers else ("scripted", "tests"))
        assert detector.model == "turn-detector-v1"  # that the next stream starts with
        assert detector.describe_options()["model"] == "turn-detector-v1"


@in_virtual_time
async def test_a_session_that_cannot_count_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: AgentActivity, event: object) -> None:
        if isinstance(event, EOTInferenceMetrics):
            raise RuntimeError("a bug of theirs")

    monkeypatch.setattr(AgentActivity, "_on_metrics_collected", broken)
    detector = TurnDetector(model=scripted())
    predictions: list[Prediction] = []
    detector.on("prediction", predictions.append)
    async with session(vad=VAD(), turn_detection=detector) as (running, microphone):
        await take_a_turn(running, microphone)
    assert len(predictions) == 1
    assert "could not count metrics" in caplog.text
