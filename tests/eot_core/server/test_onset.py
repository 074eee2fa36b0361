"""Onsets and pauses in a session's audio, piece by piece and out of order; and what is made of them."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gateway_client import eventually, scripted
from hypothesis import given, settings
from hypothesis import strategies as st
from vad_speech import Pcm, vowels

from eot_core.models.base import ModelError
from eot_core.server.catch_up import GATHER, TOGETHER, CatchUp
from eot_core.server.network import CONTEXT_SAMPLES, Floats, SileroSteps, SpeechNetwork
from eot_core.server.onset import Onset, OnsetFinder, hear_together
from eot_core.server.turns import Excerpt, TurnListener, _Turn
from eot_core.transports.scheduler import InferenceScheduler, JobFailed
from eot_core.vad import SileroVAD, SpeechStarted
from eot_core.vad.silero import weights_path


@pytest.fixture(scope="module")
def vad() -> SileroVAD:
    try:
        weights_path()
    except ModelError as error:
        pytest.skip(str(error))
    return SileroVAD()


def hush(seconds: float) -> Pcm:
    return np.random.default_rng(0).integers(-8, 9, round(seconds * 16_000), dtype=np.int16)


def spoken() -> Pcm:
    return np.concatenate((hush(1.0), vowels(0.5), hush(1.0), vowels(0.5), hush(0.3)))


def onsets(vad: SileroVAD, pcm: Pcm) -> list[int]:
    events = vad.stream().push(pcm, 16_000)
    return [round(event.at * 16_000) for event in events if isinstance(event, SpeechStarted)]


def at(finder: OnsetFinder) -> list[int]:
    return [onset.at for onset in finder.onsets]


class Loudness:
    """A network without one: a window is speech where it is loud."""

    def score(self, windows: Floats, state: Floats) -> tuple[Floats, Floats]:
        return (np.abs(windows[:, CONTEXT_SAMPLES:]).max(axis=1) > 100 / 32_768).astype(np.float32), state


class Watched(SileroSteps):
    """Remembers how many sessions there were in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.together: list[int] = []

    def score(self, windows: Floats, state: Floats) -> tuple[Floats, Floats]:
        self.together.append(len(windows))
        return super().score(windows, state)


def test_the_finder_finds_what_the_vad_finds(vad: SileroVAD) -> None:
    pcm = spoken()
    finder = OnsetFinder(SileroSteps(vad))
    for end in range(0, len(pcm), 5_000):
        finder.hear(pcm[:end][-20_000:], max(0, end - 20_000))
    assert at(finder) == onsets(vad, pcm)
    assert finder.onsets
    assert finder.next % 512 == 0


@given(st.lists(st.tuples(st.integers(0, 6_000), st.integers(0, 6_000)), min_size=1, max_size=40))
def test_pieces_that_overlap_or_come_late_change_nothing(pieces: list[tuple[int, int]]) -> None:
    pcm = np.zeros(240_000, np.int16)
    pcm[20_000:30_000] = pcm[70_000:90_000] = 1_000
    finder, end = OnsetFinder(Loudness()), 0
    for back, length in pieces:
        start = max(0, finder.next - back)
        finder.hear(pcm[start : start + length], start)
        end = max(end, min(len(pcm), start + length))
    assert finder.next == end - end % 512
    whole = OnsetFinder(Loudness())
    whole.hear(pcm[:end], 0)
    assert at(finder) == at(whole)


def test_where_audio_is_missing_the_vad_begins_afresh() -> None:
    loud = np.full(16_000, 1_000, np.int16)
    finder = OnsetFinder(Loudness())
    finder.hear(loud, 0)
    assert at(finder) == [1_024]
    finder.hear(loud, 100_000)
    assert at(finder) == [1_024, 100_352 + 1_024], "windows stay at multiples of 512"
    assert finder.next == 116_000 - 116_000 % 512


def test_together_they_find_what_each_finds_alone(vad: SileroVAD) -> None:
    network = Watched()
    parts = [spoken()[shift:] for shift in (0, 700, 5_000, 17_000, 0)]
    finders = [OnsetFinder(network) for _ in parts]
    for begin in range(0, len(parts[0]), 9_000):
        since = max(0, begin - 600)
        hear_together((f, pcm[since : begin + 9_000], since) for f, pcm in zip(finders, parts, strict=True))
    hear_together([])
    hear_together([(finders[0], parts[0][:0], 0)])
    for finder, pcm in zip(finders, parts, strict=True):
        assert at(finder) == onsets(vad, pcm)
        assert finder._state.base is None, "no view of everybody's"
    assert max(network.together) == 5
    assert min(network.together) < 5, "the shorter ones are through before the others"


def test_who_is_heard_already_is_passed_over() -> None:
    busy, free = OnsetFinder(Loudness()), OnsetFinder(Loudness())
    with busy._lock:
        hear_together([(busy, LOUD, 0), (free, LOUD, 0)])
        hear_together([(busy, LOUD, 0)])
    assert (busy.next, free.next) == (0, 15_872)
    assert not any(finder._lock.locked() for finder in (busy, free))


def test_a_network_that_fails_holds_nobody() -> None:
    class Broken:
        def score(self, windows: Floats, state: Floats) -> tuple[Floats, Floats]:
            raise ModelError("gone")

    finder = OnsetFinder(Broken())
    for _ in range(2):
        with pytest.raises(ModelError):
            hear_together([(finder, LOUD, 0)])
    assert finder.next == 0


# ---- the listener


class Listener:
    """A :class:`TurnListener` whose requests can be awaited."""

    def __init__(self, network: SpeechNetwork | None, scheduler: InferenceScheduler, **spec: Any) -> None:
        model, _ = scripted(**{"window": 4.0, "pre_speech": 0.25, **spec})
        self.turns = TurnListener(model, network, scheduler=scheduler)

    def hear(self, pcm: Pcm, *, frame: int = 320) -> None:
        for begin in range(0, len(pcm), frame):
            self.turns.push(pcm[begin : begin + frame], 16_000, 1_000.0 + begin / 16_000)

    async def ask(self) -> Excerpt | JobFailed:
        answer: asyncio.Future[Excerpt | JobFailed] = asyncio.get_running_loop().create_future()
        self.turns.prepare("r", 20.0, answer.set_result)
        return await asyncio.wait_for(answer, 20)

    async def pcm(self) -> Pcm:
        excerpt = await self.ask()
        assert isinstance(excerpt, Excerpt)
        return excerpt.pcm

    async def seconds(self) -> float:
        return len(await self.pcm()) / 16_000


@pytest.fixture
def scheduler() -> Any:
    scheduler = InferenceScheduler(workers=1)
    yield scheduler
    scheduler.close()


LOUD = np.full(16_000, 1_000, np.int16)
QUIET = np.zeros(16_000, np.int16)
SURE = 0.06
"""Seconds into the speech at which the VAD is sure, give or take a window and the rest of the frame."""


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


# ---- pauses

SPOKEN = np.concatenate((QUIET[:8_192], LOUD[:15_872]))
"""Ends with a window."""
HEARD = (len(SPOKEN) - 8_192 - 1_024) / 16_000 + 0.25
"""Seconds of it that the model hears."""


def quiet_at_each_window(finder: OnsetFinder, pcm: Pcm, piece: int) -> list[int | None]:
    for begin in range(0, len(pcm), piece):
        finder.hear(pcm[begin : begin + piece], begin)
    return [finder.quiet_since(end) for end in range(512, len(pcm) + 1, 512)]


@pytest.mark.parametrize("piece", [512, 5_120])
def test_a_pause_begins_with_the_first_silent_window_in_speech(piece: int) -> None:
    loud, quiet = LOUD[:512], QUIET[:512]
    pcm = np.concatenate((*[quiet] * 2, *[loud] * 3, *[quiet] * 2, loud, *[quiet] * 9, loud, quiet, loud, loud, quiet))
    pauses = quiet_at_each_window(OnsetFinder(Loudness()), pcm, piece)
    assert pauses == [
        *[None] * 5,
        *[5 * 512] * 2,  # in speech: not sure yet
        None,
        *[8 * 512] * 12,  # a window that is loud alone is none
        None,
        21 * 512,
    ]


def test_what_was_not_heard_is_not_known() -> None:
    finder = OnsetFinder(Loudness())
    finder.hear(np.concatenate((LOUD[:5_120], QUIET[:5_120])), 0)
    assert (finder.quiet_since(10_240 + 511), finder.quiet_since(10_240 + 512)) == (5_120, None)
    finder.hear(QUIET, 100_000)
    assert finder.quiet_since(116_000) is None, "audio is missing in between"
    assert finder.quiet_since(10_240) == 5_120


def test_what_was_heard_since_changes_nothing() -> None:
    loud, quiet = LOUD[:1_024], QUIET[:5_120]
    finder, pcm = OnsetFinder(Loudness()), np.concatenate((loud, quiet, loud, quiet))
    finder.hear(pcm, 0)
    assert [finder.quiet_since(at) for at in (1_024, 6_144, 7_168, 12_288)] == [None, 1_024, None, 7_168]
    for _ in range(100):
        finder.hear(np.concatenate((loud, quiet)), finder.next)
    assert len(finder._changes) == 32, "a bound"
    assert finder.quiet_since(12_288) is None, "long ago"


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
