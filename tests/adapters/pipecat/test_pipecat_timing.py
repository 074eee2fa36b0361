"""Wall-clock stamps and the monotonic clock."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from adapters.pipecat import timing
from adapters.pipecat.timing import end_of_speech, sleep_until
from eot_core.clock import ManualClock

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "time", SimpleNamespace(time=lambda: NOW))


def test_a_frame_that_took_its_time_to_get_here() -> None:
    ended = end_of_speech(100.0, timestamp=NOW - 0.5, stop_secs=0.2, last_audio_at=None)
    assert ended == pytest.approx(99.3)


def test_a_wall_clock_that_was_set_back() -> None:
    ended = end_of_speech(100.0, timestamp=NOW + 3600, stop_secs=0.2, last_audio_at=None)
    assert ended == pytest.approx(99.8)


def test_speech_ends_with_the_audio_at_the_latest() -> None:
    assert end_of_speech(100.0, timestamp=NOW, stop_secs=0.2, last_audio_at=98.0) == 98.0
    assert end_of_speech(100.0, timestamp=NOW, stop_secs=0.2, last_audio_at=100.0) == pytest.approx(99.8)


async def test_sleeping_on_a_clock() -> None:
    clock = ManualClock(1.0)
    await sleep_until(clock, 0.5)  # has passed
    sleeper = asyncio.create_task(sleep_until(clock, 2.0))
    await asyncio.sleep(0)
    clock.advance(0.9)
    await asyncio.sleep(0)
    assert not sleeper.done()
    clock.advance(0.1)
    await sleeper


async def test_a_sleeper_that_is_called_off_leaves_no_timer() -> None:
    clock = ManualClock()
    sleeper = asyncio.create_task(sleep_until(clock, 2.0))
    await asyncio.sleep(0)
    sleeper.cancel()
    await asyncio.wait((sleeper,))
    clock.advance(5.0)
    assert sleeper.cancelled()
