"""The adapter needs no part of LiveKit Agents, and says what it needs."""

from __future__ import annotations

import os
import subprocess
import sys

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "livekit.protocol" or name.startswith("livekit.protocol."):
            return None
        if name in {modules}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""
LIVEKIT = ("livekit.agents", "livekit.rtc", "livekit.plugins", "livekit.local_inference", "livekit.api")


def run(code: str, modules: tuple[str, ...] = LIVEKIT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(modules=modules) + code],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )


def test_without_livekit_agents() -> None:
    done = run(
        "import adapters.pipecat as a\n"
        "p = a.TurnDetectorProcessor(); a.EOTVADAnalyzer(); a.TurnDetectorAnalyzer()\n"
        "p.detector.warm_up()\n"
        "import adapters.pipecat.scripted, adapters.pipecat.replay\n"
        "assert not [m for m in sys.modules if m.startswith(('livekit.agents', 'livekit.rtc'))]\n"
        "print(p.detector.model)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("eot-open-1")


def test_without_pipecat_the_error_says_what_to_install() -> None:
    done = run("import adapters.pipecat", ("pipecat",))
    assert done.returncode != 0
    assert "pip install 'eot-adapters[pipecat]'" in done.stderr


def test_names_that_are_public() -> None:
    import adapters.pipecat

    assert adapters.pipecat.__all__ == [
        "BackchannelOpportunityFrame",
        "EOTVADAnalyzer",
        "EndpointingOptions",
        "TurnDecisionMetricsData",
        "TurnDetector",
        "TurnDetectorAnalyzer",
        "TurnDetectorProcessor",
        "TurnDetectorUserTurnStopStrategy",
        "VADOptions",
    ]
    assert all(hasattr(adapters.pipecat, name) for name in adapters.pipecat.__all__)
