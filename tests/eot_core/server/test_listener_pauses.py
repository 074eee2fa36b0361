"""The part of the audio that a request is given: how much of a pause it hears."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from gateway_client import eventually
from listening import HEARD, LOUD, QUIET, SPOKEN, Listener, Loudness

from eot_core.models.base import ModelError
from eot_core.server.network import Floats
from eot_core.server.turns import Excerpt
from eot_core.transports.scheduler import InferenceScheduler


@pytest.mark.parametrize("frame", [160, 320, 512, 800, 1_999])
async def test_the_first_request_of_a_pause_hears_0_2_s(scheduler: InferenceScheduler, frame: int) -> None:
    for silence in (0.256, 0.3, 0.9):
        listener = Listener(Loudness(), scheduler)
        listener.hear(np.concatenate((SPOKEN, QUIET[: round(silence * 16_000)])), frame=frame)
        assert await listener.seconds() == HEARD + 0.2


async def test_a_window_that_is_full_ends_with_it_as_well(scheduler: InferenceScheduler) -> None:
    listener = Listener(Loudness(), scheduler, window=0.5)
    listener.hear(np.concatenate((SPOKEN, QUIET[:4_096])))
    excerpt = await listener.ask()
    assert isinstance(excerpt, Excerpt)
    assert (len(excerpt.pcm), np.count_nonzero(excerpt.pcm == 0)) == (8_000, 3_200)
    assert excerpt.earliest == pytest.approx(1_000.0 + (len(SPOKEN) - 4_800) / 16_000, abs=0.02)
    assert excerpt.latest == pytest.approx(1_000.0 + (len(SPOKEN) + 4_096) / 16_000, abs=0.021)


async def test_the_longest_window_is_full_as_well(scheduler: InferenceScheduler) -> None:
    listener = Listener(Loudness(), scheduler, window=8.0)
    for _ in range(10):
        listener.hear(LOUD[:15_872])
        await eventually(lambda: not listener.turns._catching_up)
    listener.hear(QUIET[:4_096])
    excerpt = await listener.ask()
    assert isinstance(excerpt, Excerpt)
    assert (len(excerpt.pcm), np.count_nonzero(excerpt.pcm == 0)) == (128_000, 3_200)
    assert excerpt.earliest is not None


@pytest.mark.parametrize(
    ("silence", "heard"),
    [
        (0.256, 0.2),
        (0.32, 0.2),
        (0.335, 0.335),
        (0.351, 0.344),
        (0.4, 0.344),
        (0.41, 0.344),
        (0.5, 0.444),
        (0.7, 0.644),
    ],
)
async def test_a_further_request_hears_what_it_would_hear_locally(
    scheduler: InferenceScheduler, silence: float, heard: float
) -> None:
    """At the multiples of 0.2 s at which it comes, the frame that is on its way left out; else all but the last."""
    listener = Listener(Loudness(), scheduler)
    listener.hear(np.concatenate((SPOKEN, QUIET[:3_300])))
    assert await listener.seconds() == HEARD + 0.2
    listener.hear(QUIET[3_300 : round(silence * 16_000)])
    assert await listener.seconds() == pytest.approx(HEARD + heard, abs=1e-4)


async def test_the_next_pause_begins_afresh(scheduler: InferenceScheduler) -> None:
    listener = Listener(Loudness(), scheduler)
    for _ in range(2):
        listener.hear(np.concatenate((SPOKEN, QUIET[:4_608])))
        assert np.count_nonzero((await listener.pcm())[-6_000:] == 0) == 3_200


async def test_in_speech_it_hears_everything(scheduler: InferenceScheduler) -> None:
    listener = Listener(Loudness(), scheduler)
    listener.hear(SPOKEN)
    assert await listener.seconds() == HEARD
    listener.hear(QUIET[:3_200])  # no pause yet
    assert await listener.seconds() == HEARD + 0.2
    listener.hear(QUIET[:896])
    assert await listener.seconds() == HEARD + 0.2, "and now the first request of one"


async def test_a_pause_that_is_older_than_the_turn_is_heard_as_it_is(scheduler: InferenceScheduler) -> None:
    listener = Listener(Loudness(), scheduler)
    listener.hear(np.concatenate((SPOKEN, QUIET[:6_400])))
    listener.turns.turn_ended()
    listener.hear(QUIET[:8_000])
    assert await listener.seconds() == 0.75


async def test_a_model_that_hears_all(scheduler: InferenceScheduler) -> None:
    listener = Listener(Loudness(), scheduler, hears_all=True)
    listener.hear(np.concatenate((SPOKEN, QUIET[:4_800])))
    assert await listener.seconds() == HEARD + 0.3
    listener.hear(QUIET[:4_800])
    threads = scheduler.submit
    scheduler.submit = None  # type: ignore[method-assign, assignment]
    assert await listener.seconds() == HEARD + 0.6, "at once: the onset is known"
    scheduler.submit = threads  # type: ignore[method-assign]


async def test_where_all_was_heard_it_is_answered_at_once(scheduler: InferenceScheduler) -> None:
    listener, answers = Listener(Loudness(), scheduler), list[Any]()
    listener.hear(np.concatenate((SPOKEN, QUIET[:4_608])))
    await listener.ask()
    listener.turns.prepare("r", 20.0, answers.append)
    assert len(answers) == 1


async def test_speech_that_resumes_while_a_request_waits_changes_nothing(scheduler: InferenceScheduler) -> None:
    hold = threading.Event()
    scheduler.submit(lambda: hold.wait(20), deadline=scheduler.now() + 20, on_done=lambda result: None)
    listener = Listener(Loudness(), scheduler)
    listener.hear(np.concatenate((SPOKEN, QUIET[:4_608])))
    asked = asyncio.ensure_future(listener.pcm())
    await asyncio.sleep(0)
    listener.hear(LOUD)
    finder = listener.turns._finder
    assert finder is not None
    finder.hear(*listener.turns._audio.since(0))
    hold.set()
    assert len(await asked) / 16_000 == HEARD + 0.2


async def test_a_vad_that_fails_cuts_nothing(scheduler: InferenceScheduler) -> None:
    class Breaks(Loudness):
        broken = False

        def score(self, windows: Floats, state: Floats) -> tuple[Floats, Floats]:
            if self.broken:
                raise ModelError("gone")
            return super().score(windows, state)

    network = Breaks()
    listener = Listener(network, scheduler)
    listener.hear(np.concatenate((SPOKEN, QUIET[:4_608])))
    assert await listener.seconds() == HEARD + 0.2
    network.broken = True
    listener.hear(QUIET[:4_608])
    assert await listener.seconds() == pytest.approx(HEARD + 0.576)
