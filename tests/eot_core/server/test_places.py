"""How many sessions a gateway has."""

from __future__ import annotations

import asyncio

import pytest

from eot_core.server.places import Places


def test_one_place_for_as_long_as_a_session_lasts() -> None:
    places = Places(2)
    with places.one():
        assert (places.taken, places.full) == (1, False)
        with places.one():
            assert (places.taken, places.full) == (2, True)
        assert (places.taken, places.full) == (1, False)
    assert places.taken == 0


def test_a_session_that_breaks_gives_its_place_back() -> None:
    places = Places(1)
    with pytest.raises(RuntimeError), places.one():
        raise RuntimeError
    assert (places.taken, places.full) == (0, False)


def test_draining_is_not_being_full() -> None:
    places = Places(1)
    assert not places.draining
    places.drain()
    assert (places.draining, places.full) == (True, False)
    places.reopen()
    assert not places.draining


class TestVacant:
    async def test_at_once_where_nobody_is_there(self) -> None:
        await asyncio.wait_for(Places(1).vacant(600.0), 5)

    async def test_when_the_last_one_goes(self) -> None:
        places = Places(2)
        with places.one():
            with places.one():
                waiting = asyncio.create_task(places.vacant(600.0))
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 5)

    async def test_no_longer_than_the_grace(self) -> None:
        places = Places(1)
        with places.one():
            await asyncio.wait_for(places.vacant(0.01), 5)
            assert places.taken == 1

    async def test_again_after_it_was_vacant_before(self) -> None:
        places = Places(1)
        with places.one():
            pass
        with places.one():
            await places.vacant(0.01)
            waiting = asyncio.create_task(places.vacant(600.0))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 5)
