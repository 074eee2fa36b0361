"""The VAD that the processor brings along: what it hears, and to whom it gives way."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import soxr
from call import Call, final, make_processor, sound
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    InputAudioRawFrame,
    SpeechControlParamsFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_response_universal import (
    LLMUserAggregatorParams,
)
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat_speech import frames, silence, word

from adapters.pipecat import EOTVADAnalyzer
from adapters.pipecat.scripted import ScriptedSTT
from eot_core.clock import ManualClock


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 2), (48_000, 1), (48_000, 2), (8_000, 1)])
async def test_its_own_vad_hears_the_frames_as_they_are(rate: int, channels: int) -> None:
    """Stereo, and a rate other than the pipeline's: what the frame says counts."""
    clock = ManualClock()
    processor = make_processor(clock)
    pcm = soxr.resample(np.concatenate((silence(0.5), word(), silence(0.6))), 16_000, rate)
    step = rate // 50
    async with Call(clock=clock, before=[processor, ScriptedSTT(["I am ready"])]) as call:
        call.listen(processor.strategy)
        for start in range(0, len(pcm) - step + 1, step):
            audio = np.repeat(pcm[start : start + step], channels).tobytes()
            await call.send(InputAudioRawFrame(audio=audio, sample_rate=rate, num_channels=channels))
        await call.until(lambda: call.predictions)
        await call.advance(0.3)
        await call.until(lambda: call.turns)
        (stopped,) = call.sink.of(VADUserStoppedSpeakingFrame)
        assert stopped.stop_secs == pytest.approx(0.27, abs=0.03)


@pytest.mark.parametrize(("rate", "other"), [(16_000, 48_000), (48_000, 16_000), (16_000, 8_000)])
async def test_its_own_vad_hears_a_user_who_changes_the_device(rate: int, other: int) -> None:
    clock = ManualClock()
    processor = make_processor(clock)
    async with Call(clock=clock, before=[processor]) as call:
        call.listen(processor.strategy)
        await call.settle()
        parts = ((silence(0.5), rate), (np.concatenate((word(), silence(0.6))), other))
        for pcm, at in parts:
            audio = soxr.resample(pcm, 16_000, at)
            for start in range(0, len(audio), at // 50):
                chunk = audio[start : start + at // 50].tobytes()
                await call.send(InputAudioRawFrame(audio=chunk, sample_rate=at, num_channels=1))
        # And rates that there are not change nothing.
        await call.send(InputAudioRawFrame(audio=bytes(200), sample_rate=96_000, num_channels=1))
        await call.until(lambda: call.predictions)
        assert len(call.sink.of(VADUserStartedSpeakingFrame)) == 1
        (stopped,) = call.sink.of(VADUserStoppedSpeakingFrame)
        assert stopped.stop_secs == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("where", ["aggregator", "processor"])
@pytest.mark.parametrize("kind", [EOTVADAnalyzer, SileroVADAnalyzer])
async def test_a_vad_that_is_there_already_is_the_only_one(where: str, kind: type[Any]) -> None:
    clock = ManualClock()
    params = LLMUserAggregatorParams(vad_analyzer=kind() if where == "aggregator" else None)
    processor = make_processor(clock)
    before: list[FrameProcessor] = [processor]
    if where == "processor":
        before.insert(0, VADProcessor(vad_analyzer=kind()))
    async with Call(clock=clock, before=before, params=params) as call:
        call.listen(processor.strategy)
        await call.settle()  # audio in no time at all would be faster than the announcement of the other VAD
        await call.send(*frames(silence(0.5), word(), silence(0.6)))
        await call.until(lambda: call.predictions)
        assert len(call.sink.of(VADUserStartedSpeakingFrame)) == 1
        assert len(call.sink.of(VADUserStoppedSpeakingFrame)) == 1
        assert len([f for f in call.sink.of(SpeechControlParamsFrame) if f.vad_params]) == 1


@contextlib.asynccontextmanager
async def _in_mid_speech() -> AsyncIterator[Call]:
    """A call in which the processor's own VAD hears speech that goes on."""
    clock = ManualClock()
    processor = make_processor(clock)
    async with Call(clock=clock, before=[processor]) as call:
        call.listen(processor.strategy)
        await call.settle()
        await call.send(*frames(silence(0.5), word()[:9000]))
        assert len(call.sink.of(VADUserStartedSpeakingFrame)) == 1
        yield call


async def test_a_vad_that_announces_itself_late_takes_over() -> None:
    async with _in_mid_speech() as call:
        await call.send(SpeechControlParamsFrame(vad_params=VADParams()))
        assert len(call.sink.of(VADUserStoppedSpeakingFrame)) == 1  # nobody is left to say it
        await call.send(*frames(word(), silence(0.6), word(), silence(0.6)))
        assert len(call.sink.of(VADUserStartedSpeakingFrame)) == 1
        await call.utter()
        assert len(call.sink.of(VADUserStartedSpeakingFrame)) == 2


async def test_a_vad_that_does_not_announce_itself_takes_over_when_it_speaks() -> None:
    clock = ManualClock()
    processor = make_processor(clock)
    async with Call(clock=clock, before=[processor]) as call:
        await call.settle()
        await call.send(*frames(silence(0.5)))
        await call.start_speaking()
        await call.send(*frames(word(), silence(0.6)))
        assert len(call.sink.of(VADUserStartedSpeakingFrame)) == 1
        assert call.sink.of(VADUserStoppedSpeakingFrame) == []


async def test_a_vad_that_speaks_first_in_the_middle_of_speech_ends_no_turn() -> None:
    """Ours had reported that speech by then, and nobody has to say that it ended."""
    async with _in_mid_speech() as call:
        await call.start_speaking()
        await call.send(final("I am", finalized=True))
        await call.advance(3.0)
        assert call.sink.of(VADUserStoppedSpeakingFrame) == []
        assert call.predictions == call.turns == []
        await call.speak()
        await call.stop_speaking()
        await call.until(lambda: call.predictions)
        await call.advance(0.3)
        await call.until(lambda: call.turns)
        assert len(call.sink.of(VADUserStoppedSpeakingFrame)) == 1


async def test_where_nobody_adopts_the_strategy_the_vad_is_run_all_the_same() -> None:
    clock = ManualClock()
    params = LLMUserAggregatorParams(user_turn_strategies=UserTurnStrategies())
    async with Call(clock=clock, before=[make_processor(clock)], params=params) as call:
        await call.send(*frames(silence(0.5), word(), silence(0.6)))
        assert call.sink.of(VADUserStartedSpeakingFrame) == []
        await call.send(*frames(silence(0.5)))
        assert len(call.sink.of(VADUserStartedSpeakingFrame)) == 1  # what was kept back is heard


async def test_a_vad_of_the_users_own_is_run_here_at_once() -> None:
    clock = ManualClock()
    processor = make_processor(clock, vad_analyzer=SileroVADAnalyzer())
    async with Call(clock=clock, before=[processor]) as call:
        await call.send(*sound(0.02), SpeechControlParamsFrame(vad_params=VADParams()))
        assert len([f for f in call.sink.of(SpeechControlParamsFrame) if f.vad_params]) == 2
        await call.send(*frames(silence(0.5), word(), silence(0.6)))
        assert len(call.sink.of(VADUserStartedSpeakingFrame)) == 1


async def test_no_vad_on_this_machine(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from eot_core.vad import silero

    monkeypatch.setattr(silero, "_FILES", ())
    clock = ManualClock()
    async with Call(clock=clock, before=[make_processor(clock)]) as call:
        await call.settle()
        await call.send(*frames(silence(1.0), word()))
        await call.utter_without_prediction()
    (line,) = [line for line in log if line.startswith("ERROR")]
    assert "the pipeline has no VAD, and ours cannot be loaded" in line
    assert "pip install" in line


async def test_no_vad_where_none_is_wanted() -> None:
    clock = ManualClock()
    async with Call(clock=clock, before=[make_processor(clock, vad_analyzer=None)]) as call:
        await call.send(*frames(silence(0.5), word(), silence(0.6)))
        assert call.sink.of(VADUserStartedSpeakingFrame) == []
