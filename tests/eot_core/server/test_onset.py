"""Onsets and pauses in a session's audio, piece by piece and out of order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from listening import LOUD, QUIET, Loudness, at
from vad_speech import Pcm, vowels

from eot_core.models.base import ModelError
from eot_core.server.network import Floats, SileroSteps
from eot_core.server.onset import OnsetFinder, hear_together
from eot_core.vad import SileroVAD, SpeechStarted


def hush(seconds: float) -> Pcm:
    return np.random.default_rng(0).integers(-8, 9, round(seconds * 16_000), dtype=np.int16)


def spoken() -> Pcm:
    return np.concatenate((hush(1.0), vowels(0.5), hush(1.0), vowels(0.5), hush(0.3)))


def onsets(vad: SileroVAD, pcm: Pcm) -> list[int]:
    events = vad.stream().push(pcm, 16_000)
    return [round(event.at * 16_000) for event in events if isinstance(event, SpeechStarted)]


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
