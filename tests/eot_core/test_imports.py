"""What is exported, and what an import costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import eot_core

PUBLIC = {
    "BackchannelOpportunity",
    "DetectorStream",
    "Endpointer",
    "EndpointingOptions",
    "FallbackOccurred",
    "FallbackOptions",
    "ModelSpec",
    "OperatingPoint",
    "Outcome",
    "Prediction",
    "Thresholds",
    "TurnDecision",
    "TurnDetector",
    "available_models",
}


def test_exports() -> None:
    assert set(eot_core.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(eot_core, name).__doc__


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, eot_core; print(sorted({name.split('.')[0] for name in sys.modules}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(eval(out))
    assert not loaded & {
        "aiohttp",
        "google",
        "jwt",
        "livekit",
        "onnxruntime",
        "opentelemetry",
        "pipecat",
        "soundfile",
        "soxr",
        "torch",
        "transformers",
    }


def test_import_is_no_dearer_than_asyncio_twice_over(tmp_path: Path) -> None:
    """A ratio in one process: wall-clock time means nothing on a busy machine. The first run compiles."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    code = (
        "import time, numpy, sys;"
        "a = time.perf_counter(); import asyncio, logging, uuid; b = time.perf_counter();"
        "import eot_core; c = time.perf_counter(); print((c - b) / (b - a))"
    )
    ratios = [
        float(subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)) for _ in range(4)
    ]
    assert min(ratios) < 2.0


def test_the_heads_of_eot_open_are_read_when_they_are_asked_for() -> None:
    code = "import sys, eot_core; print('eot_core.models.eot_open' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


_LOADS_A_MODEL = "from eot_core.vad.silero import SileroVAD; SileroVAD().stream()"


@pytest.mark.parametrize(
    "code",
    [
        f"import eot_core; {_LOADS_A_MODEL}",
        "import eot_core.cli; import onnxruntime",
        "import adapters.livekit; import onnxruntime",
        "import adapters.pipecat; import pipecat.audio.vad.silero",
        "import training.features",
    ],
)
def test_onnxruntime_sends_nothing_home(code: str, tmp_path: Path) -> None:
    """Its telemetry writes into the home folder before it sends, in releases that have it."""
    for module, needed in (("adapters.livekit", "livekit.agents"), ("adapters.pipecat", "pipecat")):
        if module in code:
            pytest.importorskip(needed)
    assert _kept(code, tmp_path / "ours") == []
    if not _kept("import onnxruntime", tmp_path / "its own"):
        pytest.skip("this release of onnxruntime keeps nothing by itself, here")


def test_who_wants_to_report_may(tmp_path: Path) -> None:
    code = "import os, eot_core; assert os.environ['ORT_DISABLE_TELEMETRY'] == '0'"
    _kept(code, tmp_path, ORT_DISABLE_TELEMETRY="0")


def _kept(code: str, home: Path, **variables: str) -> list[Path]:
    """What a process that ran ``code`` has left in its home folder that is Microsoft's."""
    home.mkdir(exist_ok=True)
    # Without what is set here: onnxruntime keeps nothing where it sees that it is tested (CI).
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(home), **variables}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)
    return [path for path in home.rglob("*") if "microsoft" in path.name.lower()]
