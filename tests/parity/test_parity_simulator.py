"""What is tuned is what runs: the simulator and the live stream end turns at the same moments, on both frameworks."""

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
pytest.importorskip("onnx", reason="eot-open-1 needs it")

from . import packaged, recordings

ROOT = Path(__file__).parents[2]


def compared(dataset: Path, pauses: int, path: Path) -> dict[str, Any]:
    """In a process of its own: virtual time must be there before the frameworks are imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_")}
    what = ["--recordings", str(dataset), "--pauses", str(pauses)]
    process = subprocess.run(
        [sys.executable, "-m", "tests.parity.simulator", "--json", str(path), *what],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert path.exists(), process.stderr[-4000:]
    found: dict[str, Any] = json.loads(path.read_text())
    assert process.returncode == (1 if found["differences"] else 0)
    return found


def check(found: dict[str, Any], at_least: int) -> None:
    """Every curve on both frameworks, with pauses that end the turn and pauses that do not."""
    assert found["differences"] == []
    assert len(found["table"]) == 3 * 2
    for line in found["table"]:
        assert line["within 32 ms"] == line["compared"]
        assert int(line["compared"]) >= at_least, line
        assert int(line["turn ended in both"]) > 0, line
        assert int(line["in neither"]) > 0, line
        assert int(line["in one"]) == 0, line


@pytest.mark.timeout(600)
def test_recorded_pauses(tmp_path: Path) -> None:
    pytest.importorskip("soundfile", reason="the recordings are FLAC and Opus")
    if not recordings.SHARED.is_file():
        pytest.skip("no recorded speech next to the checkout")
    check(compared(recordings.SHARED, 24, tmp_path / "found.json"), 20)


@pytest.mark.timeout(600)
def test_the_package_s_own_recording(tmp_path: Path) -> None:
    check(compared(packaged.write(tmp_path), 8, tmp_path / "found.json"), 8)
