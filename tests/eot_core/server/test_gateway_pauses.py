"""At the gateway a model hears as much of a pause as in the client's own process, however long the frames are."""

import numpy as np
import pytest
from gateway_calls import MODELS, Pcm, assert_equal, calling, hush, model_spec, speech
from vad_speech import recordings, vowels

from eot_core.cli.audio_file import read_audio
from eot_core.data import demo_recording

FRAMES = pytest.mark.parametrize("frame", [160, 320, 512, 800])


def demo() -> Pcm:
    pcm, rate = read_audio(str(demo_recording()))
    assert rate == 16_000
    return np.concatenate((np.asarray(pcm, dtype=np.int16), hush(0.7)))


@FRAMES
@pytest.mark.parametrize("name", MODELS)
async def test_each_pause_of_the_bundled_recording(name: str, frame: int) -> None:
    async with calling(model_spec(name), frame=frame, again=(0.4, 0.6)) as caller:
        await caller.hear(demo())
        assert [score.again_at for score in caller.scores] == [None, 0.4, 0.6] * 3
        assert_equal(caller.scores)


@FRAMES
async def test_speech_without_a_recording(frame: int) -> None:
    async with calling(model_spec("smart-turn-v3.2"), frame=frame, again=(0.4, 0.6)) as caller:
        await caller.hear(np.concatenate((hush(1.3), vowels(0.9), hush(0.65), vowels(0.9), hush(0.9))))
        assert [score.again_at for score in caller.scores] == [None, 0.4, 0.6] * 2
        assert_equal(caller.scores)


@pytest.mark.parametrize("again_at", [0.45, 0.5, 0.73])
async def test_a_request_at_another_moment_hears_a_frame_less(again_at: float) -> None:
    """Nobody tells the gateway that moment. It moves scores by .02 on average here, and by .07 at most."""
    async with calling(model_spec("eot-open-1"), again=(again_at,)) as caller:
        await caller.hear(np.concatenate((demo(), hush(0.2))))
        assert_equal([score for score in caller.scores if score.again_at is None])
        assert_equal([score for score in caller.scores if score.again_at is not None], 0.1)


async def test_while_the_user_speaks_everything_is_heard() -> None:
    async with calling(model_spec("eot-open-1")) as caller:
        await caller.hear(np.concatenate((hush(1.0), speech(2)[:-3_000])))
        assert caller.scores == []
        await caller.ask()
        await caller.hear(np.concatenate((speech(2)[-3_000:], hush(0.4))))
        assert len(caller.scores) == 2
        assert_equal(caller.scores)


@pytest.mark.parametrize("name", ["smart-turn-v3.2", "eot-open-1"])
async def test_pauses_of_recorded_speech(name: str) -> None:
    async with calling(model_spec(name), frame=800, again=(0.4, 0.6, 0.8)) as caller:
        for recording in recordings(2):
            await caller.hear(recording)
            caller.flush()
        assert len(caller.scores) > 12
        assert_equal(caller.scores)
