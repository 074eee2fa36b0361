"""What a loop with a clock of its own leaves to the tests after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_CODE = """
import inspect, time
real = time.time
import virtual_time

async def first_use():
    assert time.time is not real
    from eot_core.server import Gateway
    from eot_core.transports.websocket import WebSocketTransport
    return Gateway, WebSocketTransport

for made in virtual_time.run(first_use):
    assert inspect.signature(made).parameters["wall_clock"].default is real, made
assert time.time is real
"""


def test_what_is_first_imported_in_virtual_time_goes_by_the_real_clock_after() -> None:
    """It depends on which tests a process runs, and in which order: a gateway then refused tokens of the year 2027."""
    subprocess.run([sys.executable, "-c", _CODE], check=True, cwd=Path(__file__).parent)
