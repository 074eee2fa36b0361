"""Rows of a replay, for people (an aligned table) and for programs (a JSON object per line)."""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

from .rows import PauseRow, Row

SAME = 0.25
"""Seconds by which the ends of speech that two frameworks report for one pause may differ; pauses with a word between
them are further apart."""

_HEAD = f"{'time':>7}  {'what':<6} {'pause':>6} {'p':>6} {'thresh':>6}  {'decision':<16} {'delay':>6}  by"


class TablePrinter:
    """Prints each row when it comes, and a head before the first."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._begun = False

    def __call__(self, row: Row) -> None:
        if not self._begun:
            self._begun = True
            print(_HEAD, file=self._out)
        for line in _lines(row):
            print(line.rstrip(), file=self._out, flush=True)


class JsonPrinter:
    """Prints each row as one JSON object: the fields of its class, and "type": "pause" or "turn"."""

    def __init__(self, out: TextIO, *, framework: str | None = None) -> None:
        self._out = out
        self._framework = {} if framework is None else {"framework": framework}

    def __call__(self, row: Row) -> None:
        kind = "pause" if isinstance(row, PauseRow) else "turn"
        fields = {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in dataclasses.asdict(row).items()
        }
        print(json.dumps({"type": kind, **self._framework, **fields}, ensure_ascii=False), file=self._out, flush=True)


class SideBySide:
    """The rows of two replays of one recording, next to each other."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def print(self, tables: Mapping[str, Sequence[Row]]) -> None:
        """Print a line for each pause; rows belong together that are of the same moment, within :data:`SAME`."""
        names = list(tables)
        print(f"{'':<7}  " + "".join(f"{name:<44}" for name in names).rstrip(), file=self._out)
        head = f"{'p':>5} {'thresh':>6}  {'decision':<16} {'delay':>6}"
        print(f"{'time':>7}  " + "".join(f"{head:<44}" for _ in names).rstrip(), file=self._out)
        pairs = list(_by_time([[row for row in tables[name] if isinstance(row, PauseRow)] for name in names]))
        for pair in pairs:
            time = next(row.time for row in pair if row is not None)
            print(f"{time:7.2f}  " + "".join(f"{_cell(row):<44}" for row in pair).rstrip(), file=self._out)
        if any(_differ(pair) for pair in pairs):
            print(
                "\nWhere p differs: LiveKit's console plays the recording at 24 kHz, whatever its own rate, and cuts\n"
                "it into frames elsewhere. `make parity` gives both frameworks the same samples.",
                file=self._out,
            )


def _by_time(columns: Sequence[Sequence[PauseRow]]) -> Iterator[list[PauseRow | None]]:
    """For each pause the row of each column, None where a column has none."""
    waiting = [deque(sorted(column, key=lambda row: row.time)) for column in columns]
    while any(waiting):
        until = min(column[0].time for column in waiting if column) + SAME
        yield [column.popleft() if column and column[0].time <= until else None for column in waiting]


def _differ(rows: Sequence[PauseRow | None]) -> bool:
    """Whether the probabilities, as they are printed, do."""
    return len({_number(row.probability) for row in rows if row is not None}) > 1


def _cell(row: PauseRow | None) -> str:
    if row is None:
        return "-"
    decision = "listened through" if row.decision == "listened_through" else "turn ended"
    return f"{_number(row.probability):>5} {_number(row.threshold):>6}  {decision:<16} {_number(row.delay):>6}"


def _lines(row: Row) -> Iterator[str]:
    if isinstance(row, PauseRow):
        decision = "listened through" if row.decision == "listened_through" else "turn ended"
        yield (
            f"{row.time:7.2f}  {'pause':<6} {_number(row.duration):>6} {_number(row.probability):>6} "
            f"{_number(row.threshold):>6}  {decision:<16} {_number(row.delay):>6}  {row.model} ({row.source})"
        )
        return
    yield f"{row.time:7.2f}  {'turn':<6} {'':>6} {'':>6} {'':>6}  {'':<16} {_number(row.delay):>6}"
    for who, text in (("user", row.transcript), ("agent", row.reply)):
        if text:
            yield f"{'':>9}{who + ':':<7} {text}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
