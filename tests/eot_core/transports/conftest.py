"""A clock that stands still, and one thread that goes by it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from local_rig import WAIT

from eot_core.clock import ManualClock
from eot_core.transports.local import InferenceScheduler


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def scheduler(clock: ManualClock) -> Iterator[InferenceScheduler]:
    one = InferenceScheduler(workers=1, now=clock.now, max_queued=3)
    yield one
    one.close(WAIT)
