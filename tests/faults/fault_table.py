"""The matrix as a page: runs cells and prints what became of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import virtual_time
from fault_cases import CASES, Case, Moment
from fault_cell import Mode, Row, Turn, check

HEADER = (
    "Fault",
    "When",
    "Reason reported",
    "Turn 1 answered by",
    "p",
    "Resolved at (of the deadline)",
    "Turn 1 ended after",
    "Turn 2 answered by",
    "Turn 2 ended after",
    "Left over",
)


class Half(enum.Enum):
    """What a cell is run through."""

    STREAM = "DetectorStream"
    SESSION = "AgentSession"


@dataclass(frozen=True)
class Task:
    """One cell. Names only, so that it can be sent to another process."""

    half: Half
    case: str
    moment: Moment
    mode: Mode


@dataclass(frozen=True)
class Line:
    """What became of it."""

    columns: tuple[str, ...]
    failure: str | None


def run(task: Task) -> Line:
    """Run a cell in this process, now."""
    case = next(case for case in CASES if case.name == task.case)
    if task.half is Half.STREAM:
        from through_stream import through_stream as through
    else:
        from through_agent_session import through_agent_session as through
    row = virtual_time.run(lambda: through(case, task.moment, task.mode))
    failure = None
    try:
        check(row, session=task.half is Half.SESSION)
    except AssertionError as error:
        failure = f"{task.half.value}, {task.case}, {task.moment.value}, {task.mode.value}: {error}"
    return Line(_columns(row), failure)


def _columns(row: Row) -> tuple[str, ...]:
    nobody = Turn()
    first, second = (*row.turns, nobody, nobody)[:2]
    return (
        row.case.name,
        row.moment.value,
        ", ".join(f"`{reason}`" for reason in row.reasons) or "none",
        _who(first),
        "" if first.probability is None else f"{first.probability:.2f}",
        "" if first.resolved is None else f"{first.resolved:.2f}",
        _ended(row, first),
        _who(second),
        _ended(row, second),
        "nothing" if not row.left and not row.pending else "; ".join([*row.left, f"{row.pending} futures"]),
    )


def _who(turn: Turn) -> str:
    return turn.by if turn.why is None else f"{turn.by} (`{turn.why}`)"


def _ended(row: Row, turn: Turn) -> str:
    if turn.ended is not None:
        return f"{turn.ended:.2f} s"
    return "we closed" if row.case.closes_stream else "**never**"


def tasks(half: Half, mode: Mode, cases: tuple[Case, ...] = CASES) -> list[Task]:
    return [Task(half, case.name, moment, mode) for case in cases for moment in Moment if moment not in case.same_as]


def table(lines: dict[Task, Line], half: Half, mode: Mode, cases: tuple[Case, ...] = CASES) -> str:
    """In Markdown, with a line for every case and moment; one without a cell says why."""
    rows = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    for case in cases:
        for moment in Moment:
            if moment in case.same_as:
                columns = (case.name, moment.value, f"no row: {case.same_as[moment]}", *[""] * (len(HEADER) - 3))
            else:
                columns = lines[Task(half, case.name, moment, mode)].columns
            rows.append("| " + " | ".join(columns) + " |")
    return "\n".join(rows) + "\n"
