"""What the table says, in words."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from . import table
from .compare import TOLERANCE, Row


def summary(rows: Sequence[Row], traces: int, different: int) -> str:
    """How many calls, and how far apart."""
    apart = [abs(row.difference) * 1000 for row in rows if row.difference is not None]
    furthest = f", commits at most {max(apart):.1f} ms apart" if apart else ""
    return (
        f"{traces} calls, {len(rows)} pauses, {len(apart)} of which ended a turn: "
        f"{traces - different} calls with the same decisions, {different} without{furthest}"
    )


def page(rows: Sequence[Row], traces: int, different: int) -> str:
    """The page of the documentation."""
    return (
        f"# Parity\n\nlivekit-agents {version('livekit-agents')}, pipecat-ai {version('pipecat-ai')}; "
        f"{summary(rows, traces, different)} (tolerance {TOLERANCE * 1000:.0f} ms).\n\n{table.markdown(rows)}\n"
    )
