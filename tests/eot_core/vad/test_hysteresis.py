from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eot_core.vad.events import SpeechEnded, SpeechStarted, VADEvent, WindowScored
from eot_core.vad.hysteresis import WINDOW, Hysteresis
from eot_core.vad.options import VADOptions


def run(probabilities: list[float], **options: float) -> list[VADEvent]:
    hysteresis = Hysteresis(VADOptions(**options))
    return [event for probability in probabilities for event in hysteresis.update(probability)]


def changes(probabilities: list[float], **options: float) -> list[tuple[str, int]]:
    """Where speech starts and ends, in windows."""
    return [
        (type(event).__name__, round(event.at / WINDOW))
        for event in run(probabilities, **options)
        if not isinstance(event, WindowScored)
    ]


def test_two_windows_start_speech_and_eight_end_it() -> None:
    assert changes([0.0] * 3 + [0.9] * 2 + [0.0] * 8) == [("SpeechStarted", 5), ("SpeechEnded", 13)]
    assert changes([0.9, 0.0, 0.9, 0.0]) == []
    assert changes([0.9] * 2 + ([0.0] * 7 + [0.9]) * 3) == [("SpeechStarted", 2)]


def test_the_times() -> None:
    events = [e for e in run([0.0] * 3 + [0.9] * 10 + [0.0] * 8) if not isinstance(e, WindowScored)]
    started, ended = events
    assert isinstance(started, SpeechStarted)
    assert isinstance(ended, SpeechEnded)
    assert started.at == pytest.approx(5 * WINDOW)
    assert started.speech_started_at == pytest.approx(3 * WINDOW)
    assert started.speech_duration == pytest.approx(2 * WINDOW)
    assert ended.at == pytest.approx(21 * WINDOW)
    assert ended.speech_ended_at == pytest.approx(13 * WINDOW)
    assert ended.speech_duration == pytest.approx(10 * WINDOW)
    assert ended.silence_duration == pytest.approx(8 * WINDOW)


def test_thresholds_at_the_edge() -> None:
    assert changes([0.5, 0.5]) == [("SpeechStarted", 2)]  # activation is reached
    assert changes([0.4999, 0.4999]) == []
    assert changes([0.9] * 2 + [0.36] * 20) == [("SpeechStarted", 2)]  # above deactivation it goes on
    assert changes([0.9] * 2 + [0.35] * 8)[1:] == [("SpeechEnded", 10)]  # deactivation must be exceeded
    assert changes([0.36] * 20) == []  # and does not start it
    assert changes([0.9] * 2 + [0.3] * 20, deactivation_threshold=0.2) == [("SpeechStarted", 2)]


def test_a_window_tells_what_was_before_it() -> None:
    scored = [e for e in run([0.9] * 3 + [0.0] * 2) if isinstance(e, WindowScored)]
    assert [e.speaking for e in scored] == [False, False, True, True, True]
    assert [round(e.raw_accumulated_speech / WINDOW) for e in scored] == [0, 1, 2, 3, 0]
    assert [round(e.raw_accumulated_silence / WINDOW) for e in scored] == [0, 0, 0, 0, 1]
    assert [round(e.speech_duration / WINDOW) for e in scored] == [0, 0, 3, 4, 5]
    assert [round(e.silence_duration / WINDOW) for e in scored] == [1, 2, 0, 0, 0]


def test_no_duration_means_the_first_window() -> None:
    assert changes([0.9, 0.0], min_speech_duration=0.0, min_silence_duration=0.0) == [
        ("SpeechStarted", 1),
        ("SpeechEnded", 2),
    ]


def test_nan_is_silence() -> None:
    assert changes([math.nan] * 5) == []
    assert changes([0.9] * 2 + [math.nan] * 8)[1:] == [("SpeechEnded", 10)]


def test_reset_begins_anew() -> None:
    hysteresis = Hysteresis(VADOptions())
    first = [hysteresis.update(p) for p in (0.9, 0.9, 0.0)]
    assert hysteresis.speaking
    hysteresis.reset()
    assert not hysteresis.speaking
    assert [hysteresis.update(p) for p in (0.9, 0.9, 0.0)] == first


@given(st.lists(st.floats(0, 1)))
def test_speech_starts_and_ends_in_turn(probabilities: list[float]) -> None:
    speaking, before = False, 0.0
    for event in run(probabilities):
        assert event.at >= before
        before = event.at
        if isinstance(event, SpeechStarted):
            assert not speaking
            assert 0 <= event.speech_started_at < event.at
            speaking = True
        elif isinstance(event, SpeechEnded):
            assert speaking
            assert event.speech_ended_at < event.at
            assert event.speech_duration >= 0
            speaking = False


def test_the_derived_deactivation_threshold() -> None:
    assert VADOptions().effective_deactivation_threshold == pytest.approx(0.35)
    assert VADOptions(activation_threshold=0.1).effective_deactivation_threshold == 0.01
    assert VADOptions(deactivation_threshold=0.5).effective_deactivation_threshold == 0.5


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("activation_threshold", 0.0),
        ("activation_threshold", 1.1),
        ("activation_threshold", math.nan),
        ("activation_threshold", "0.5"),
        ("activation_threshold", True),
        ("deactivation_threshold", 0.0),
        ("deactivation_threshold", 0.6),
        ("deactivation_threshold", 1.6),
        ("min_speech_duration", -0.1),
        ("min_speech_duration", math.inf),
        ("min_silence_duration", -0.1),
        ("min_silence_duration", None),
    ],
)
def test_bad_options_are_named(argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=argument):
        VADOptions(**{argument: value})  # type: ignore[arg-type]
