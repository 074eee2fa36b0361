"""The comparison as a table."""

from __future__ import annotations

from collections.abc import Sequence

from .compare import Row, Side

HEAD = (
    "trace",
    "pause",
    "p",
    "threshold",
    "model",
    "decision",
    "LiveKit",
    "Pipecat",
    "difference",
    "LiveKit's cost",
    "Pipecat's cost",
)
"""Commits in seconds from the true end of speech; differences and costs in milliseconds. A cost is what a framework
takes beyond the moment in which delay, answer and transcript were there."""


def cells(row: Row) -> list[str]:
    """A pause, as text."""
    predicted, judged = row.pipecat.predicted, row.pipecat.judged
    return [
        row.trace.id,
        str(row.number + 1),
        "-" if predicted is None else f"{predicted.probability:.3f}",
        "-" if judged is None or judged.threshold is None else f"{judged.threshold:.3f}",
        "-" if predicted is None else f"{predicted.model}{_how(predicted.outcome, predicted.reason)}",
        _decision(row),
        _commits(row.livekit),
        _commits(row.pipecat),
        _milliseconds(row.difference),
        _milliseconds(row.cost(row.livekit)),
        _milliseconds(row.cost(row.pipecat)),
    ]


def plain(rows: Sequence[Row]) -> str:
    """For a terminal."""
    table = [list(HEAD), *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def markdown(rows: Sequence[Row]) -> str:
    """For the documentation."""
    lines = [HEAD, ["---"] * len(HEAD), *(cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _how(outcome: str, reason: str | None) -> str:
    return "" if outcome == "answered" else f": no answer ({(reason or outcome).split(':')[0]})"


def _decision(row: Row) -> str:
    commits = len(row.pipecat.commits)
    if not commits:
        return "goes on" if row.pause.resumed_at is not None else "waits for a transcript"
    return "ends the turn" if commits == 1 else f"ends {commits} turns"


def _commits(side: Side) -> str:
    return ", ".join(f"{commit:.3f}" for commit in side.commits) or "-"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000 + 0.0:+.1f}".replace("-0.0", "+0.0")
