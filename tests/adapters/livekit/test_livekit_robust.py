"""What goes wrong around the detector, or inside it, deafens no session."""

from __future__ import annotations

import asyncio
import logging
import threading

import numpy as np
import pytest
from livekit import rtc
from livekit.agents.metrics import EOTInferenceMetrics
from livekit.agents.voice.turn import (
    TurnDetectionEvent,
)
from livekit_kit import frame, noise, scripted

from adapters.livekit import TurnDetector, TurnDetectorStream
from eot_core import Prediction


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "audio",
        rtc.AudioFrame(b"", 16_000, 1, 0),
        frame(noise(0.1), 96_000),
        frame(noise(0.1), 4_000),
    ],
)
async def test_frames_that_make_no_sense_are_dropped_and_reported_once(
    bad: object, caplog: pytest.LogCaptureFixture
) -> None:
    stream = TurnDetector(model=scripted()).stream()
    stream.push_audio(frame(noise(0.5)))
    for _ in range(3):
        stream.push_audio(bad)  # type: ignore[arg-type]
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) <= 1
    assert (await stream.predict()).end_of_turn_probability == 0.7
    await stream.aclose()


async def test_a_broken_core_deafens_nobody(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """LiveKit would stop feeding audio for good after one exception."""
    stream = TurnDetector(model=scripted()).stream()

    def broken(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    for method in ("push_audio", "predict", "cancel", "flush"):
        monkeypatch.setattr(stream._core, method, broken)
    for _ in range(2):
        stream.push_audio(frame(noise(0.1)))
        stream.cancel_inference()
        stream.flush()
        assert (await stream.predict()).end_of_turn_probability == 1.0
    assert len([record for record in caplog.records if record.exc_info]) == 4  # each reported once, with its traceback
    monkeypatch.undo()
    await stream.aclose()


async def test_events_know_their_names_and_a_listener_that_raises_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    detector = TurnDetector(model=scripted())
    with pytest.raises(ValueError, match="event must be one of metrics_collected, prediction"):
        detector.on("eot_prediction", print)
    with pytest.raises(TypeError, match="callback must be callable"):
        detector.on("prediction", "print")  # type: ignore[arg-type]

    @detector.on("prediction")
    def wrong_type(_: Prediction) -> None:
        raise TypeError("which LiveKit's emitter lets through")

    stream = detector.stream()
    stream.push_audio(frame(noise(0.5)))
    assert (await stream.predict()).end_of_turn_probability == 0.7
    await stream.aclose()
    assert any(record.exc_info for record in caplog.records)


def test_a_stream_outlives_its_event_loop_without_raising(caplog: pytest.LogCaptureFixture) -> None:
    async def leave_open() -> TurnDetectorStream:
        stream = TurnDetector(model=scripted()).stream()
        stream.push_audio(frame(noise(0.5)))
        await stream.predict()
        return stream

    stream = asyncio.run(leave_open())
    stream.push_audio(frame(noise(0.5)))
    stream.cancel_inference()
    future = stream.predict()
    assert future.done()
    assert future.result().end_of_turn_probability == 1.0
    stream.flush()
    stream.end_input()


async def test_a_core_that_cannot_close_is_reported_and_answers_all_the_same(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = TurnDetector(model=scripted()).stream()

    async def broken() -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(stream._core, "aclose", broken)
    await stream.aclose()
    assert "aclose failed" in caplog.text
    assert (await stream.predict()).end_of_turn_probability == 1.0
    monkeypatch.undo()
    await stream.aclose()


async def test_a_request_that_is_dropped_from_within_counts_as_cancelled() -> None:
    stream = TurnDetector(model=scripted()).stream()
    stream.push_audio(frame(noise(0.5)))
    future = stream.predict()
    (inner,) = stream._core._futures.values()
    inner.cancel()
    assert (await future).end_of_turn_probability == 0.0
    await stream.aclose()


async def test_a_listener_that_raises_keeps_no_other_event_back() -> None:
    detector = TurnDetector(model=scripted())
    predictions: list[Prediction] = []

    def wrong_type(_: EOTInferenceMetrics) -> None:
        raise TypeError("which LiveKit's emitter lets through")

    detector.on("metrics_collected", wrong_type)
    detector.on("prediction", predictions.append)
    stream = detector.stream()
    stream.push_audio(frame(noise(0.5)))
    await stream.predict()
    assert len(predictions) == 1
    await stream.aclose()


@pytest.mark.parametrize("call", ["predict", "cancel_inference", "flush", "end_input", "aclose"])
def test_nothing_raises_when_the_loop_is_closed(call: str) -> None:
    closed = threading.Event()

    class Slow:
        def predict(self, pcm: np.ndarray) -> float:
            assert closed.wait(30)
            return 0.7

    async def talk() -> tuple[TurnDetectorStream, asyncio.Future[TurnDetectionEvent]]:
        stream = TurnDetector(model=scripted(Slow())).stream()
        stream.push_audio(frame(noise(0.5), 16_000))
        return stream, stream.predict()

    async def close() -> None:
        await stream.aclose()

    stream, waiting = asyncio.run(talk())
    closed.set()
    if call == "aclose":
        asyncio.run(close())
    else:
        getattr(stream, call)()
    assert stream.predict().result().end_of_turn_probability == 1.0
    assert waiting.result().end_of_turn_probability in (0.0, 1.0)
