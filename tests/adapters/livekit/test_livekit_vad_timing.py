"""What our VAD adds to LiveKit's: the true end of speech for frames of any length, and an end for lost audio."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from livekit.agents.vad import VADEvent, VADEventType
from livekit_kit import frames, in_virtual_time, utterance

from adapters.livekit import VAD

RATE = 16_000


async def _until_the_end_of_speech(pcm: np.ndarray, seconds: float) -> tuple[list[VADEvent], VADEvent]:
    stream = VAD().stream()
    for item in frames(pcm, seconds=seconds):
        stream.push_frame(item)
    before: list[VADEvent] = []
    try:
        async for event in stream:
            if event.type is VADEventType.END_OF_SPEECH:
                return before, event
            before.append(event)
    finally:
        await stream.aclose()
    raise AssertionError("speech did not end")


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.1])
@in_virtual_time
async def test_the_rest_of_the_frame_counts_as_time_since_the_end_of_speech(seconds: float) -> None:
    pcm = np.concatenate((utterance(), np.zeros(RATE, np.int16)))
    _, end = await _until_the_end_of_speech(pcm, seconds)
    frame_ended_at = np.ceil(round(end.timestamp / seconds, 6)) * seconds
    # and the time that it took to score the frame: none here
    assert end.inference_duration == pytest.approx(frame_ended_at - end.timestamp, abs=1e-6)


@in_virtual_time
async def test_speech_ends_when_audio_stops_coming() -> None:
    pcm = np.concatenate((utterance(), np.zeros(round(0.064 * RATE), np.int16)))
    before, end = await asyncio.wait_for(_until_the_end_of_speech(pcm, 0.032), 20)
    assert end.silence_duration >= 0.25
    # LiveKit takes the speech to have ended when the last audio came: that was a second ago.
    assert end.silence_duration + end.inference_duration == pytest.approx(1.0, abs=0.01)
    # It asks the detector on the way.
    assert any(event.speaking and event.raw_accumulated_silence >= 0.2 for event in before)


@in_virtual_time
async def test_audio_that_comes_back_is_heard() -> None:
    stream = VAD().stream()
    for item in frames(utterance(), seconds=0.02):
        stream.push_frame(item)
    seen: list[VADEventType] = []

    async def listen() -> None:
        async for event in stream:
            if event.type is not VADEventType.INFERENCE_DONE:
                seen.append(event.type)
            if len(seen) == 2 and stream._input_ch.empty():
                for again in frames(utterance(), seconds=0.02):
                    stream.push_frame(again)
                stream.end_input()

    await asyncio.wait_for(listen(), 20)
    await stream.aclose()
    assert seen == [VADEventType.START_OF_SPEECH, VADEventType.END_OF_SPEECH, VADEventType.START_OF_SPEECH]
