"""Rows of a replay, for people (an aligned table) and for programs (a JSON object per line)."""

from __future__ import annotations

import dataclasses
import json
from typing import TextIO

from .rows import PauseRow, Row

_HEAD = f"{'time':>7}  {'what':<6} {'pause':>6} {'p':>6} {'thresh':>6}  {'decision':<16} {'delay':>6}  {'by':<28} said"


class TablePrinter:
    """Prints each row when it comes, and a head before the first."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._begun = False

    def __call__(self, row: Row) -> None:
        if not self._begun:
            self._begun = True
            print(_HEAD, file=self._out)
        print(_line(row).rstrip(), file=self._out, flush=True)


class JsonPrinter:
    """Prints each row as one JSON object: the fields of its class, and "type": "pause" or "turn"."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, row: Row) -> None:
        kind = "pause" if isinstance(row, PauseRow) else "turn"
        fields = {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in dataclasses.asdict(row).items()
        }
        print(json.dumps({"type": kind, **fields}, ensure_ascii=False), file=self._out, flush=True)


def _line(row: Row) -> str:
    if isinstance(row, PauseRow):
        decision = "listened through" if row.decision == "listened_through" else "turn ended"
        return (
            f"{row.time:7.2f}  {'pause':<6} {_number(row.duration):>6} {_number(row.probability):>6} "
            f"{_number(row.threshold):>6}  {decision:<16} {_number(row.delay):>6}  {f'{row.model} ({row.source})':<28}"
        )
    said = " ".join(part for part in (_quoted(row.transcript), f"-> {row.reply}" if row.reply else "") if part)
    return f"{row.time:7.2f}  {'turn':<6} {'':>6} {'':>6} {'':>6}  {'':<16} {_number(row.delay):>6}  {'':<28} {said}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _quoted(text: str | None) -> str:
    return f'"{text}"' if text else ""
