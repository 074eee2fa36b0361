"""A model that scores turns says the same of the same audio at the gateway as in the client's own process."""

import numpy as np
import pytest
from gateway_calls import MODELS, assert_equal, calling, hush, model_spec, speech
from vad_speech import recordings


@pytest.mark.parametrize("name", MODELS)
async def test_long_quiet_before_the_turn(name: str) -> None:
    async with calling(model_spec(name)) as caller:
        await caller.hear(np.concatenate((hush(7.3), speech(), hush(0.5))))
        assert len(caller.scores) == 1
        assert_equal(caller.scores)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("frame", [160, 320, 512, 800])
async def test_two_turns_with_a_flush_between(name: str, frame: int) -> None:
    async with calling(model_spec(name), frame=frame) as caller:
        await caller.hear(np.concatenate((hush(1.0), speech(), hush(0.4))))
        caller.flush()
        await caller.hear(np.concatenate((hush(2.7), speech(1), hush(0.4), speech(2), hush(0.4))))
        caller.flush()
        assert len(caller.scores) == 3
        assert_equal(caller.scores)


async def test_while_the_agent_talks_for_long() -> None:
    async with calling(model_spec("eot-open-1")) as caller:
        await caller.hear(np.concatenate((speech(), hush(0.4))))
        caller.flush()
        await caller.hear(hush(31.0))
        await caller.hear(np.concatenate((speech(1), hush(0.4))))
        assert_equal(caller.scores)


async def test_a_turn_longer_than_the_window() -> None:
    async with calling(model_spec("eot-open-1")) as caller:
        await caller.hear(np.concatenate((hush(2.0), *(speech(2) for _ in range(4)), hush(0.4))))
        assert_equal(caller.scores)


async def test_a_turn_that_is_flushed_while_the_user_speaks() -> None:
    """The speech that goes on is no onset, here nor there."""
    async with calling(model_spec("eot-open-1")) as caller:
        await caller.hear(np.concatenate((hush(1.0), speech())))
        caller.flush()
        await caller.hear(np.concatenate((speech(1), hush(0.4))))
        await caller.hear(np.concatenate((hush(1.0), speech(2), hush(0.4))))
        assert len(caller.scores) == 2
        assert_equal(caller.scores)


@pytest.mark.parametrize(("wire_rate", "bound"), [(48_000, 0.03), (8_000, 0.2)])
async def test_other_rates_on_the_wire(wire_rate: int, bound: float) -> None:
    async with calling(model_spec("eot-open-1"), wire_rate=wire_rate) as caller:
        await caller.hear(np.concatenate((hush(5.0), speech(), hush(0.4))))
        caller.flush()
        await caller.hear(np.concatenate((hush(1.0), speech(1), hush(0.4))))
        assert_equal(caller.scores, bound)


@pytest.mark.parametrize("name", ["smart-turn-v3.2", "eot-open-1"])
async def test_recorded_speech(name: str) -> None:
    async with calling(model_spec(name)) as caller:
        for recording in recordings(3):
            await caller.hear(hush(3.0))
            await caller.hear(recording)
            caller.flush()
        assert len(caller.scores) > 6
        assert_equal(caller.scores)
