from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from known_set import Problems, write_rows

from eot_core.evaluation.calls import call_items, caller_turns
from eot_core.evaluation.dataset import read_dataset
from eot_core.evaluation.items import ItemError, Span
from eot_core.evaluation.scorers import ElapsedScorer
from eot_core.evaluation.scoring import ScoringOptions, score_items

CALLS = Path(__file__).parents[4] / "shared" / "audio" / "calls.jsonl"


def call(caller: Any, agent: Any, **more: Any) -> dict[str, Any]:
    speech = {"caller": caller, "agent": agent}
    return {"id": "c1", "language": "en", "audio": "c.wav", "channels": ["caller", "agent"], "speech": speech, **more}


class TestTurns:
    def test_holds_and_ends(self) -> None:
        turns = caller_turns([(5.0, 6.0), (6.5, 8.0), (12.0, 13.0)], [(0.0, 4.5), (9.0, 11.0), (13.4, 14.0)])
        assert turns == [
            (4.5, (Span(6.0, 6.5), Span(8.0, 9.0))),  # begins when the agent has finished
            (11.0, (Span(13.0, 13.4),)),
        ]

    def test_the_lead_is_bounded(self) -> None:
        assert caller_turns([(60.0, 61.0)], [(0.0, 4.5), (62.0, 63.0)])[0][0] == 59.0

    def test_gaps_too_short_for_a_silence(self) -> None:
        assert caller_turns([(1.0, 2.0), (2.05, 3.0)], [(3.5, 4.0)]) == [(0.0, (Span(3.0, 3.5),))]
        assert caller_turns([(1.0, 2.0)], [(2.05, 4.0)]) == []

    def test_both_at_once(self) -> None:
        # The agent says "mhm" while the caller speaks: nothing after it is counted until the turn is over.
        turns = caller_turns([(1.0, 2.0), (2.5, 4.0), (5.0, 6.0), (10.0, 11.0)], [(3.0, 3.3), (7.0, 9.0), (11.5, 12.0)])
        assert turns == [(9.0, (Span(11.0, 11.5),))]

    def test_a_call_that_nobody_answers(self) -> None:
        assert caller_turns([(1.0, 2.0), (3.0, 4.0)], []) == []


class TestItems:
    def test_cluster_channel_and_ids(self, tmp_path: Path) -> None:
        items = call_items(call([[5, 6], [12, 13]], [[0, 4], [7, 8], [14, 15]]), tmp_path)
        assert [(i.id, i.cluster, i.channel, i.turn_start) for i in items] == [
            ("c1-000", "c1", 0, 4.0),
            ("c1-001", "c1", 0, 11.0),
        ]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (call([[1, 2]], [[3, 4]], channels=["caller"]), "channels must name the two speakers"),
            (call([[1, 2]], [[3, 4]], channels=["caller", "bot"]), "speech has nothing for bot"),
            (call([[2, 1]], [[3, 4]]), r"speech of caller: \[2.0, 1.0\] is empty, or out of order"),
            (call([[1, 2], [1.5, 3]], [[3, 4]]), "out of order"),
            (call([1, 2], [[3, 4]]), r"speech of caller is no list of \[start, end\]"),
        ],
    )
    def test_checked(self, row: dict[str, Any], message: str, tmp_path: Path) -> None:
        with pytest.raises(ItemError, match=message):
            call_items(row, tmp_path)

    def test_channel_of_a_row(self, tmp_path: Path) -> None:
        problems = Problems()
        rows = [
            {"id": "x", "language": "en", "audio": "a.wav", "silence_spans": [[1, 2]], "channel": -1},
            call([[1, 2]], [[3, 4]]),
        ]
        items = read_dataset(write_rows(tmp_path / "r.jsonl", rows), on_problem=problems)
        assert problems.messages("x") == ["channel must be a whole number from 0, got -1"]
        assert [i.id for i in items] == ["c1-000"]


@pytest.mark.skipif(not CALLS.exists(), reason="no recorded call next to the checkout")
def test_a_real_call() -> None:
    problems = Problems()
    items = read_dataset(CALLS, on_problem=problems)
    result = score_items(items, [ElapsedScorer()], ScoringOptions(check_speech=False), on_problem=problems)
    pauses = result.for_model("elapsed")
    assert pauses.ends >= 10
    assert pauses.holds >= 10
    assert set(pauses.cluster) == {"auto-repairs-40"}
    assert result.notes[0] == "1 recording at 8000 Hz: upsampled, with nothing in them above 4 kHz"
    assert not any("several channels" in note for note in result.notes)
