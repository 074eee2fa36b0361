"""When the words of a turn are there."""

from __future__ import annotations

import math

import pytest

from adapters.pipecat.transcript_gate import TranscriptGate


def gate(latency: float = 0.5) -> TranscriptGate:
    made = TranscriptGate()
    made.set_latency(latency)
    made.turn_started()
    made.speech_started()
    return made


def test_nothing_written() -> None:
    it = gate()
    it.speech_ended(1.0)
    assert not it.is_open(100.0)
    assert it.written(" \n", finalized=True) is False
    assert not it.is_open(100.0)


def test_final_words_open_it_at_once() -> None:
    it = gate()
    it.speech_ended(1.0)
    assert it.written("hello", finalized=True) is True
    assert it.is_open(1.0)


def test_other_words_open_it_when_the_last_ones_are_due() -> None:
    it = gate(0.5)
    it.speech_ended(1.0)
    it.written("hello", finalized=False)
    assert not it.is_open(1.49)
    assert it.is_open(1.5)


def test_while_the_user_speaks_only_final_words_do() -> None:
    it = gate()
    assert it.due is None
    it.written("hello", finalized=False)
    assert not it.is_open(100.0)
    it.written("there", finalized=True)
    assert it.is_open(0.0)


@pytest.mark.parametrize("more", ["interim", "speech_started", "turn_started"])
def test_more_speech_closes_it(more: str) -> None:
    it = gate()
    it.speech_ended(1.0)
    it.written("hello", finalized=True)
    getattr(it, more)()
    assert not it.is_open(1.1)


def test_words_of_an_earlier_pause_of_the_turn_count_when_the_last_are_due() -> None:
    it = gate(0.5)
    it.speech_ended(1.0)
    it.written("hello", finalized=True)
    it.speech_started()
    it.speech_ended(3.0)
    assert not it.is_open(3.4)
    assert it.is_open(3.5)


@pytest.mark.parametrize(
    ("latency", "reported_after", "due"),
    [(0.5, 0.2, 1.5), (0.5, 0.28, 1.5), (0.5, 0.8, 2.1), (0.1, 0.8, 1.8), (0.9, 0.8, 1.9), (0.0, 0.8, 1.0)],
)
def test_an_stt_that_is_quicker_than_the_vad_writes_when_it_is_told_to(
    latency: float, reported_after: float, due: float
) -> None:
    it = gate(latency)
    it.speech_ended(1.0, reported_after=reported_after)
    assert it.due == pytest.approx(due)


@pytest.mark.parametrize("nonsense", [-1.0, math.nan, math.inf])
def test_a_latency_that_is_none(nonsense: float) -> None:
    it = gate(nonsense)
    assert it.latency == 0.0
