"""What the detector is told of the speech and the silence before it, by whichever VAD asks."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import vad
from livekit.agents.voice.audio_recognition import AudioRecognition

from adapters.livekit import VAD
from adapters.livekit.heard import SILENCE_AT_PREDICTION, silence_so_far, speech_so_far
from eot_core.cli.audio_file import read_audio
from eot_core.data import demo_recording

RATE = 16_000


@pytest.mark.parametrize("frame", [0.01, 0.02, 0.05])
async def test_our_vad_counts_the_rest_of_the_frame(frame: float) -> None:
    pcm, _ = read_audio(str(demo_recording()))
    speech = np.asarray(pcm, dtype=np.int16)[round(0.55 * RATE) : round(2.15 * RATE)]
    whole = np.concatenate((speech, np.zeros(RATE, dtype=np.int16)))
    stream = VAD().stream()
    step = round(frame * RATE)
    for start in range(0, len(whole) - step + 1, step):
        stream.push_frame(rtc.AudioFrame(whole[start : start + step].tobytes(), RATE, 1, step))
    stream.end_input()
    ended_at = asked_at = began_at = None
    heard = spoken = 0.0
    async for event in stream:
        if event.type is vad.VADEventType.START_OF_SPEECH:
            began_at, spoken = event.timestamp, speech_so_far() or 0.0
            assert silence_so_far() is None
        if event.type is vad.VADEventType.INFERENCE_DONE and event.raw_accumulated_silence >= 0.2 and event.speaking:
            heard = silence_so_far() or 0.0
            asked_at = event.timestamp
        if event.type is vad.VADEventType.END_OF_SPEECH:
            ended_at = event.timestamp - event.silence_duration
            assert (silence_so_far(), speech_so_far()) == (None, None)
            break
    await stream.aclose()
    assert began_at is not None
    assert spoken == pytest.approx(0.064 + -(-round(began_at * RATE) // step) * frame - began_at, abs=1e-6)
    assert ended_at is not None
    assert asked_at is not None
    in_whole_frames = -(-round(asked_at * RATE) // step) * frame  # the window is complete with the frame that holds it
    assert heard == pytest.approx(in_whole_frames - ended_at, abs=1e-6)
    assert SILENCE_AT_PREDICTION <= heard + 1e-9 <= SILENCE_AT_PREDICTION + frame


async def test_livekits_own_is_known_to_ask_after_eight_windows() -> None:
    """By the name of the task; where that changes, all audio counts."""
    assert AudioRecognition._vad_task.__qualname__ == "AudioRecognition._vad_task"

    async def _vad_task() -> float | None:
        return silence_so_far()

    assert await asyncio.create_task(_vad_task()) == SILENCE_AT_PREDICTION


async def test_nobody_else_says_anything() -> None:
    async def somebody() -> Any:
        return silence_so_far(), speech_so_far()

    assert await asyncio.create_task(somebody()) == (None, None)


def test_nor_outside_a_loop() -> None:
    assert (silence_so_far(), speech_so_far()) == (None, None)
