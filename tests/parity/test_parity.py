"""The same call, the same turns: every trace through a real AgentSession and a real Pipecat pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("livekit.agents")
pytest.importorskip("pipecat")

from .traces import TRACES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All of them in one process of their own: virtual time must be there before the frameworks are imported."""
    path = tmp_path_factory.mktemp("parity") / "found.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_")}
    process = subprocess.run(
        [sys.executable, "-m", "tests.parity", "--traces", "--json", str(path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert path.exists(), process.stderr[-4000:]
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.timeout(700)
@pytest.mark.parametrize("name", [trace.id for trace in TRACES])
def test_the_same_turns_on_both(name: str, played: dict[str, Any]) -> None:
    if name in played["skipped"]:
        pytest.skip(played["skipped"][name])
    assert played["found"][name] == []


def test_there_are_enough_of_them() -> None:
    assert len({trace.id for trace in TRACES}) == len(TRACES) >= 40
