"""The LiveKit adapter stands alone, and importing it costs nothing that is not needed yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

_BLOCKER = """
import sys
sys.modules.update(dict.fromkeys({blocked!r}))  # as if they were not installed
"""


def _run(script: str, *blocked: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _BLOCKER.format(blocked=blocked) + script],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_works_without_pipecat() -> None:
    script = """
import asyncio
import numpy as np
from livekit import rtc
import adapters.livekit, adapters.livekit.plugin

async def main():
    stream = adapters.livekit.TurnDetector().stream()
    pcm = np.random.default_rng(0).normal(0, 3000, 32_000).astype(np.int16)
    stream.push_audio(rtc.AudioFrame(pcm.tobytes(), 16_000, 1, len(pcm)))
    print((await stream.predict()).inference_duration is not None)
    await stream.aclose()

asyncio.run(main())
"""
    assert _run(script, "pipecat") == "True"


def test_importing_and_constructing_loads_no_model() -> None:
    script = """
import adapters.livekit
from eot_core.models.base import ModelNotInstalledError
adapters.livekit.TurnDetector()
try:
    adapters.livekit.TurnDetector(model="smart-turn-v3.2")
except ModelNotInstalledError as error:  # its weights are in a distribution that may be missing
    assert "pip install 'eot-adapters[pipecat]'" in str(error)
adapters.livekit.VAD()
heavy = ("onnxruntime", "torch", "pipecat", "soxr", "eot_core.transports.local")
print([name for name in heavy if sys.modules.get(name) is not None])
"""
    assert _run(script, "pipecat", "torch") == "[]"


def test_the_namespace_imports_no_framework() -> None:
    script = """
import adapters
print([name for name in ("livekit", "pipecat", "eot_core") if name in sys.modules])
"""
    assert _run(script) == "[]"


def test_without_livekits_native_models_the_error_says_what_to_install() -> None:
    script = """
import adapters.livekit.mini as mini
from eot_core.models.base import ModelNotInstalledError
import livekit
sys.modules["livekit.local_inference"] = None
try:
    mini.V1_MINI.load()
except ModelNotInstalledError as error:
    print(error)
"""
    assert "pip install 'eot-adapters[livekit]'" in _run(script)
