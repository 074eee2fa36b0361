"""Pauses begin and end where the core's VAD says, which is where LiveKit's does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from call import Call, Script, detector
from pipecat.audio.vad.vad_analyzer import VADParams, VADState
from pipecat.frames.frames import VADParamsUpdateFrame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat_speech import RATE, frames, silence, word

from adapters.pipecat import EOTVADAnalyzer, TurnDetectorUserTurnStopStrategy, VADOptions
from eot_core.clock import ManualClock
from eot_core.models.base import ModelError
from eot_core.vad import SileroVAD, SpeechEnded, SpeechStarted


def core_events(pcm: np.ndarray) -> list[Any]:
    events = SileroVAD().stream().push(pcm, RATE)
    return [event for event in events if isinstance(event, SpeechStarted | SpeechEnded)]


async def changes(analyzer: EOTVADAnalyzer, pcm: np.ndarray, rate: int = RATE) -> list[tuple[float, VADState, float]]:
    """(seconds of audio heard, new state, true length of what was noticed) for each change of the state."""
    analyzer.set_sample_rate(rate)
    state, found = VADState.QUIET, []
    step = rate // 50
    for start in range(0, len(pcm) - step + 1, step):
        now = await analyzer.analyze_audio(pcm[start : start + step].tobytes())
        if now is not state:
            state = now
            speaking = state is VADState.SPEAKING
            length = analyzer.params.start_secs if speaking else analyzer.params.stop_secs
            found.append(((start + step) / rate, state, length))
    return found


async def test_the_same_starts_and_ends_as_the_core() -> None:
    pcm = np.concatenate((silence(0.5), word(), silence(0.5), word(), silence(0.5)))
    expected = core_events(pcm)
    assert len(expected) == 4
    found = await changes(EOTVADAnalyzer(), pcm)
    assert [state for _, state, _ in found] == [VADState.SPEAKING, VADState.QUIET] * 2
    for (at, _, length), event in zip(found, expected, strict=True):
        truth = event.speech_started_at if isinstance(event, SpeechStarted) else event.speech_ended_at
        assert 0 <= at - event.at < 0.02  # the frame in which the window was completed
        assert at - length == pytest.approx(truth)  # and yet the true time


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
async def test_at_other_rates(rate: int) -> None:
    import soxr

    pcm = np.concatenate((silence(0.5), word(), silence(0.5)))
    (started, ended) = await changes(EOTVADAnalyzer(), soxr.resample(pcm, RATE, rate), rate)
    truth = core_events(pcm)
    assert started[0] - started[2] == pytest.approx(truth[0].speech_started_at, abs=0.07)
    assert ended[0] - ended[2] == pytest.approx(truth[1].speech_ended_at, abs=0.07)


async def test_in_a_pipeline_delays_count_from_the_true_end_of_speech() -> None:
    clock = ManualClock(50.0)
    strategy = TurnDetectorUserTurnStopStrategy(detector=detector(Script(), clock), clock=clock)
    pcm = np.concatenate((silence(0.5), word(), silence(0.5)))
    async with Call(strategy, clock=clock, before=[VADProcessor(vad_analyzer=EOTVADAnalyzer())]) as call:
        await call.send(*frames(pcm))
        await call.until(lambda: call.decisions)
        (start,) = call.sink.of(VADUserStartedSpeakingFrame)
        (stop,) = call.sink.of(VADUserStoppedSpeakingFrame)
        assert start.start_secs == pytest.approx(0.064, abs=0.02)  # two windows
        assert 0.256 <= stop.stop_secs < 0.276
        assert call.decisions[0].speech_ended_at == pytest.approx(50.0 - stop.stop_secs, abs=0.05)


async def test_parameters_at_run_time() -> None:
    analyzer = EOTVADAnalyzer()
    clock = ManualClock()
    async with Call(clock=clock, before=[VADProcessor(vad_analyzer=analyzer)]) as call:
        await call.send(VADParamsUpdateFrame(params=VADParams(confidence=0.6, start_secs=0.1, stop_secs=0.4)))
        assert analyzer.options == VADOptions(0.6, None, 0.1, 0.4)
        assert analyzer.params.stop_secs == 0.4
        await call.send(VADParamsUpdateFrame(params=VADParams(confidence=3.0)))
        assert analyzer.options.activation_threshold == 0.6  # refused, and nothing has changed


async def test_options_of_the_users_own() -> None:
    pcm = np.concatenate((silence(0.5), word(), silence(1.0)))
    analyzer = EOTVADAnalyzer(VADOptions(min_silence_duration=0.6))
    _, ended = await changes(analyzer, pcm)
    assert 0.6 <= ended[2] < 0.66


async def test_audio_that_cannot_be_understood_is_reported_once(log: list[str]) -> None:
    analyzer = EOTVADAnalyzer(sample_rate=96_000)
    analyzer.set_sample_rate(16_000)
    for _ in range(3):
        assert await analyzer.analyze_audio(b"\x00\x01" * 320) is VADState.QUIET
    assert len([line for line in log if "audio was dropped" in line]) == 1


async def test_it_may_be_used_again_after_cleanup() -> None:
    pcm = np.concatenate((silence(0.5), word(), silence(0.5)))
    analyzer = EOTVADAnalyzer()
    first = await changes(analyzer, pcm)
    await analyzer.cleanup()
    assert [(at, state) for at, state, _ in await changes(analyzer, pcm)] == [(at, state) for at, state, _ in first]


def test_confidence_of_a_buffer_on_its_own() -> None:
    analyzer = EOTVADAnalyzer()
    analyzer.set_sample_rate(RATE)
    assert analyzer.num_frames_required() == 512
    spoken = max(analyzer.voice_confidence(word()[: n * 512].tobytes()) for n in range(5, 20))
    assert spoken > 0.5 > analyzer.voice_confidence(silence(0.2).tobytes())
    assert analyzer.voice_confidence(b"") == 0.0


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"missing\.onnx"):
        EOTVADAnalyzer(weights=tmp_path / "missing.onnx")
    with pytest.raises(TypeError, match="VADOptions"):
        EOTVADAnalyzer({"min_silence_duration": 1})
