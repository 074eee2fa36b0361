"""Our Silero as a LiveKit VAD, beside LiveKit's own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import NOT_GIVEN, inference, vad
from livekit.agents.metrics import VADMetrics
from livekit.agents.vad import VADEvent, VADEventType
from livekit_kit import frame, frames, recording

from adapters.livekit import VAD
from eot_core.models.base import ModelNotInstalledError, PcmArray

START, SCORED, END = VADEventType.START_OF_SPEECH, VADEventType.INFERENCE_DONE, VADEventType.END_OF_SPEECH


async def hear(detector: vad.VAD, audio: Iterable[rtc.AudioFrame]) -> list[VADEvent]:
    stream = detector.stream()
    for item in audio:
        stream.push_frame(item)
    stream.end_input()
    events = [event async for event in stream]
    await stream.aclose()
    return events


def speech(rate: int = 16_000) -> PcmArray:
    """At most 6 s of the recording, with silence after it."""
    pcm = np.concatenate((recording()[:96_000], np.zeros(16_000, np.int16)))
    if rate == 16_000:
        return pcm
    import soxr

    return np.asarray(soxr.resample(pcm, 16_000, rate), dtype=np.int16)


def numbers(event: VADEvent) -> tuple[Any, ...]:
    return (
        event.type,
        event.samples_index,
        event.speaking,
        *(
            round(value, 6)
            for value in (
                event.timestamp,
                event.speech_duration,
                event.silence_duration,
                event.raw_accumulated_silence,
                event.raw_accumulated_speech,
            )
        ),
    )


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_silence_duration": 0.5, "prefix_padding_duration": 0.1, "activation_threshold": 0.7},
        {"max_buffered_speech": 0.3, "min_speech_duration": 0.2, "deactivation_threshold": 0.2},
    ],
)
async def test_windows_events_and_frames_are_livekits(options: dict[str, float], rate: int) -> None:
    audio = list(frames(speech(rate), rate))
    ours = await hear(VAD(**options), audio)
    for _ in range(3):  # LiveKit's resampler dithers: at a rate of its own, no two of its runs are quite the same
        theirs = await hear(inference.VAD(**options), audio)  # type: ignore[arg-type]
        if [numbers(event) for event in theirs] == [numbers(event) for event in ours]:
            break
    assert {START, SCORED, END} <= {event.type for event in ours}
    assert [numbers(event) for event in ours] == [numbers(event) for event in theirs]
    for mine, their in zip(ours, theirs, strict=True):
        assert mine.probability == pytest.approx(their.probability, abs=1e-4 if rate == 16_000 else 0.1)
        assert mine.frames[0].sample_rate == their.frames[0].sample_rate
        assert bytes(mine.frames[0].data) == bytes(their.frames[0].data)


async def test_speech_comes_with_what_preceded_it() -> None:
    pcm = np.concatenate((np.zeros(16_000, np.int16), speech()))
    events = await hear(VAD(prefix_padding_duration=0.3), frames(pcm))
    start = next(event for event in events if event.type is START)
    assert start.frames[0].duration == pytest.approx(0.3 + start.speech_duration, abs=0.001)
    heard = np.frombuffer(start.frames[0].data, np.int16)
    assert np.array_equal(heard, pcm[start.samples_index - len(heard) : start.samples_index])
    end = next(event for event in events if event.type is END)
    whole = 0.3 + end.speech_duration + end.silence_duration
    assert end.frames[0].duration == pytest.approx(whole, abs=0.001)


async def test_a_change_of_sample_rate_is_survived() -> None:
    pcm = speech()
    half = len(pcm) // 2
    import soxr

    later = np.asarray(soxr.resample(pcm[half:], 16_000, 48_000), dtype=np.int16)
    whole = await hear(VAD(), frames(pcm))
    changing = await hear(VAD(), [*frames(pcm[:half]), *frames(later, 48_000)])
    assert [event.type for event in changing if event.type is not SCORED] == [
        event.type for event in whole if event.type is not SCORED
    ]
    assert abs(len(changing) - len(whole)) <= 1
    assert changing[-1].frames[0].sample_rate == 48_000
    last = [event for event in changing if event.type is END][-1]
    same = [event for event in whole if event.type is END][-1]
    assert last.frames[0].duration == pytest.approx(same.frames[0].duration, abs=0.1)


async def test_channels_and_long_frames_are_understood() -> None:
    pcm = speech()
    plain = await hear(VAD(), frames(pcm))
    stereo = await hear(VAD(), [frame(np.repeat(pcm, 2), 16_000, channels=2)])
    assert [numbers(event) for event in stereo] == [numbers(event) for event in plain]


async def test_flush_begins_anew() -> None:
    pcm = speech()
    stream = VAD().stream()
    events: list[VADEvent] = []
    for piece in frames(pcm[:24_000]):
        stream.push_frame(piece)
    stream.flush()
    for piece in frames(pcm):
        stream.push_frame(piece)
    stream.end_input()
    events = [event async for event in stream]
    await stream.aclose()
    again = next(i for i, event in enumerate(events) if i and event.samples_index < events[i - 1].samples_index)
    fresh = await hear(VAD(), frames(pcm))
    assert [numbers(event) for event in events[again:]] == [numbers(event) for event in fresh]
    for anew, first in zip(events[again:], fresh, strict=True):
        assert bytes(anew.frames[0].data) == bytes(first.frames[0].data)


async def test_options_change_for_open_streams_too() -> None:
    detector = VAD()
    stream = detector.stream()
    pcm = np.concatenate((speech(), np.zeros(32_000, np.int16)))
    stream.push_frame(frame(pcm[:512]))
    await anext(stream)
    detector.update_options(min_silence_duration=1.5, prefix_padding_duration=0.0, max_buffered_speech=0.5)
    for piece in frames(pcm[512:]):
        stream.push_frame(piece)
    stream.end_input()
    events = [event async for event in stream]
    await stream.aclose()
    assert detector.min_silence_duration == 1.5
    (end,) = [event for event in events if event.type is END]
    assert end.silence_duration == pytest.approx(1.5, abs=0.04)
    assert end.frames[0].duration == pytest.approx(0.5, abs=0.001)


async def test_options_of_one_stream_leave_the_others_alone() -> None:
    detector = VAD()
    one, other = detector.stream(), detector.stream()
    one.update_options(min_silence_duration=1.5)
    with pytest.raises(ValueError, match="activation_threshold must be"):
        one.update_options(min_silence_duration=0.3, activation_threshold=7.0)
    with pytest.raises(TypeError, match="min_silence"):
        one.update_options(min_silence_duration=0.3, min_silence=0.3)  # type: ignore[call-arg]
    pcm = np.concatenate((speech(), np.zeros(32_000, np.int16)))
    silences: list[float] = []
    for stream in (one, other):
        for piece in frames(pcm):
            stream.push_frame(piece)
        stream.end_input()
        silences.append([event.silence_duration async for event in stream if event.type is END][-1])
        await stream.aclose()
    assert silences == pytest.approx([1.5, 0.25], abs=0.04)
    assert detector.min_silence_duration == 0.25


async def test_whatever_livekits_own_can_be_asked_ours_can_be_asked_too() -> None:
    theirs, ours = inference.VAD(), VAD()
    stream, mine = theirs.stream(), ours.stream()
    for one, other in ((theirs, ours), (stream, mine)):
        assert {name for name in dir(one) if not name.startswith("_")} <= set(dir(other))
    await stream.aclose()
    await mine.aclose()


async def test_speech_that_is_too_long_to_keep_is_said_once_to_be_cut(caplog: pytest.LogCaptureFixture) -> None:
    await hear(VAD(max_buffered_speech=0.2, prefix_padding_duration=0.0), frames(speech()[:32_000]))
    assert sum("max_buffered_speech" in record.getMessage() for record in caplog.records) == 1


async def test_frames_that_make_no_sense_are_dropped_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    stream = VAD().stream()
    for _ in range(3):
        stream.push_frame(frame(np.zeros(960, np.int16), 96_000))
    stream.push_frame(frame(speech()[:1024]))
    stream.end_input()
    assert len([event async for event in stream]) == 2
    await stream.aclose()
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


async def test_many_streams_share_a_few_threads() -> None:
    detector = VAD()
    results = await asyncio.gather(*(hear(detector, frames(speech()[:32_000])) for _ in range(8)))
    assert all([numbers(e) for e in events] == [numbers(e) for e in results[0]] for events in results)
    assert 1 <= sum(thread.name.startswith("eot-vad") for thread in threading.enumerate()) <= 4


async def test_metrics_are_livekits(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = VAD()
    collected: list[VADMetrics] = []
    detector.on("metrics_collected", collected.append)
    await hear(detector, frames(speech()[:40_000]))
    assert collected
    assert collected[0].metadata is not None
    assert (collected[0].metadata.model_name, collected[0].metadata.model_provider) == ("silero", "eot-adapters")
    assert collected[0].inference_duration_total > 0


async def test_weights_that_are_not_there_end_the_stream_with_what_to_do(tmp_path: Path) -> None:
    detector = VAD(weights=tmp_path / "silero_vad.onnx")  # nothing is read yet
    for load in (detector.load, detector.warm_up):
        with pytest.raises(ModelNotInstalledError):
            load()
    stream = detector.stream()
    with pytest.raises(ModelNotInstalledError):
        await anext(stream)
    await stream.aclose()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_speech_duration": -1.0}, "min_speech_duration must be a number of seconds"),
        ({"min_silence_duration": float("nan")}, "min_silence_duration must be a number of seconds"),
        ({"prefix_padding_duration": -0.1}, "prefix_padding_duration must be 0 or more seconds"),
        ({"max_buffered_speech": 0.0}, "max_buffered_speech must be more than 0 seconds"),
        ({"max_buffered_speech": "long"}, "max_buffered_speech must be a number of seconds"),
        ({"activation_threshold": 1.5}, "activation_threshold must be a number more than 0 and at most 1"),
        ({"deactivation_threshold": 0.0}, "deactivation_threshold must be a number more than 0"),
        ({"activation_threshold": 0.3, "deactivation_threshold": 0.4}, "deactivation_threshold must not exceed"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VAD(**options)
    detector = VAD()
    before = (detector._options, detector._prefix, detector._max_speech)
    with pytest.raises(ValueError, match=message):
        detector.update_options(**{"min_silence_duration": 0.4, **options})
    assert (detector._options, detector._prefix, detector._max_speech) == before


def test_other_bad_input() -> None:
    with pytest.raises(TypeError, match="weights must be a path"):
        VAD(weights=3)  # type: ignore[arg-type]
    VAD().update_options(min_speech_duration=NOT_GIVEN)
    assert VAD(activation_threshold=0.6)._options.effective_deactivation_threshold == pytest.approx(0.45)
