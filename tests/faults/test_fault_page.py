"""The page in the docs has a line for every cell."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("livekit.agents")

import fault_page
from fault_cases import CASES, Moment
from fault_table import Half, Line, run
from fault_table import tasks as tasks_of

DOCS = Path(__file__).parents[2] / "docs" / "faults.md"


def test_the_docs_have_a_line_for_every_cell() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for case in CASES:
        for moment in Moment:
            assert text.count(f"| {case.name} | {moment.value} |") >= 4, "run make faults"
    assert "**never**" not in text


def test_the_page_is_what_the_docs_say() -> None:
    """One row of each table, run now; `make faults` runs them all."""
    text = DOCS.read_text(encoding="utf-8")
    for _, half, mode, cases in fault_page._PARTS:
        task = tasks_of(half, mode, cases)[-1]
        line = run(task)
        assert line.failure is None
        assert "| " + " | ".join(line.columns) + " |" in text, "run make faults"


def test_a_cell_that_fails_is_shown() -> None:
    tasks = fault_page.tasks()
    lines = {task: Line(("x",) * 10, None) for task in tasks}
    text = fault_page.render(lines)
    assert text.count("\n| x |") == len(tasks)
    assert text.count("no row:") > 0
    assert {task.half for task in tasks} == set(Half)
