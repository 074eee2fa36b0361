"""What of the audio belongs to the turn: not the turn before, and nothing that was none."""

from __future__ import annotations

import numpy as np
import pytest
from session_driver import Driver, local_spec

from eot_core.models.base import PcmArray
from eot_core.operating_points import OperatingPoint
from eot_core.policy_table import PolicyTable

RATE = 16_000
LEAD = 0.7
VAD = 0.256
"""Seconds of silence after which the VAD is certain of a pause."""


class Call:
    """Audio in which each stretch of speech has samples of a number of its own, and silence has zeros."""

    def __init__(self, **driver: object) -> None:
        spec = local_spec(window=8.0, pre_speech=LEAD)
        self.driver = Driver(local=spec, **driver)  # type: ignore[arg-type]
        self._pause = 0.0

    def hear(self, value: int, seconds: float) -> None:
        self.driver.run(self.driver.session.push_audio(np.full(round(seconds * RATE), value, np.int16), RATE, 0.0))

    def silence(self, seconds: float) -> None:
        self._pause += seconds
        self.hear(0, seconds)

    def speech(self, value: int, seconds: float) -> PcmArray:
        """Speech, a pause, and what the model is given then."""
        self.hear(value, 0.064)
        self.driver.run(self.driver.session.cancel(speech=0.064))
        self.hear(value, seconds - 0.064)
        self._pause = VAD
        self.hear(0, VAD)
        self.driver.run(self.driver.session.predict(self.driver.now, silence=VAD))
        return self.driver.snapshots[self.driver.session.last_request_id]

    def turn_ends(self) -> None:
        self.driver.run(self.driver.session.flush(self.driver.now))


@pytest.mark.parametrize("gap", [0.31, 0.45, 0.63])
def test_the_turn_before_is_not_in_the_window(gap: float) -> None:
    call = Call()
    call.speech(1, 1.0)
    call.silence(0.05)
    call.turn_ends()
    call.silence(gap - VAD - 0.05)
    heard = call.speech(2, 0.3)
    assert set(heard.tolist()) == {0, 2}
    assert len(heard) == pytest.approx((gap + 0.3 + 0.2) * RATE, abs=2), "the pause between them is, as far as it goes"


def test_as_much_of_the_pause_before_it_as_there_is_room_for() -> None:
    call = Call()
    call.speech(1, 1.0)
    call.turn_ends()
    call.silence(5.0)
    assert len(call.speech(2, 0.3)) == pytest.approx((LEAD - 0.064 + 0.3 + 0.2) * RATE, abs=2)


def test_a_flush_in_the_first_moments_of_the_next_speech_costs_none_of_it() -> None:
    """The turn is ended by whoever waited for a transcript, just when the user goes on."""
    call = Call()
    call.speech(1, 1.0)
    call.silence(0.2)
    call.hear(2, 0.05)
    call.turn_ends()
    heard = call.speech(2, 0.3)
    assert set(heard.tolist()) == {0, 2}
    assert np.count_nonzero(heard == 2) == pytest.approx(0.35 * RATE, abs=2)


def test_who_does_not_say_how_long_the_silence_was_said_it_when_asking() -> None:
    call = Call()
    call.hear(1, 1.0)
    call.driver.cancel()
    call.driver.predict()
    call.turn_ends()
    call.silence(0.1)
    assert set(call.speech(2, 0.3).tolist()) == {0, 2}


def test_what_ended_no_turn_is_none() -> None:
    """A cough, a word without a transcript, a word too few for an interruption: nobody flushes after it."""
    call = Call()
    call.speech(1, 0.3)
    call.silence(3.0)
    heard = call.speech(2, 0.3)
    assert set(heard.tolist()) == {0, 2}
    assert len(heard) == pytest.approx((LEAD - 0.064 + 0.3 + 0.2) * RATE, abs=2)


def test_a_pause_in_which_the_turn_goes_on_is_in_it() -> None:
    call = Call()
    call.speech(1, 0.3)
    call.silence(2.5 - VAD)
    heard = call.speech(2, 0.3)
    assert set(heard.tolist()) == {0, 1, 2}
    assert np.count_nonzero(heard == 1) == 0.3 * RATE


@pytest.mark.parametrize(("gap", "still"), [(3.9, True), (4.1, False)])
def test_the_longest_pause_is_that_of_the_operating_point(gap: float, still: bool) -> None:
    point = {"threshold": 0.5, "min_delay": 0.3, "max_delay": 4.0, "cutoff_rate": 0.1, "latency": 0.5}
    models = {"local-model": {"languages": {"en": {"points": [point]}}}}
    table = PolicyTable.from_json({"schema": "eot-calibration/1", "models": models})
    call = Call(operating_point=OperatingPoint("balanced", calibration=table))
    call.speech(1, 0.3)
    call.silence(gap - VAD)
    assert (1 in call.speech(2, 0.3)) is still
