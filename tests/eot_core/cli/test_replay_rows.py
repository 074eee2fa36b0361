"""From events to rows: what is told, and when."""

import pytest

from eot_core.cli.broker import EotPredicted, Event, MessageAdded, ModelUsage, UsageUpdated, UserStateChanged
from eot_core.cli.replay_rows import RowBuilder, Speech
from eot_core.cli.rows import PauseRow, Row, TurnRow

SPEECH = [Speech(0.5, 2.0), Speech(3.0, 4.0), Speech(6.0, 7.0)]


def starts(at: float) -> Event:
    return UserStateChanged(at + 0.05, at, "listening", "speaking")


def stops(at: float) -> Event:
    """The agent's VAD says it 0.25 s later, and is 0.06 s off, as LiveKit's is."""
    return UserStateChanged(at + 0.25, at + 0.06, "speaking", "listening")


def predicts(at: float, probability: float, duration: float = 0.02) -> Event:
    return EotPredicted(at, at, probability, 0.5, duration, 0.3)


def turn(at: float, text: str, told_at: float | None = None) -> Event:
    told_at = at if told_at is None else told_at
    return MessageAdded(told_at, told_at, "user", text, False, committed_at=at)


def reply(at: float, text: str) -> Event:
    return MessageAdded(at, at, "assistant", text, False)


def rows(*events: Event) -> list[Row]:
    builder = RowBuilder(SPEECH, "smart-turn-v3.2")
    return [row for event in events for row in builder.observe(event)] + builder.finish()


def test_a_pause_that_was_listened_through_and_one_that_ended_the_turn() -> None:
    listened, ended, taken = rows(
        starts(0.5),
        stops(2.0),
        predicts(2.27, 0.1),
        starts(3.0),
        stops(4.0),
        predicts(4.27, 0.9),
        turn(4.3, "Hello."),
        reply(5.0, "You said: Hello."),
    )

    assert listened == PauseRow(2.0, 1.0, 0.1, 0.5, "listened_through", None, "smart-turn-v3.2", "local")
    assert ended == PauseRow(4.0, None, 0.9, 0.5, "turn_ended", pytest.approx(0.3), "smart-turn-v3.2", "local")
    assert taken == TurnRow(4.3, pytest.approx(0.3), "Hello.", "You said: Hello.")


def test_an_answer_that_was_held_until_the_user_spoke_on() -> None:
    """The session never heard of it: it was a row without a probability, by "default"."""
    builder = RowBuilder(SPEECH, "m")
    found: list[Row] = []
    for event, told in (
        (starts(0.5), None),
        (stops(2.0), (0.3, "eot-open-1", "local", 0.7)),
        (starts(3.0), None),
        (stops(4.0), None),  # nobody was asked
        (starts(6.0), None),
    ):
        found += builder.observe(event)
        if told is not None:
            builder.answered(*told)
    found += builder.finish()

    first, second = (row for row in found if isinstance(row, PauseRow))
    assert first == PauseRow(2.0, 1.0, 0.3, 0.7, "listened_through", None, "eot-open-1", "local")
    assert (second.probability, second.threshold, second.source) == (None, None, "default")


def test_a_row_comes_as_soon_as_it_is_certain() -> None:
    builder = RowBuilder(SPEECH, "m")
    for event in (starts(0.5), stops(2.0), predicts(2.27, 0.1), starts(3.0)):
        assert builder.observe(event) == []
    # Had the turn been ended, that would be known by now.
    (row,) = builder.observe(UsageUpdated(3.4, 3.4, ()))
    assert isinstance(row, PauseRow)
    assert builder.observe(stops(4.0)) == []
    (row,) = builder.observe(turn(4.3, "Hello."))
    assert isinstance(row, PauseRow)
    (row,) = builder.observe(reply(5.0, "You said: Hello."))
    assert isinstance(row, TurnRow)
    assert builder.finish() == []


def test_a_turn_that_is_told_late_still_ended_the_pause_in_which_it_ended() -> None:
    # Behind a reply that is still being spoken, the message comes seconds after the commit.
    first, taken, last = rows(
        stops(2.0),
        predicts(2.27, 0.9),
        starts(3.0),
        UsageUpdated(3.9, 3.9, ()),
        stops(4.0),
        turn(2.3, "Early.", told_at=4.4),
    )

    assert (first.time, first.decision, first.delay) == (2.0, "turn_ended", pytest.approx(0.3))
    assert taken == TurnRow(2.3, pytest.approx(0.3), "Early.", None)
    assert (last.time, last.decision) == (4.0, "listened_through")


def test_a_pause_long_enough_for_the_maximum_delay_waits_for_its_turn() -> None:
    first, taken = rows(
        stops(2.0),
        predicts(2.27, 0.1),
        UserStateChanged(6.05, 6.0, "listening", "speaking"),
        UsageUpdated(6.9, 6.9, ()),
        turn(4.5, "Unsure.", told_at=7.0),
    )

    assert (first.probability, first.decision, first.delay) == (0.1, "turn_ended", pytest.approx(2.5))
    assert taken == TurnRow(4.5, pytest.approx(2.5), "Unsure.", None)


def test_the_last_of_several_predictions_in_a_pause_counts() -> None:
    (row,) = rows(stops(2.0), predicts(2.27, 0.1), predicts(2.8, 0.4))
    assert isinstance(row, PauseRow)
    assert row.probability == 0.4


def test_the_agents_own_end_of_speech_counts_where_no_true_one_is_near() -> None:
    (row,) = rows(stops(9.0))
    assert row.time == pytest.approx(9.06)


def test_a_recording_in_which_the_core_hears_no_speech() -> None:
    builder = RowBuilder([], "m")
    builder.observe(stops(2.0))
    (row,) = builder.finish()
    assert row.time == pytest.approx(2.06)


def test_a_default_is_told_from_an_answer() -> None:
    (row,) = rows(stops(2.0), predicts(2.27, 1.0, duration=0.0))
    assert isinstance(row, PauseRow)
    assert (row.probability, row.source) == (1.0, "default")


def test_a_pause_without_a_prediction() -> None:
    (row,) = rows(stops(2.0))
    assert isinstance(row, PauseRow)
    assert (row.probability, row.threshold, row.source) == (None, None, "default")


def test_the_session_knows_the_model_best() -> None:
    usage = UsageUpdated(1.0, 1.0, (ModelUsage("llm", "x", "y", 0), ModelUsage("eot", "pipecat", "other", 1)))
    (row,) = rows(usage, stops(2.0))
    assert isinstance(row, PauseRow)
    assert row.model == "other"


def test_a_turn_of_which_no_pause_is_known() -> None:
    (row,) = rows(turn(4.4, "Typed."))
    assert row == TurnRow(4.4, pytest.approx(0.4), "Typed.", None)


def test_a_turn_before_any_speech_has_no_delay() -> None:
    (row,) = rows(turn(0.2, "Typed."))
    assert row == TurnRow(0.2, 0.0, "Typed.", None)


def test_a_commit_time_that_the_agent_does_not_tell() -> None:
    pause, taken = rows(stops(2.0), MessageAdded(2.4, 2.35, "user", "Hm.", False))
    assert (pause.time, taken.time) == (2.0, 2.35)
    builder = RowBuilder(SPEECH, "m")
    builder.observe(MessageAdded(2.4, None, "user", "Hm.", False))
    assert builder.finish()[0].time == 2.4


def test_two_turns_and_a_greeting() -> None:
    told = rows(
        reply(0.1, "Welcome."),
        stops(2.0),
        turn(2.3, "One."),
        starts(3.0),
        stops(4.0),
        turn(4.3, "Two."),
        reply(5.0, "Both."),
    )
    assert [(row.transcript, row.reply) for row in told if isinstance(row, TurnRow)] == [
        ("One.", None),
        ("Two.", "Both."),
    ]
