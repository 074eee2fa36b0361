"""A language that becomes known in mid-pause counts for the scores that there are, on both frameworks alike."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("livekit.agents")
pytest.importorskip("pipecat")

ROOT = Path(__file__).parents[2]

ENDS = {
    "before any further score": 0.86,
    "after two further scores, quicker": 0.86,
    "after two further scores, slower": 2.02,
    "while a score is on its way, quicker": 0.90,
    "while a score is on its way, slower": 2.02,
    "after the last score, quicker": 1.1,
    "after the last score, slower": 2.02,
    "when the turn would be over": 1.5,
    "when the turn was due, slower": 2.02,
    "when the turn was due, and the user speaks on": 2.02,
    "one the model was not made for": 0.7,
    "to the step": 1.3,
    "from the step": 0.86,
}
"""Seconds from the true end of the last speech to the end of the turn."""


@functools.cache
def played() -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_")}
    process = subprocess.run(
        [sys.executable, "-m", "tests.adapters.late_language"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    found: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", ENDS)
def test_the_turn_ends_at_the_same_moment(name: str) -> None:
    found = played()[name]
    assert found["differences"] == []
    assert found["livekit"] == pytest.approx([ENDS[name]], abs=0.02)
    assert found["pipecat"] == pytest.approx(found["livekit"], abs=0.002)
    assert found["scores"][0] == found["scores"][1]


def test_every_call_is_one_of_these() -> None:
    assert set(played()) == set(ENDS)
