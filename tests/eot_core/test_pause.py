"""One silence and its further scores, with a clock and a stream that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from eot_core import DetectorStream, Endpointer, EndpointingOptions, Outcome, Prediction, TurnDecision
from eot_core.clock import ManualClock, TimerHandle
from eot_core.pause import Pause

EARLY = 1e-10
"""Seconds: an event loop runs a timer up to its clock's resolution before its time (asyncio's ``_run_once``)."""


class EarlyClock(ManualClock):
    """Fires its timers as an event loop does."""

    def call_at(self, when: float, callback: Callable[[], None]) -> TimerHandle:
        return super().call_at(max(self.now(), when - EARLY), callback)


class Asked:
    """Notes when it is asked for a further score; the test answers."""

    def __init__(self) -> None:
        self.at: list[float | None] = []
        self.futures: list[asyncio.Future[Prediction]] = []

    def predict(self, *, again_at: float | None = None) -> asyncio.Future[Prediction]:
        self.at.append(again_at)
        assert len(self.at) < 50, "asked without end"
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


def score(probability: float) -> Prediction:
    return Prediction(probability, Outcome.ANSWERED, None, "m", "local", "r")


async def test_a_timer_that_is_early_asks_once() -> None:
    """It asked again and again until the clock had moved: without end where time stands still meanwhile."""
    clock, stream = EarlyClock(), Asked()
    endpointer = Endpointer(EndpointingOptions(0.4, 1.8, 1.0, 0.2))
    due: list[float] = []

    def decide(prediction: Prediction, at: float) -> TurnDecision | None:
        return endpointer.predicted(prediction, 0.5, at)

    pause = Pause(
        cast(DetectorStream, stream),
        endpointer,
        ended_at=0.0,
        clock=clock,
        decide=decide,
        on_due=lambda: due.append(clock.now()),
    )
    clock.advance(0.225)
    pause.scored(score(0.4))
    pause.follow()
    for number in range(1, 4):
        clock.advance(0.2)
        assert len(stream.at) == number
        stream.futures[-1].set_result(score(0.4))
        await asyncio.sleep(0)
    assert [round(at or 0.0, 9) for at in stream.at] == [0.4, 0.6, 0.8]
    clock.advance(5.0)
    assert len(due) == 1
