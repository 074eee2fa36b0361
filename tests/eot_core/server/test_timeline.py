"""Which audio was captured when."""

from hypothesis import given
from hypothesis import strategies as st

from eot_core.server.timeline import Timeline


def test_nothing_yet() -> None:
    assert Timeline(1.0).span(0) == (None, None)


def test_beyond_its_reach_it_knows_nothing() -> None:
    timeline = Timeline(0.1)
    for number in range(100):
        timeline.add(1600, float(number))
    assert timeline.span(1600) == (99.0, 99.0)
    assert timeline.span(16000) == (None, 99.0)


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=60), st.integers(1, 16000))
def test_the_oldest_is_right_to_20_ms_and_the_newest_exactly(sizes: list[int], wanted: int) -> None:
    timeline, position = Timeline(1.0), 0
    for size in sizes:
        timeline.add(size, position / 16000)
        newest = position / 16000
        position += size
    wanted = min(wanted, position)
    earliest, latest = timeline.span(wanted)
    assert latest == newest
    assert earliest is not None
    chunk = max(sizes) / 16000
    assert (position - wanted) / 16000 - chunk - 0.02 <= earliest <= (position - wanted) / 16000


def test_one_sample_per_message_costs_no_memory() -> None:
    timeline = Timeline(1.0)
    for number in range(50_000):
        timeline.add(1, number / 16000)
    assert len(timeline._entries) <= 52
