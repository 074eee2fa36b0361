"""What every test may use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eot_core import once

sys.path.insert(0, str(Path(__file__).parent / "eot_core"))


@pytest.fixture(autouse=True)
def warnings_anew() -> Iterator[None]:
    """Each test hears the warnings that a process gives once."""
    once.forget()
    yield
    once.forget()
