"""A local model hears as much of a pause as it was measured with, whenever it is asked and however long frames are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from session_driver import Driver, local_spec

from eot_core.endpointing import ASKED_LATER, FIRST_HEARS, RESCORE_UNTIL, Endpointer, EndpointingOptions
from eot_core.events import Outcome, Prediction
from eot_core.models.base import PcmArray

RATE = 16_000
SPOKEN = 10.0
"""Seconds: more than any window here, so that what is left out at the end must be there at the beginning."""


def asked(window: float = 8.0, *, silence: float, again_at: float | None = None, **spec: object) -> PcmArray:
    """What the model is given when the newest ``silence`` seconds are silent: speech is -1, silence counts from 0."""
    driver = Driver(local=local_spec(window=window, **spec))
    driver.cancel()
    first = silence if again_at is None else 0.256
    pcm = np.concatenate((np.full(round(SPOKEN * RATE), -1), np.arange(round(silence * RATE))))
    driver.run(driver.session.push_audio(pcm[: round((SPOKEN + first) * RATE)].astype(np.int16), RATE, 0.0))
    driver.run(driver.session.predict(driver.now, silence=first))
    if again_at is not None:
        driver.run(driver.session.push_audio(pcm[round((SPOKEN + first) * RATE) :].astype(np.int16), RATE, 0.0))
        driver.run(driver.session.predict(driver.now, again_at=again_at))
    return driver.snapshots[driver.session.last_request_id]


@pytest.mark.parametrize("silence", [0.2, 0.256, 0.272, 0.306, 0.8, 1.1])
def test_the_first_time_0_2_s(silence: float) -> None:
    heard = asked(silence=silence)
    assert len(heard) == 8 * RATE
    assert heard.max() == FIRST_HEARS * RATE - 1


def test_a_vad_that_is_quicker_than_that() -> None:
    assert asked(silence=0.1).max() == 0.1 * RATE - 1


@pytest.mark.parametrize("late", [0.0, 0.012, 0.05])
def test_later_all_that_there_was_when_the_last_frame_had_surely_come(late: float) -> None:
    """Frames come in steps: when the model is asked, up to 50 ms of the newest audio are still on their way."""
    heard = asked(silence=0.4 - late, again_at=0.4)
    assert len(heard) == 8 * RATE
    assert heard.max() == round((0.4 - ASKED_LATER) * RATE) - 1


def test_what_has_not_come_cannot_be_heard() -> None:
    assert asked(silence=0.3, again_at=0.4).max() == 0.3 * RATE - 1


def test_a_model_that_hears_all() -> None:
    assert asked(silence=0.272, hears_all=True).max() == 0.272 * RATE - 1


@pytest.mark.parametrize("silence", [math.nan, math.inf, -1.0, None])
def test_a_length_that_makes_no_sense_is_none(silence: float | None) -> None:
    driver = Driver()
    driver.audio(0.5)
    driver.run(driver.session.predict(driver.now, silence=silence, again_at=math.nan))
    assert len(driver.snapshots[driver.session.last_request_id]) == 0.5 * RATE


def test_more_silence_than_audio() -> None:
    driver = Driver()
    driver.audio(0.5)
    driver.run(driver.session.predict(driver.now, silence=3.0))
    assert len(driver.snapshots[driver.session.last_request_id]) == FIRST_HEARS * RATE


@pytest.mark.parametrize("over", ["cancel", "flush"])
def test_a_pause_that_is_over_cuts_nothing(over: str) -> None:
    driver = Driver()
    driver.audio(1.0)
    driver.run(driver.session.predict(driver.now, silence=0.3))
    getattr(driver, over)()
    driver.audio(0.5)
    driver.run(driver.session.predict(driver.now, again_at=0.4))
    assert len(driver.snapshots[driver.session.last_request_id]) == 1.5 * RATE


@pytest.mark.parametrize("speech", [0.064, 0.074, 0.1, 0.2])
def test_a_turn_begins_where_speech_did_whatever_else_was_in_the_frame(speech: float) -> None:
    driver = Driver(local=local_spec(window=8.0, pre_speech=0.5))
    spoken = np.concatenate((np.zeros(2 * RATE), np.arange(1, round(speech * RATE) + 1)))
    driver.run(driver.session.push_audio(spoken.astype(np.int16), RATE, 0.0))
    driver.run(driver.session.cancel(speech=speech))
    driver.run(driver.session.predict(driver.now))
    heard = driver.snapshots[driver.session.last_request_id]
    assert np.count_nonzero(heard == 0) == round((0.5 - 0.064) * RATE)


@pytest.mark.parametrize("speech", [None, math.nan, 0.0])
def test_where_that_is_not_known_it_begins_now(speech: float | None) -> None:
    driver = Driver(local=local_spec(window=8.0, pre_speech=0.5))
    driver.audio(2.0)
    driver.run(driver.session.cancel(speech=speech))
    assert len(driver.snapshots[driver.predict()]) == 0.5 * RATE


class TestTheEndpointer:
    def said(self, probability: float) -> Prediction:
        return Prediction(probability, Outcome.ANSWERED, None, "m", "local", "r")

    def test_a_score_that_was_asked_for_in_time_counts_when_it_comes(self) -> None:
        """Both adapters wait for it: to ignore it then would cost the time and lose what it says. The simulator, in
        which a model takes no time, counts it too."""
        endpointer = Endpointer(EndpointingOptions(0.2, 2.2, 1.0, 0.2))
        endpointer.speech_ended(0.0)
        decision = endpointer.predicted(self.said(0.89), 0.5, 0.3)
        assert decision is not None
        assert decision.commit_at == pytest.approx(0.42)
        assert endpointer.rescore_at == pytest.approx(0.4)
        decision = endpointer.predicted(self.said(0.01), 0.5, 0.43)
        assert decision is not None
        assert decision.commit_at > 1.0

    def test_not_after_a_second(self) -> None:
        """Policies are measured with what recordings have: seldom more than a second at the end of a turn."""
        endpointer = Endpointer(EndpointingOptions(0.2, 2.2, 1.0, 0.2))
        endpointer.speech_ended(0.0)
        moments = []
        endpointer.predicted(self.said(0.1), 0.5, 0.2)
        while (again := endpointer.rescore_at) is not None:
            moments.append(round(again, 6))
            endpointer.predicted(self.said(0.1), 0.5, again + 0.02)
        assert moments == [0.4, 0.6, 0.8, 1.0]
        assert moments[-1] == RESCORE_UNTIL
