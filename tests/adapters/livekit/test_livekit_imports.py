"""Where LiveKit Agents is missing, the adapter says what to install."""

from __future__ import annotations

import os
import subprocess
import sys

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "livekit.agents":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def test_without_livekit_agents_the_error_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + "import adapters.livekit"],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode != 0
    assert "pip install 'eot-adapters[livekit]'" in done.stderr
