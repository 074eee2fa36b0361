"""``python tests/matrix.py``: each adapter's tests with the oldest and the newest version of its framework, and without
the other framework.

Four environments are made below ``.venv-matrix/``, with uv where it is installed, and kept; ``--fresh`` makes them
anew.
Exit status 1 where one of them fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".venv-matrix"
_TESTS = (
    "pytest>=8.2",
    "pytest-asyncio>=0.24",
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "opentelemetry-sdk>=1.30",
    "prometheus-client>=0.20",
    "cryptography>=42",
)


@dataclass(frozen=True)
class Environment:
    """One framework at one version; the other one is absent."""

    name: str
    adapter: str
    distribution: str
    absent: str
    """What must not be importable there."""
    requirements: tuple[str, ...]


_LIVEKIT = ("livekit-local-inference>=0.2.7",)
ENVIRONMENTS = (
    Environment(
        "livekit-oldest",
        "livekit",
        "livekit-agents",
        "pipecat",
        ("livekit-agents==1.7.0", "livekit-plugins-silero==1.7.0", "openai<3", *_LIVEKIT),
    ),
    Environment(
        "livekit-newest",
        "livekit",
        "livekit-agents",
        "pipecat",
        ("livekit-agents<2", "livekit-plugins-silero<2", *_LIVEKIT),
    ),
    Environment("pipecat-oldest", "pipecat", "pipecat-ai", "livekit.agents", ("pipecat-ai==1.8.0",)),
    Environment("pipecat-newest", "pipecat", "pipecat-ai", "livekit.agents", ("pipecat-ai<2",)),
)


def main() -> int:
    """Returns the exit status."""
    options = argparse.ArgumentParser(prog="python tests/matrix.py", description=__doc__)
    options.add_argument("--only", metavar="TEXT", help="environments whose name contains this")
    options.add_argument("--fresh", action="store_true", help="make the environments anew")
    given = options.parse_args()
    failed = False
    for environment in ENVIRONMENTS:
        if given.only is None or given.only in environment.name:
            failed = not _try(environment, fresh=given.fresh) or failed
    return 1 if failed else 0


def _try(environment: Environment, *, fresh: bool) -> bool:
    """Make it, run the tests, print a line. Returns whether they passed."""
    began = time.monotonic()
    log = PLACE / f"{environment.name}.log"
    PLACE.mkdir(exist_ok=True)
    with log.open("w") as out:
        python = _make(environment, fresh, out.fileno())
        if python is None:
            print(f"{environment.name:15} cannot be installed: see {log.relative_to(ROOT)}", flush=True)
            return False
        found = _ask(python, f"from importlib.metadata import version; print(version({environment.distribution!r}))")
        present = _ask(python, f"import importlib.util as u; print(bool({_finds(environment.absent)}))")
        if present != "False":
            print(f"{environment.name:15} {environment.absent} is installed there", flush=True)
            return False
        tests = subprocess.run(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/adapters/{environment.adapter}"],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_")},
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    last = re.findall(r"^=*\s*(.*\b(?:passed|failed|error).*?)\s*=*$", log.read_text(), flags=re.MULTILINE)
    took = time.monotonic() - began
    print(
        f"{environment.name:15} {environment.distribution} {found:8} without {environment.absent:15} "
        f"{last[-1] if last else 'no tests'} ({took:.0f} s with the installation)",
        flush=True,
    )
    return tests.returncode == 0


def _finds(module: str) -> str:
    """An expression that is true where ``module`` can be imported."""
    top = module.split(".")[0]
    return f"u.find_spec({top!r}) and u.find_spec({module!r})"


def _make(environment: Environment, fresh: bool, log: int) -> str | None:
    place = PLACE / environment.name
    python = place / "bin/python"
    if fresh and place.exists():
        shutil.rmtree(place)
    uv = shutil.which("uv")
    commands: list[list[str]] = []
    if not python.exists():
        make = [uv, "venv", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
        commands.append([*make, str(place)])
    install = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    # The newest are looked for each time; what is there already is left alone.
    commands.append([*install, "--quiet", "--upgrade", "-e", f"{ROOT}[cli]", *environment.requirements, *_TESTS])
    for command in commands:
        if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode != 0:
            return None
    return str(python)


def _ask(python: str, program: str) -> str:
    answer = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    return answer.stdout.strip() or answer.stderr.strip()


if __name__ == "__main__":
    sys.exit(main())
