"""The part of the audio that a request is given: where it begins, and what it costs to know."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gateway_client import eventually
from hypothesis import given, settings
from hypothesis import strategies as st
from listening import LOUD, QUIET, SURE, Listener, Loudness, at

from eot_core.models.base import ModelError
from eot_core.server.catch_up import GATHER, TOGETHER, CatchUp
from eot_core.server.network import Floats
from eot_core.server.onset import Onset, OnsetFinder
from eot_core.server.turns import Excerpt, _Turn
from eot_core.transports.scheduler import InferenceScheduler, JobFailed


async def test_the_excerpt_begins_before_the_onset(scheduler: InferenceScheduler) -> None:
    listener = Listener(Loudness(), scheduler)
    listener.hear(np.concatenate((QUIET[:15_872], LOUD, QUIET[:4_800])))
    excerpt = await listener.ask()
    assert isinstance(excerpt, Excerpt)
    assert len(excerpt.pcm) / 16_000 == pytest.approx(1.2 - SURE + 0.25, abs=0.03)
    begin = 1.0 + SURE - 0.25
    assert excerpt.earliest == pytest.approx(1_000.0 + begin, abs=0.03)
    assert excerpt.latest == pytest.approx(1_000.0 + 2.29 - 0.02, abs=0.03)
    assert await listener.seconds() == len(excerpt.pcm) / 16_000, "it is known now"


async def test_the_turn_before_is_not_in_the_excerpt(scheduler: InferenceScheduler) -> None:
    listener = Listener(Loudness(), scheduler, pre_speech=0.7)
    pause = QUIET[:8_192]
    listener.hear(np.concatenate((QUIET, LOUD, pause[:4_800])))
    await listener.ask()
    listener.turns.turn_ended()
    listener.hear(np.concatenate((pause[4_800:], 2 * LOUD, QUIET[:4_800])))
    heard = await listener.pcm()
    assert set(heard.tolist()) == {0, 2_000}
    assert len(heard) / 16_000 == pytest.approx(0.512 + 1.0 + 0.2, abs=0.05)


@pytest.mark.parametrize(("gap", "still"), [(2.3, True), (2.8, False)])
async def test_sound_that_ended_no_turn_is_none(scheduler: InferenceScheduler, gap: float, still: bool) -> None:
    listener = Listener(Loudness(), scheduler, window=8.0, pre_speech=0.7)
    listener.hear(np.concatenate((QUIET, LOUD[:4_096], np.zeros(4_800, np.int16))))
    await listener.ask()
    listener.hear(np.concatenate((np.zeros(round(gap * 16_000) - 4_800, np.int16), 2 * LOUD, QUIET[:4_800])))
    heard = await listener.pcm()
    assert (1_000 in heard) is still
    assert len(heard) / 16_000 == pytest.approx((0.7 - SURE + 0.256 + gap if still else 0.7 - SURE) + 1.2, abs=0.08)


async def test_a_request_from_before_the_turn_began_anew_sees_what_there_was(scheduler: InferenceScheduler) -> None:
    turn = _Turn(0)
    assert turn.take(Onset(16_000, None))
    assert not turn.take(Onset(32_000, 30_000)), "a pause"
    assert turn.take(Onset(160_000, 40_000))
    assert turn.since(159_000, 8_000) == 8_000
    assert turn.since(170_000, 8_000) == 152_000
    assert turn.since(170_000, 150_000) == 40_000


async def test_without_speech_it_is_all_since_the_last_turn(scheduler: InferenceScheduler) -> None:
    listener = Listener(Loudness(), scheduler)
    assert await listener.seconds() == 0.0
    listener.hear(QUIET)
    assert await listener.seconds() == 1.0
    listener.turns.turn_ended()
    listener.turns.turn_ended()
    listener.hear(QUIET)
    assert await listener.seconds() == 1.25


async def test_speech_that_a_flush_cuts_in_two_has_no_second_onset(scheduler: InferenceScheduler) -> None:
    listener = Listener(Loudness(), scheduler)
    listener.hear(np.concatenate((QUIET, LOUD)))
    listener.turns.turn_ended()
    listener.hear(np.concatenate((LOUD, QUIET)))
    assert await listener.seconds() == pytest.approx(0.25 + 1.2, abs=0.03), "from the flush on"
    listener.hear(LOUD)
    assert await listener.seconds() == pytest.approx(1.0 - SURE + 0.25, abs=0.03)


async def test_a_turn_that_ends_while_a_request_is_searched_keeps_its_onset(scheduler: InferenceScheduler) -> None:
    hold = threading.Event()
    scheduler.submit(lambda: hold.wait(20), deadline=0.0 + scheduler.now() + 20, on_done=lambda result: None)
    listener = Listener(Loudness(), scheduler)
    listener.hear(np.concatenate((QUIET[:8_000], LOUD[:6_000])))
    asked = asyncio.ensure_future(listener.ask())
    await asyncio.sleep(0)
    listener.turns.turn_ended()
    listener.hear(QUIET[:4_000])
    hold.set()
    excerpt = await asked
    assert isinstance(excerpt, Excerpt)
    assert len(excerpt.pcm) / 16_000 == pytest.approx(0.375 - SURE + 0.25, abs=0.03)
    assert await listener.seconds() == pytest.approx(0.25 + 0.2, abs=0.03), "the next turn has none yet"


async def test_it_catches_up_while_nobody_asks(scheduler: InferenceScheduler) -> None:
    """And so at a request there is at most a second left to search."""
    listener = Listener(Loudness(), scheduler)
    finder = listener.turns._finder
    assert finder is not None
    for second in range(5):
        listener.hear(LOUD if second == 3 else QUIET)
        await eventually(lambda: not listener.turns._catching_up)
        assert finder.next > second * 16_000 + 7_000
    assert await listener.seconds() == pytest.approx(1.2 - SURE + 0.25, abs=0.03)


async def test_under_load_it_is_not_tried_with_every_message(scheduler: InferenceScheduler) -> None:
    submitted: list[float] = []
    listener = Listener(Loudness(), scheduler)
    original = scheduler.submit

    def submit(work: Callable[[], Any], *, deadline: float, on_done: Callable[[Any], None], **rest: Any) -> Any:
        submitted.append(deadline)
        on_done(JobFailed("overloaded"))
        return original(lambda: None, deadline=deadline, on_done=lambda result: None)

    scheduler.submit = submit  # type: ignore[method-assign]
    for _ in range(500):
        listener.hear(QUIET[:320])
        await asyncio.sleep(0.001)
    assert 1 <= len(submitted) <= 20, "once for each half second at most"
    assert await listener.ask() == JobFailed("overloaded")


async def test_a_request_that_is_called_off_is_not_answered(scheduler: InferenceScheduler) -> None:
    hold = threading.Event()
    scheduler.submit(lambda: hold.wait(20), deadline=scheduler.now() + 20, on_done=lambda result: None)
    listener, answers = Listener(Loudness(), scheduler), list[Any]()
    listener.hear(QUIET)
    listener.turns.prepare("a", 20.0, answers.append)
    listener.turns.prepare("b", 20.0, answers.append)
    listener.turns.cancel("a")
    listener.turns.cancel("a")
    listener.turns.close()
    listener.turns.close()
    listener.hear(QUIET)
    hold.set()
    await eventually(lambda: scheduler.queued == 0)
    await asyncio.sleep(0.05)
    assert answers == []


async def test_a_vad_that_fails_costs_the_onset_and_not_the_request(
    scheduler: InferenceScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def score(self, windows: Floats, state: Floats) -> tuple[Floats, Floats]:
            raise ModelError("gone")

    listener = Listener(Broken(), scheduler)
    listener.hear(np.concatenate((QUIET, QUIET)))
    await eventually(lambda: not listener.turns._catching_up)
    assert await listener.seconds() == 2.0
    assert await listener.seconds() == 2.0
    assert [record.levelname for record in caplog.records] == ["WARNING"], "once for a session"


async def test_sessions_catch_up_together(scheduler: InferenceScheduler) -> None:
    jobs, reports = list[int](), list[Any]()
    original = scheduler.submit

    def submit(work: Any, **rest: Any) -> Any:
        jobs.append(len(work.args[0]))
        return original(work, **rest)

    scheduler.submit = submit  # type: ignore[method-assign]
    together = CatchUp(scheduler)
    finders = [OnsetFinder(Loudness()) for _ in range(TOGETHER + 2)]
    for finder in finders:
        together.add(finder, lambda: (LOUD, 0), reports.append)
    assert jobs == [TOGETHER], "at once where there are enough"
    await eventually(lambda: len(reports) == len(finders))
    assert jobs == [TOGETHER, 2], "after a moment otherwise"
    assert all(at(finder) == [1_024] for finder in finders)
    assert GATHER <= 0.2


async def test_a_rolling_window_needs_no_search(scheduler: InferenceScheduler) -> None:
    listener = Listener(Loudness(), scheduler, pre_speech=None, window=1.0)
    listener.hear(np.concatenate((QUIET, LOUD)))
    assert await listener.seconds() == 1.0
    assert scheduler.threads == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 2_000))
def test_any_frame_length_finds_the_same(frame: int) -> None:
    async def run() -> float:
        scheduler = InferenceScheduler(workers=1)
        try:
            listener = Listener(Loudness(), scheduler)
            listener.hear(np.concatenate((QUIET[:8_192], LOUD[:8_000])), frame=frame)
            return await listener.seconds()
        finally:
            scheduler.close()

    sure = 8_192 + 1_024
    assert asyncio.run(run()) * 16_000 == 16_192 - sure + 4_000
