"""The fault matrix through a real AgentSession with ``adapters.livekit.TurnDetector``."""

from __future__ import annotations

import pytest

pytest.importorskip("livekit.agents")

import virtual_time
from fault_cases import Case, Moment, cells, telling_cells
from fault_cell import Mode, check
from through_agent_session import through_agent_session


def _id(cell: tuple[Case, Moment]) -> str:
    return f"{cell[0].name}, {cell[1].value}"


@pytest.mark.parametrize("cell", cells(), ids=_id)
def test_a_local_model_takes_over(cell: tuple[Case, Moment]) -> None:
    row = virtual_time.run(lambda: through_agent_session(*cell))
    check(row, session=True)


@pytest.mark.parametrize("mode", [Mode.NO_FALLBACK, Mode.NO_MODEL], ids=lambda mode: mode.value)
@pytest.mark.parametrize("cell", telling_cells(), ids=_id)
def test_without_a_local_model(cell: tuple[Case, Moment], mode: Mode) -> None:
    row = virtual_time.run(lambda: through_agent_session(*cell, mode))
    check(row, session=True)
