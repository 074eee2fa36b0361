"""Clock, emitter, options."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import pytest

from eot_core import FallbackOptions, Outcome, Prediction
from eot_core.clock import LoopClock, ManualClock
from eot_core.emitter import Emitter
from eot_core.options import check_bool, check_seconds


class TestManualClock:
    def test_timers_fire_in_order_each_at_its_time(self) -> None:
        clock = ManualClock(5.0)
        seen: list[tuple[str, float]] = []
        clock.call_at(7.0, lambda: seen.append(("b", clock.now())))
        clock.call_at(6.0, lambda: seen.append(("a", clock.now())))
        clock.call_at(6.5, lambda: seen.append(("never", clock.now()))).cancel()
        clock.call_at(1.0, lambda: seen.append(("late", clock.now())))
        clock.advance(1.5)
        assert seen == [("late", 5.0), ("a", 6.0)]
        clock.advance(10)
        assert seen[-1] == ("b", 7.0)
        assert clock.now() == 16.5

    def test_a_timer_may_set_another(self) -> None:
        clock = ManualClock()
        seen: list[float] = []
        clock.call_at(1.0, lambda: clock.call_at(2.0, lambda: seen.append(clock.now())) and None)
        clock.advance(3)
        assert seen == [2.0]

    def test_never_backwards(self) -> None:
        with pytest.raises(ValueError, match="seconds must not be negative"):
            ManualClock().advance(-1)


async def test_loop_clock() -> None:
    loop = asyncio.get_running_loop()
    clock = LoopClock(loop)
    fired = asyncio.Event()
    assert clock.now() <= loop.time()
    clock.call_at(clock.now() + 1_000, fired.clear).cancel()
    clock.call_at(clock.now(), fired.set)
    await fired.wait()


class TestEmitter:
    def test_on_and_off(self) -> None:
        emitter = Emitter()
        seen: list[object] = []
        listener = emitter.on("prediction", seen.append)
        emitter.emit("prediction", 1)
        emitter.emit("fallback", 2)
        emitter.off("prediction", listener)
        emitter.off("prediction", listener)
        emitter.emit("prediction", 3)
        assert seen == [1]

    def test_a_listener_that_raises_harms_nobody_else(self, caplog: pytest.LogCaptureFixture) -> None:
        emitter = Emitter()
        seen: list[object] = []
        emitter.on("fallback", lambda event: 1 / 0)
        emitter.on("fallback", seen.append)
        with caplog.at_level(logging.ERROR, "eot_core"):
            emitter.emit("fallback", "x")
        assert seen == ["x"]
        assert "ZeroDivisionError" in caplog.text

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="event must be one of prediction, fallback"):
            Emitter().on("predicted", print)
        with pytest.raises(ValueError, match="event must be one of"):
            Emitter().off("x", print)
        with pytest.raises(TypeError, match="listener must be callable, got int"):
            Emitter().on("fallback", 5)  # type: ignore[arg-type]

    async def test_a_listener_that_nobody_would_await(self) -> None:
        """On Pipecat most handlers are async: an alert on a fallback would be lost without a word."""

        async def listener(event: object) -> None: ...

        class Alert:
            async def __call__(self, event: object) -> None: ...

        for one in (listener, Alert(), partial(listener)):
            with pytest.raises(TypeError, match="listener for 'fallback' is async, and would never be awaited"):
                Emitter().on("fallback", one)


class TestOptions:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"enabled": 1}, "enabled must be True or False"),
            ({"reserve": -1}, "reserve must be 0 or more seconds"),
            ({"reserve": "x"}, "reserve must be a number of seconds"),
            ({"retries": -1}, "retries must be a whole number"),
            ({"retries": 1.5}, "retries must be a whole number"),
            ({"retries": True}, "retries must be a whole number"),
            ({"retry_interval": float("nan")}, "retry_interval"),
            ({"recover_after": -1}, "recover_after"),
        ],
    )
    def test_fallback_options(self, changes: dict[str, object], message: str) -> None:
        with pytest.raises((ValueError, TypeError), match=message):
            FallbackOptions(**changes)  # type: ignore[arg-type]

    def test_good(self) -> None:
        assert FallbackOptions(recover_after=5).recover_after == 5.0
        assert check_seconds(0, "x") == 0.0
        assert check_bool(False, "x") is False

    def test_positive(self) -> None:
        with pytest.raises(ValueError, match="x must be more than 0 seconds, got 0"):
            check_seconds(0, "x", positive=True)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1, "0.5", None])
def test_a_prediction_holds_a_probability(value: object) -> None:
    with pytest.raises(ValueError, match="probability must be a finite number between 0 and 1"):
        Prediction(value, Outcome.ANSWERED, None, "m", "local", "r")  # type: ignore[arg-type]
    if value is not None:
        with pytest.raises(ValueError, match="backchannel_probability must be a finite number"):
            Prediction(0.5, Outcome.ANSWERED, None, "m", "local", "r", value)  # type: ignore[arg-type]
