"""The command itself: what is said where nothing can be written to standard output, and which version it is."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from eot_core.cli import main

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="the system has no device that is always full")


def eot(*argv: str, stdout: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eot_core.cli", *argv], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120
    )


@needs_full
@pytest.mark.parametrize("argv", [("doctor",), ("replay",), ("replay", "--json")], ids=" ".join)
def test_a_full_disk_is_said_in_one_line(argv: tuple[str, ...]) -> None:
    with FULL.open("w") as full:
        done = eot(*argv, stdout=full.fileno())
    assert done.returncode == 2
    assert done.stderr == "eot: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("argv", [("doctor",), ("replay", "--json")], ids=" ".join)
def test_whoever_reads_hangs_up(argv: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = eot(*argv, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_no_standard_output_at_all() -> None:
    command = [sys.executable, "-m", "eot_core.cli", "doctor"]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"eot-adapters {metadata.version('eot-adapters')}\n"
