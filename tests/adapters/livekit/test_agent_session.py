"""Real agent sessions on our detector and our VAD, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, inference, llm, telemetry
from livekit.agents.metrics import EOTModelUsage
from livekit.agents.voice.turn import TurnHandlingOptions
from livekit_kit import Gateway, Microphone, credentials, frame, in_virtual_time, noise, session, until, utterance
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from silent_realtime import SilentRealtimeSession

from adapters.livekit import VAD, TurnDetector
from adapters.livekit.mini import V1_MINI
from eot_core import BackchannelOpportunity, available_models

needs_smart_turn = pytest.mark.skipif(
    "smart-turn-v3.2" not in [spec.name for spec in available_models()], reason="pipecat-ai is not installed"
)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


async def _take_a_turn(running: AgentSession[None], microphone: Microphone) -> llm.ChatMessage:
    """Say something and wait until the agent has answered; returns what the user is taken to have said."""
    items: list[Any] = []
    running.on("conversation_item_added", lambda event: items.append(event.item))
    microphone.say(utterance())
    await until(lambda: [item.role for item in items] == ["user", "assistant"])
    said: llm.ChatMessage = items[0]
    return said


def _detection(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = [span for span in exporter.get_finished_spans() if span.name == "eou_detection"]
    return span


@in_virtual_time
async def test_a_spoken_turn_is_committed_measured_and_accounted_for(spans: InMemorySpanExporter) -> None:
    detector = TurnDetector()
    # Whatever the model thinks of the recording, the test should not wait for long.
    options = {"turn_detection": detector, "max_endpointing_delay": 1.0}
    async with session(vad=VAD(), **options) as (running, microphone):
        activity = running._activity
        assert activity is not None
        assert activity.endpointing_opts["min_delay"] == 0.3
        said = await _take_a_turn(running, microphone)
        (usage,) = [usage for usage in running.usage.model_usage if isinstance(usage, EOTModelUsage)]
    assert said.text_content == "hello there"
    assert (usage.model, usage.provider) == ("turn-detector-v1-mini", "livekit")
    assert usage.total_requests >= 1
    attributes = _detection(spans).attributes or {}
    probability, threshold = attributes["lk.eou.probability"], attributes["lk.eou.unlikely_threshold"]
    assert isinstance(probability, float)
    assert 0.0 < probability < 1.0
    assert threshold == 0.36
    likely = probability >= threshold
    assert attributes["lk.eou.endpointing_delay"] == (0.3 if likely else 1.0)
    assert attributes["lk.eou.language"] == "en"
    assert isinstance(attributes["lk.eou.detection_delay"], float)
    assert said.metrics["end_of_turn_delay"] == pytest.approx(0.3 if likely else 1.0, abs=0.001)


@needs_smart_turn
@in_virtual_time
async def test_a_spoken_turn_with_smart_turn_through_turn_handling(spans: InMemorySpanExporter) -> None:
    handling = TurnHandlingOptions(
        turn_detection=TurnDetector(model="smart-turn-v3.2", unlikely_threshold={"en": 0.45}),
        endpointing={"max_delay": 1.0},
    )
    async with session(vad=inference.VAD(), turn_handling=handling) as (running, microphone):
        await _take_a_turn(running, microphone)
        (usage,) = [usage for usage in running.usage.model_usage if isinstance(usage, EOTModelUsage)]
    assert (usage.model, usage.provider) == ("smart-turn-v3.2", "pipecat")
    attributes = _detection(spans).attributes or {}
    assert attributes["lk.eou.unlikely_threshold"] == 0.45
    assert 0.0 < attributes["lk.eou.probability"] < 1.0  # type: ignore[operator]


@in_virtual_time
async def test_endpointing_has_the_detectors_defaults_and_takes_sparse_overrides() -> None:
    for given, expected in (
        ({}, (0.3, 2.5)),
        ({"max_delay": 4.0}, (0.3, 4.0)),
        ({"min_delay": 0.7}, (0.7, 2.5)),
    ):
        handling = TurnHandlingOptions(turn_detection=TurnDetector(), endpointing=given)  # type: ignore[typeddict-item]
        async with session(vad=VAD(), turn_handling=handling) as (running, _):
            assert _delays(running) == expected


@in_virtual_time
async def test_an_agent_resolves_its_own_defaults_and_a_handoff_keeps_the_stream() -> None:
    detector = TurnDetector()
    async with session(Agent(instructions="first"), vad=VAD(), turn_detection=detector) as (running, _):
        stream = _stream(running)
        assert stream is not None
        await _hand_over(running, Agent(instructions="second"))
        assert _stream(running) is stream  # with its fallback, its audio and its connection
        stream.push_audio(_half_a_second())
        assert (await stream.predict()).end_of_turn_probability > 0.0
        await _hand_over(running, Agent(instructions="third", turn_handling={"endpointing": {"max_delay": 3.5}}))
        assert _stream(running) is stream
        assert _delays(running) == (0.3, 3.5)
        await _hand_over(running, Agent(instructions="fourth", turn_detection="vad"))
        assert _stream(running) is None
        assert _delays(running) == (0.5, 3.0)
        await _hand_over(running, Agent(instructions="fifth", turn_detection=TurnDetector(model=V1_MINI)))
        assert _delays(running) == (0.3, 2.5)
        assert _stream(running) is not stream
        assert stream._core.closed


@in_virtual_time
async def test_metrics_follow_the_detector_through_a_handoff() -> None:
    first, second = TurnDetector(), TurnDetector()
    async with session(Agent(instructions="first"), vad=VAD(), turn_detection=first) as (running, _):
        await _hand_over(running, Agent(instructions="second", turn_detection=second))
        stream = _stream(running)
        stream.push_audio(_half_a_second())
        await stream.predict()
        (usage,) = [usage for usage in running.usage.model_usage if isinstance(usage, EOTModelUsage)]
        assert usage.total_requests == 1


@in_virtual_time
async def test_without_a_vad_livekit_says_so_and_goes_on_without_the_detector(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with session(vad=None, transcript=None, turn_detection=TurnDetector()) as (running, _):
        assert _stream(running) is None
    assert any("TurnDetector requires a VAD" in record.getMessage() for record in caplog.records)


@in_virtual_time
async def test_a_vad_that_is_too_quick_is_refused() -> None:
    with pytest.raises(ValueError, match=r"min_silence_duration=0\.1s is too low"):
        async with session(vad=VAD(min_silence_duration=0.1), turn_detection=TurnDetector()):
            pass


@in_virtual_time
async def test_endpointing_and_detector_may_change_while_the_session_runs() -> None:
    first, second = TurnDetector(), TurnDetector()
    metrics: list[object] = []
    second.on("metrics_collected", metrics.append)
    async with session(vad=VAD(), turn_detection=first) as (running, _):
        running.update_options(endpointing_opts={"min_delay": 0.4})
        assert _delays(running) == (0.4, 2.5)
        before = _stream(running)
        running.update_options(turn_detection=second)
        after = _stream(running)
        assert after is not before
        await until(lambda: before._core.closed)
        after.push_audio(_half_a_second())
        assert (await after.predict()).end_of_turn_probability > 0.0
        # LiveKit connects a detector's metrics with a session when an agent starts, not when a detector is swapped, its
        # own neither; the detector itself tells them all the same.
        assert len(metrics) == 1
        running.update_options(turn_detection=None)
        assert _stream(running) is None


@pytest.mark.parametrize("can_hand_over", [True, False])
@in_virtual_time
async def test_a_realtime_models_own_turn_detection_gives_way_where_it_can(
    can_hand_over: bool, caplog: pytest.LogCaptureFixture
) -> None:
    model = SpeechToSpeech(can_hand_over)
    async with session(vad=VAD(), transcript=None, llm=model, turn_detection=TurnDetector()) as (running, _):
        assert model.turn_detection_disabled is can_hand_over
        assert (_stream(running) is not None) is can_hand_over
    warned = any("server-side turn detection enabled" in record.getMessage() for record in caplog.records)
    assert warned is not can_hand_over


def _activity(running: AgentSession[None]) -> Any:
    assert running._activity is not None
    return running._activity


def _stream(running: AgentSession[None]) -> Any:
    return _activity(running)._audio_recognition._turn_detector_stream


def _delays(running: AgentSession[None]) -> tuple[float, float]:
    """What is in force, not what was asked for."""
    endpointing = _activity(running)._audio_recognition._endpointing
    return endpointing.min_delay, endpointing.max_delay


async def _hand_over(running: AgentSession[None], agent: Agent) -> None:
    running.update_agent(agent)
    await until(lambda: running._activity is not None and running._activity.agent is agent and _started(running))


def _started(running: AgentSession[None]) -> bool:
    return getattr(running._activity, "_audio_recognition", None) is not None


def _half_a_second() -> rtc.AudioFrame:
    return frame(noise(0.5))


class SpeechToSpeech(llm.RealtimeModel):
    """A realtime model that detects turns itself."""

    def __init__(self, can_hand_over: bool) -> None:
        super().__init__(
            capabilities=llm.RealtimeCapabilities(
                message_truncation=False,
                turn_detection=True,
                user_transcription=True,
                auto_tool_reply_generation=False,
                audio_output=False,
                manual_function_calls=False,
                can_disable_turn_detection=can_hand_over,
            )
        )
        self.turn_detection_disabled: bool | None = None

    def session(self, *, turn_detection_disabled: bool = False) -> SilentRealtimeSession:
        self.turn_detection_disabled = turn_detection_disabled
        return SilentRealtimeSession(self)

    async def aclose(self) -> None:
        pass


@in_virtual_time
async def test_a_backchannel_reaches_livekits_own_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cloud tells them; LiveKit does nothing with the opportunity yet, but this is where it will."""
    reached: list[Any] = []
    activity = "livekit.agents.voice.agent_activity.AgentActivity.on_agent_backchannel_opportunity"
    monkeypatch.setattr(activity, lambda self, event: reached.append(event))
    gateway = Gateway()
    gateway.calibration = replace(gateway.calibration, default_backchannel_threshold=0.3)
    gateway.backchannel = 0.8
    async with gateway.running():
        detector = TurnDetector(**credentials(gateway))
        told: list[BackchannelOpportunity] = []
        detector.on("backchannel_opportunity", told.append)
        async with session(vad=VAD(), turn_detection=detector, max_endpointing_delay=1.0) as (running, microphone):
            await _take_a_turn(running, microphone)
    assert [round(event.probability, 3) for event in reached] == [0.8] * len(told)
    assert reached
    assert reached[0].threshold == pytest.approx(0.3)
    assert reached[0].language == "en"
