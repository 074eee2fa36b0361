"""An operating point is what its table says, in 14 languages, on both frameworks; so is a calibration file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("livekit.agents")
pytest.importorskip("pipecat")
pytest.importorskip("onnx", reason="eot-open-1 needs it")

ROOT = Path(__file__).parents[2]
LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "nl", "pt", "tr", "zh")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """All calls in one process of their own: virtual time must be there before the frameworks are imported."""
    path = tmp_path_factory.mktemp("tables") / "found.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_")}
    process = subprocess.run(
        [sys.executable, "-m", "tests.parity.tables", "--json", str(path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert path.exists(), process.stderr[-4000:]
    found: dict[str, list[str]] = json.loads(path.read_text())
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("model", ["turn-detector-v1-mini on LiveKit", "eot-open-1 on Pipecat"])
def test_the_table_s_turns(model: str, language: str, played: dict[str, list[str]]) -> None:
    assert played[f"{model}: {language}"] == []
    assert played[f"{model}: {language}, after a fallback"] == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["no name", "patient"])
@pytest.mark.parametrize("curve", ["step", "continuous"])
def test_a_calibration_file(curve: str, name: str, played: dict[str, list[str]]) -> None:
    for language in (
        "en (in the file)",
        "de (in the file)",
        "de (in the file), after a fallback",
        "fr (not in the file)",
    ):
        assert played[f"calibration file: {curve}, {name}, {language}"] == []


@pytest.mark.timeout(600)
def test_a_head_of_one_s_own(played: dict[str, list[str]]) -> None:
    assert played["calibration file: a head for English, none for German"] == []
