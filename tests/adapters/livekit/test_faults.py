"""What LiveKit's own detector gets wrong, each shown on it first and then right on ours.

The numbers are those of the list that the project keeps. The part about LiveKit's class holds for livekit-agents 1.7.0
to 1.8.9; where a later version has mended a fault, the test says so in a warning instead of failing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import aiohttp
import livekit.agents
import numpy as np
import pytest
from livekit.agents import LanguageCode, inference
from livekit_kit import Gateway, frame, frames, noise, until

from adapters.livekit import TurnDetector
from eot_core import ModelSpec
from eot_core.cpu import worker_count

_EXAMINED = (1, 8, 9)
EN = LanguageCode("en")


@contextlib.contextmanager
def on_livekits_own(fault: int) -> Iterator[None]:
    """The faulty behaviour is asserted inside."""
    try:
        yield
    except AssertionError:
        version = livekit.agents.__version__
        if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) <= _EXAMINED:
            raise
        warnings.warn(f"livekit-agents {version} seems to have mended fault {fault}", stacklevel=3)


class Recorder:
    """In place of a model: remembers what it was given."""

    def __init__(self, probability: float = 0.7, error: Exception | None = None) -> None:
        self.heard: list[np.ndarray] = []
        self.threads: list[str] = []
        self.probability = probability
        self.error = error
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, pcm: np.ndarray) -> float:
        self.heard.append(np.array(pcm))
        self.threads.append(threading.current_thread().name)
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return self.probability


def ours(model: Recorder, **options: Any) -> TurnDetector:
    spec = ModelSpec(
        name="recorder", provider="tests", license="none", window=1.2, load=lambda: model, default_threshold=0.5
    )
    return TurnDetector(model=spec, **options)


def livekits_mini(model: Any | None = None) -> Any:
    """A stream of LiveKit's local detector, with the model replaced where one is given."""
    stream = inference.TurnDetector(version="v1-mini").stream()
    if model is not None:
        stream._transport._eot = model  # type: ignore[attr-defined]
    return stream


def credentials(gateway: Gateway) -> dict[str, Any]:
    return {
        "version": "v1",
        "base_url": gateway.url,
        "api_key": "key",
        "api_secret": "a secret of thirty-two characters",
    }


def tail_is(heard: np.ndarray, pcm: np.ndarray) -> bool:
    return len(heard) >= len(pcm) and bool(np.array_equal(heard[-len(pcm) :], pcm))


async def test_fault_01_one_streams_fallback_changes_the_others(gateway: Gateway) -> None:
    gateway.probability = None  # connects, then never answers
    async with aiohttp.ClientSession() as http:
        detector = inference.TurnDetector(**credentials(gateway), http_session=http)
        one, other = detector.stream(), detector.stream()
        await until(lambda: detector._opts.thresholds.default_threshold == 0.56)
        one.predict()
        one.cancel_inference(timed_out=True)
        later = detector.stream()
        with on_livekits_own(1):
            assert not other.is_fallback
            assert await other.unlikely_threshold(EN) == 0.36  # though it is still on the cloud
            assert later.model == "turn-detector-v1-mini"
        for stream in (one, other, later):
            await stream.aclose()

    mine = TurnDetector(**credentials(gateway))
    one_, other_ = mine.stream(), mine.stream()
    for stream_ in (one_, other_):
        stream_.push_audio(frame(noise(0.5)))
    await _connected(one_, other_)
    one_.predict()
    one_.cancel_inference(timed_out=True)
    later_ = mine.stream()
    assert (one_.is_fallback, other_.is_fallback, later_.is_fallback) == (True, False, False)
    assert later_.model == mine.model == "turn-detector-v1"
    await one_.predict()
    await _connected(later_)
    assert await one_.unlikely_threshold(EN) == pytest.approx(0.36)
    assert await other_.unlikely_threshold(EN) == pytest.approx(0.56)
    assert await later_.unlikely_threshold(EN) == pytest.approx(0.56)
    for stream_ in (one_, other_, later_):
        await stream_.aclose()


async def test_fault_03_an_update_after_a_fallback_loses_the_rescaling(gateway: Gateway) -> None:
    gateway.probability = None
    async with aiohttp.ClientSession() as http:
        detector = inference.TurnDetector(**credentials(gateway), http_session=http, unlikely_threshold=0.7)
        stream = detector.stream()
        await until(lambda: detector._opts.thresholds._server_default is not None)
        stream.predict()
        stream.cancel_inference(timed_out=True)
        before = await stream.unlikely_threshold(EN)
        detector.update_options(unlikely_threshold=0.7)
        with on_livekits_own(3):
            assert before == pytest.approx(0.36 * 0.7 / 0.56)
            assert await stream.unlikely_threshold(EN) == 0.7
        await stream.aclose()

    mine = TurnDetector(**credentials(gateway), unlikely_threshold=0.7)
    stream_ = mine.stream()
    stream_.push_audio(frame(noise(0.5)))
    await _connected(stream_)
    stream_.predict()
    stream_.cancel_inference(timed_out=True)
    await stream_.predict()
    assert await stream_.unlikely_threshold(EN) == pytest.approx(0.36 * 0.7 / 0.56)
    mine.update_options(unlikely_threshold=0.7)
    assert await stream_.unlikely_threshold(EN) == pytest.approx(0.36 * 0.7 / 0.56)
    await stream_.aclose()


async def test_fault_07_audio_of_the_same_moment_is_missing_from_the_request(gateway: Gateway) -> None:
    before, newest = noise(0.5, seed=1), noise(0.1, seed=2)

    theirs = Recorder()
    stream = livekits_mini(theirs)
    stream.push_audio(frame(before))
    await asyncio.sleep(0.05)
    stream.push_audio(frame(newest))
    await stream.predict()
    with on_livekits_own(7):
        assert not tail_is(theirs.heard[-1], newest)
    await stream.aclose()

    model = Recorder()
    stream_ = ours(model).stream()
    stream_.push_audio(frame(before))
    await asyncio.sleep(0.05)
    stream_.push_audio(frame(newest))
    await stream_.predict()
    assert tail_is(model.heard[-1], newest)
    await stream_.aclose()

    cloud = TurnDetector(**credentials(gateway)).stream()  # and on the wire: the audio first, then the question
    for piece in frames(before):
        cloud.push_audio(piece)
    cloud.push_audio(frame(newest))
    assert (await cloud.predict()).end_of_turn_probability == pytest.approx(0.9)
    asked = next(i for i, event in enumerate(gateway.received) if type(event).__name__ == "InferenceStartRequested")
    heard = b"".join(event.pcm for event in gateway.received[:asked] if type(event).__name__ == "InputAudio")
    assert tail_is(np.frombuffer(heard, np.int16), newest)
    await cloud.aclose()


async def test_fault_08_a_fallback_begins_with_an_empty_buffer(gateway: Gateway) -> None:
    gateway.probability = None
    async with aiohttp.ClientSession() as http:
        detector = inference.TurnDetector(**credentials(gateway), http_session=http)
        stream = detector.stream()
        await until(lambda: detector._opts.thresholds.default_threshold is not None)
        stream.push_audio(frame(noise(1.2)))
        await until(lambda: gateway.seconds >= 1.2)
        stream.predict()
        stream.cancel_inference(timed_out=True)
        await asyncio.sleep(0.05)
        with on_livekits_own(8):
            assert (await stream.predict()).end_of_turn_probability == 0.0  # below any threshold: waits max_delay
        await stream.aclose()

    reference = TurnDetector().stream()
    reference.push_audio(frame(noise(1.2)))
    expected = (await reference.predict()).end_of_turn_probability
    await reference.aclose()

    stream_ = TurnDetector(**credentials(gateway)).stream()
    stream_.push_audio(frame(noise(1.2)))
    answer = await stream_.predict()  # the request in flight is answered too, within its deadline
    assert stream_.is_fallback
    assert answer.end_of_turn_probability == pytest.approx(expected)
    assert (await stream_.predict()).end_of_turn_probability == pytest.approx(expected)
    assert await stream_.unlikely_threshold(EN) == pytest.approx(0.36)
    await stream_.aclose()


async def test_fault_09_a_flush_wipes_the_context() -> None:
    stream = livekits_mini()
    stream.push_audio(frame(noise(1.2)))
    await asyncio.sleep(0.05)
    before = (await stream.predict()).end_of_turn_probability
    stream.flush("turn committed")
    await asyncio.sleep(0.05)
    with on_livekits_own(9):
        assert before > 0.1
        assert (await stream.predict()).end_of_turn_probability == 0.0
    await stream.aclose()

    stream_ = TurnDetector().stream()
    stream_.push_audio(frame(noise(1.2)))
    assert (await stream_.predict()).end_of_turn_probability == pytest.approx(before)
    stream_.flush("turn committed")
    assert (await stream_.predict()).end_of_turn_probability == pytest.approx(before)
    await stream_.aclose()


async def test_fault_10_an_error_in_the_local_model_counts_as_certainly_not_the_end() -> None:
    stream = livekits_mini(Recorder(error=RuntimeError("the model broke")))
    stream.push_audio(frame(noise(0.5)))
    with on_livekits_own(10):
        assert (await stream.predict()).end_of_turn_probability == 0.0
    await stream.aclose()

    model = Recorder(error=RuntimeError("the model broke"))
    stream_ = ours(model).stream()
    stream_.push_audio(frame(noise(0.5)))
    assert (await stream_.predict()).end_of_turn_probability == 1.0
    model.error = None
    assert (await stream_.predict()).end_of_turn_probability == 0.7  # and the next pause is scored again
    await stream_.aclose()


async def test_fault_11_a_long_frame_kills_the_local_transport() -> None:
    stream = livekits_mini()
    stream.push_audio(frame(noise(1.3)))
    await asyncio.sleep(0.05)
    for piece in frames(noise(1.0)):
        stream.push_audio(piece)
    await asyncio.sleep(0.05)
    with on_livekits_own(11):
        assert stream._task.done()
        assert stream._audio_ch.qsize() >= 20  # and grows with every frame
    await stream.aclose()

    model = Recorder()
    stream_ = ours(model).stream()
    long = noise(30.0)
    stream_.push_audio(frame(long))
    assert (await stream_.predict()).end_of_turn_probability == 0.7
    assert tail_is(model.heard[-1], long[-19_200:])
    newest = noise(0.5, seed=3)
    stream_.push_audio(frame(newest))
    await stream_.predict()
    assert tail_is(model.heard[-1], newest)
    await stream_.aclose()


async def test_fault_12_cancelling_does_not_stop_the_work() -> None:
    theirs = Recorder()
    theirs.gate.clear()
    stream = livekits_mini(theirs)
    stream.push_audio(frame(noise(0.5)))
    await asyncio.sleep(0.05)
    asked = [stream.predict() for _ in range(8)]
    await asyncio.sleep(0.2)
    theirs.gate.set()
    await asked[-1]
    with on_livekits_own(12):
        await until(lambda: len(theirs.heard) == 8, seconds=5)
        assert all(name.startswith("asyncio") for name in theirs.threads)  # the loop's default executor
    await stream.aclose()

    model = Recorder()
    stream_ = ours(model).stream()
    stream_.push_audio(frame(noise(0.5)))
    await stream_.predict()
    model.heard.clear()
    model.threads.clear()
    model.gate.clear()
    asked = [stream_.predict() for _ in range(8)]
    assert all(future.done() for future in asked[:-1])
    await asyncio.sleep(0.2)
    model.gate.set()
    assert (await asked[-1]).end_of_turn_probability == 0.7
    await asyncio.sleep(0.1)
    # What no thread had begun never runs: at most one for each thread, and the last.
    assert len(model.heard) <= worker_count() + 1 < 8
    assert not any(name.startswith("asyncio") for name in model.threads)
    await stream_.aclose()


async def test_fault_13_a_change_of_sample_rate_drops_frames(caplog: pytest.LogCaptureFixture) -> None:
    pcm = noise(0.5, rate=48_000, seed=4)

    def errors() -> int:
        return sum(record.levelno >= logging.ERROR for record in caplog.records)

    theirs = Recorder()
    stream = livekits_mini(theirs)
    stream.push_audio(frame(noise(0.5, rate=24_000), 24_000))
    for piece in frames(pcm, 48_000):
        stream.push_audio(piece)
    with on_livekits_own(13):
        assert errors() == 10  # one for each frame
    await stream.aclose()

    caplog.clear()
    model = Recorder()
    stream_ = ours(model).stream()
    stream_.push_audio(frame(noise(0.5, rate=24_000), 24_000))
    for piece in frames(pcm, 48_000):
        stream_.push_audio(piece)
    stream_.push_audio(frame(noise(0.1)))
    await stream_.predict()
    assert errors() == 0
    assert len(model.heard[-1]) == pytest.approx(1.1 * 16_000, abs=64)
    await stream_.aclose()


async def test_fault_14_any_language_is_supported_and_any_threshold_is_taken() -> None:
    stream = livekits_mini()
    with on_livekits_own(14):
        assert await stream.supports_language(LanguageCode("tlh")) is True
        for nonsense in (7.0, float("nan")):
            inference.TurnDetector(version="v1-mini", unlikely_threshold=nonsense)
        early = inference.TurnDetector(
            version="v1", api_key="key", api_secret="secret", unlikely_threshold={"en": 0.5, "de": 0.4}
        )
        assert await early.unlikely_threshold(EN) is None  # until the server has spoken
    await stream.aclose()

    stream_ = TurnDetector().stream()
    assert await stream_.supports_language(LanguageCode("tlh")) is False
    assert await stream_.supports_language(EN) is True
    await stream_.aclose()
    for nonsense in (7.0, float("nan"), {"en": -0.1}):
        with pytest.raises(ValueError, match=r"unlikely_threshold.* must be between 0 and 1"):
            TurnDetector(unlikely_threshold=nonsense)
    mine = TurnDetector(
        version="v1",
        base_url="http://127.0.0.1:9/v1",
        api_key="key",
        api_secret="secret",
        unlikely_threshold={"en": 0.5, "de": 0.4},
    )
    assert await mine.unlikely_threshold(EN) == 0.5
    stream_ = mine.stream()
    assert await stream_.unlikely_threshold(LanguageCode("de-DE")) == 0.4
    await stream_.aclose()


async def test_fault_16_a_full_buffer_is_moved_with_every_frame() -> None:
    stream = livekits_mini()
    ramp = (np.arange(19_200) % 32_000).astype(np.int16)
    stream.push_audio(frame(ramp))
    await asyncio.sleep(0.05)
    held = stream._transport._buf._buffer
    before = held.copy()
    stream.push_audio(frame(noise(0.01)))
    await asyncio.sleep(0.05)
    with on_livekits_own(16):
        assert np.count_nonzero(held != before) > 19_000
    await stream.aclose()

    stream_ = TurnDetector().stream()
    ring = stream_._core._session._audio._window._ring
    stream_.push_audio(frame((np.arange(len(ring) + 1_000) % 32_000).astype(np.int16)))
    before = ring.copy()
    stream_.push_audio(frame(noise(0.01)))
    assert 0 < np.count_nonzero(ring != before) <= 160  # the frame itself
    await stream_.aclose()


async def _connected(*streams: Any) -> None:
    """Wait until the gateway's thresholds have arrived."""
    began = time.monotonic()
    for stream in streams:
        while stream._core.thresholds.calibration is None:
            assert time.monotonic() - began < 10
            await asyncio.sleep(0.01)
