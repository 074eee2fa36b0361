"""The script behind the table of docs/tuning.md, on pauses whose right answers are planted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from planted import planted
from test_tuning_own import MODEL, as_the_head_sees

from training import own_heads


def test_what_is_planted_is_found_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_heads, "DRAWS", 2)
    monkeypatch.setattr(own_heads, "SHUFFLES", 3)
    pauses, features = planted(30)
    curve = own_heads.Curve("planted", MODEL, pauses, as_the_head_sees(features))
    cells = [cell.strip() for cell in curve.draw(20).split("|")]
    assert cells[1:3] == ["planted", "20, 100, 100"]
    assert cells[4] == "2 of 2"
    assert cells[5].startswith("+0.1")
    assert curve.for_nothing() == 0


def test_which_pauses_are_looked_at() -> None:
    data = Path(__file__).parents[4] / "shared" / "audio"
    if not (data / "turns.jsonl").exists():
        pytest.skip("no recorded speech next to the checkout")
    pauses = own_heads.chosen(data)
    assert {pause.source for pause in pauses} == set(own_heads.SIZES)
    assert all(pause.split == "test" for pause in pauses if pause.source == "speechocean762")
