"""A microphone that is muted sends nothing: our VAD makes silence up, and the detector hears it too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from livekit_kit import in_virtual_time, session, until, utterance

from adapters.livekit import VAD, TurnDetector
from eot_core import EndpointingOptions, ModelSpec, Prediction
from eot_core.clock import ManualClock

RATE = 16_000


class Model:
    def __init__(self) -> None:
        self.seen: list[np.ndarray[Any, Any]] = []

    def predict(self, pcm: np.ndarray[Any, Any]) -> float:
        if pcm.any():
            self.seen.append(pcm)
        return 0.9

    def spec(self) -> ModelSpec:
        return ModelSpec("model", "tests", "none", 8.0, lambda: self, 0.5)


def silent_at_the_end(pcm: np.ndarray[Any, Any]) -> float:
    """Seconds of digital silence."""
    (loud,) = np.nonzero(pcm)
    return (len(pcm) - 1 - int(loud[-1])) / RATE


@in_virtual_time
async def test_the_model_hears_the_silence_that_the_vad_made_up() -> None:
    model = Model()
    detector = TurnDetector(model=model.spec())
    predictions: list[Prediction] = []
    detector.on("prediction", predictions.append)
    async with session(vad=VAD(), turn_detection=detector) as (running, microphone):
        items: list[Any] = []
        running.on("conversation_item_added", lambda event: items.append(event.item))
        spoken = utterance()[: -round(0.1 * RATE)]  # muted before all was said
        microphone.say(spoken)
        microphone.sends_silence = False
        await until(lambda: [item.role for item in items] == ["user", "assistant"])
        assert silent_at_the_end(model.seen[-1]) == pytest.approx(0.2, abs=0.06)  # in frames of 50 ms
        # What is sent again thereafter is heard as ever.
        before = len(predictions)
        microphone.sends_silence = True
        microphone.say(utterance())
        await until(lambda: len(items) == 4)
        assert len(predictions) > before
        assert 0.1 < silent_at_the_end(model.seen[-1]) < 0.3


@in_virtual_time
async def test_a_held_answer_counts_from_the_last_audio() -> None:
    """The VAD makes the silence up in no time, but a second late."""
    detector = TurnDetector(model=Model().spec(), endpointing=EndpointingOptions(0.8, 2.0))
    detector._core._clock = ManualClock(100.0)  # the hold does not go on by itself
    async with session(vad=VAD(), turn_detection=detector) as (running, microphone):
        activity: Any = running._activity
        stream = activity._audio_recognition._turn_detector_stream
        given: list[Any] = []
        predict = stream.predict
        stream.predict = lambda: given.append(predict()) or given[-1]
        microphone.say(utterance()[: -round(0.1 * RATE)])
        microphone.sends_silence = False
        await until(lambda: microphone.spoken_until is not None and stream._core._session.pending is None and given)
        await until(given[-1].done)  # 0.8 s were over by then
        assert given[-1].result().end_of_turn_probability == 0.9
