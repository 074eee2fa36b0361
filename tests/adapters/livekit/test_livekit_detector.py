"""The detector itself: what it shows of its options, and options that change."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from livekit.agents import NOT_GIVEN, LanguageCode
from livekit.agents.telemetry import traces
from livekit.agents.voice.agent_session import AgentSession
from livekit_kit import ScriptedModel, frame, noise, scripted

from adapters.livekit import TurnDetector, TurnDetectorStream
from eot_core import ModelSpec


async def test_options_are_described_in_livekits_session_report() -> None:
    detector = TurnDetector(unlikely_threshold={"en": 0.4}, api_key="the-key", api_secret="the-secret")
    if not hasattr(traces, "DescribesOptions"):
        pytest.skip("this livekit-agents has no such report")
    options = traces._serialize_session_options(AgentSession(turn_handling={"turn_detection": detector})._opts)
    described = options["turn_handling"]["turn_detection"]
    assert described.startswith("adapters.livekit.detector.TurnDetector(")
    assert "model=turn-detector-v1-mini" in described
    assert '"en": 0.4' in described
    assert "the-key" not in described
    assert "the-secret" not in described
    assert "the-key" not in repr(detector)
    assert "the-secret" not in repr(detector)


async def test_neither_keys_nor_endpoints_are_shown() -> None:
    detector = TurnDetector(version="v1", base_url="https://gate.example/v1", api_key="the-key", api_secret="hush")
    for shown in (repr(detector), str(detector.describe_options())):
        for secret in ("gate.example", "the-key", "hush"):
            assert secret not in shown


async def test_one_warning_for_an_override_and_none_without(caplog: pytest.LogCaptureFixture) -> None:
    TurnDetector()
    assert not caplog.records
    TurnDetector(unlikely_threshold=0.4)
    assert len(caplog.records) == 1
    assert "unlikely_threshold" in caplog.records[0].getMessage()


async def test_one_warning_where_the_cloud_lacks_credentials(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEKIT_DEV_MODE", "1")
    assert TurnDetector().model == "turn-detector-v1-mini"
    (warning,) = caplog.records
    assert warning.name == "eot_core"
    assert "LIVEKIT_API_KEY and LIVEKIT_API_SECRET missing" in warning.getMessage()


async def test_the_detectors_own_look_ups_tell_what_streams_start_with() -> None:
    detector = TurnDetector(unlikely_threshold={"en": 0.5})
    assert await detector.unlikely_threshold(LanguageCode("en-GB")) == 0.5
    assert await detector.unlikely_threshold(LanguageCode("fr")) == 0.285
    assert await detector.backchannel_threshold(LanguageCode("en")) is None
    assert await detector.supports_language(LanguageCode("sv")) is False
    stream = detector.stream()
    assert isinstance(stream, TurnDetectorStream)
    await stream.aclose()


async def test_update_options_reaches_open_streams_and_an_empty_table_brings_the_calibration_back() -> None:
    detector = TurnDetector()
    stream = detector.stream()
    detector.update_options(unlikely_threshold={LanguageCode("pt-BR"): 0.6})
    assert await stream.unlikely_threshold(LanguageCode("pt-PT")) == 0.6
    detector.update_options(unlikely_threshold=NOT_GIVEN, backchannel_threshold=NOT_GIVEN)
    assert await stream.unlikely_threshold(LanguageCode("pt")) == 0.6
    detector.update_options(unlikely_threshold={})
    assert await stream.unlikely_threshold(LanguageCode("pt")) == 0.32
    await stream.aclose()


async def test_warm_up_loads_before_the_first_call() -> None:
    loads: list[int] = []

    def load() -> ScriptedModel:
        loads.append(1)
        return ScriptedModel()

    lazy = ModelSpec(name="lazy", provider="tests", license="none", window=1.0, load=load, default_threshold=0.5)
    detector = TurnDetector(model=lazy)
    assert not loads
    detector.warm_up()
    stream = detector.stream()
    stream.push_audio(frame(noise(0.5)))
    await stream.predict()
    await stream.aclose()
    assert loads == [1]


def test_jobs_in_threads_of_one_process_may_share_a_detector() -> None:
    """LiveKit's thread executor: each job has an event loop of its own."""
    detector = TurnDetector(model=scripted())
    over = threading.Event()

    async def job() -> int:
        streams = [detector.stream() for _ in range(300)]
        for stream in streams:
            await stream.aclose()
        return len(streams)

    def ask() -> None:
        while not over.is_set():
            assert detector.model == "scripted"

    with ThreadPoolExecutor() as threads:
        asking = threads.submit(ask)
        jobs = [threads.submit(lambda: asyncio.run(job())) for _ in range(3)]
        try:
            assert sum(done.result() for done in jobs) == 900
        finally:
            over.set()
        asking.result()
