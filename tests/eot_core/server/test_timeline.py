"""Which audio was captured when."""

from hypothesis import given
from hypothesis import strategies as st

from eot_core.server.timeline import Timeline


def test_nothing_yet() -> None:
    timeline = Timeline(1.0)
    assert (timeline.written, timeline.latest, timeline.captured_at(0)) == (0, None, None)


def test_far_beyond_its_reach_it_knows_nothing() -> None:
    timeline = Timeline(0.1)
    for number in range(1000):
        timeline.add(1600, float(number))
    assert timeline.captured_at(timeline.written - 1600) == 999.0
    assert timeline.captured_at(0) is None
    assert timeline.latest == 999.0


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=60), st.integers(1, 16000))
def test_the_oldest_is_right_to_5_ms_and_the_newest_exactly(sizes: list[int], wanted: int) -> None:
    timeline, position = Timeline(1.0), 0
    for size in sizes:
        timeline.add(size, position / 16000)
        newest = position / 16000
        position += size
    assert timeline.written == position
    assert timeline.latest == newest
    first = position - min(wanted, position)
    captured_at = timeline.captured_at(first)
    assert captured_at is not None
    assert first / 16000 - max(sizes) / 16000 - 0.005 <= captured_at <= first / 16000


def test_memory_has_a_bound() -> None:
    timeline = Timeline(1.0)
    for number in range(50_000):
        timeline.add(1, number / 16000)
    assert len(timeline._starts) == len(timeline._times) <= 2 * 202
    for number in range(50_000):
        timeline.add(320, number / 50)
        assert len(timeline._starts) == len(timeline._times) <= 2 * 202
    assert timeline.captured_at(timeline.written - 16_000) == 49_950 / 50
