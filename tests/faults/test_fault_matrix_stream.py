"""The fault matrix through the stream alone: real sockets, and a clock that a busy machine does not disturb."""

from __future__ import annotations

import pytest
import virtual_time
from fault_cases import CASES, Case, Moment, cells
from fault_cell import Mode, check
from through_stream import through_stream


def _id(cell: tuple[Case, Moment]) -> str:
    return f"{cell[0].name}, {cell[1].value}"


def test_the_matrix_is_as_large_as_it_should_be() -> None:
    assert len(CASES) >= 24
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(why for case in CASES for why in case.same_as.values()), "every missing cell says why"


@pytest.mark.parametrize("cell", cells(), ids=_id)
def test_a_local_model_takes_over(cell: tuple[Case, Moment]) -> None:
    row = virtual_time.run(lambda: through_stream(*cell))
    check(row)


@pytest.mark.parametrize("mode", [Mode.NO_FALLBACK, Mode.NO_MODEL], ids=lambda mode: mode.value)
@pytest.mark.parametrize("cell", cells(), ids=_id)
def test_without_a_local_model(cell: tuple[Case, Moment], mode: Mode) -> None:
    row = virtual_time.run(lambda: through_stream(*cell, mode))
    check(row)
