from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vad_speech import Pcm, recordings, vowels

from eot_core.models.base import ModelError, ModelIntegrityError, ModelNotInstalledError
from eot_core.models.weights import PackagedFile
from eot_core.vad import SileroVAD, SpeechEnded, SpeechStarted, VADEvent, VADOptions, VADStream, WindowScored, silero
from eot_core.vad.silero import SHA256, weights_path


@pytest.fixture(scope="module")
def vad() -> SileroVAD:
    try:
        weights_path()
    except ModelError as error:
        pytest.skip(str(error))
    return SileroVAD()


def push_all(stream: VADStream, pcm: Pcm, rate: int = 16_000, frame: int = 320) -> list[VADEvent]:
    return [event for i in range(0, len(pcm), frame) for event in stream.push(pcm[i : i + frame], rate)]


def scores(events: list[VADEvent]) -> list[float]:
    return [event.probability for event in events if isinstance(event, WindowScored)]


def turns(events: list[VADEvent]) -> list[VADEvent]:
    return [event for event in events if not isinstance(event, WindowScored)]


def spoken() -> Pcm:
    hush = np.zeros(16_000, np.int16)
    return np.concatenate((hush, vowels(1.5), hush, vowels(1.0), hush))


def test_the_probabilities_are_livekits(vad: SileroVAD) -> None:
    native = pytest.importorskip("livekit.local_inference", reason="livekit-local-inference, the reference")
    for pcm in recordings(4):
        reference = native.VAD()
        expected = [reference.predict(pcm[i : i + 512]) for i in range(0, len(pcm) - 511, 512)]
        np.testing.assert_allclose(scores(push_all(vad.stream(), pcm)), expected, atol=1e-4)


def test_the_probabilities_are_pipecats(vad: SileroVAD) -> None:
    stock = pytest.importorskip("pipecat.audio.vad.silero", reason="pipecat-ai, the reference")
    model = stock.SileroOnnxModel(str(weights_path()))
    pcm = spoken()
    expected = [
        float(model(pcm[i : i + 512].astype(np.float32) / 32_768, 16_000)[0, 0]) for i in range(0, len(pcm) - 511, 512)
    ]
    np.testing.assert_allclose(scores(push_all(vad.stream(), pcm)), expected, atol=1e-5)


async def livekits(pcm: Pcm, rate: int) -> list[Any]:
    """The events of LiveKit's own VAD on the same frames of 20 ms."""
    from livekit import rtc
    from livekit.agents.inference.vad import VAD

    frame = rate // 50
    stream = VAD().stream()
    for i in range(0, len(pcm), frame):
        piece = pcm[i : i + frame]
        stream.push_frame(rtc.AudioFrame(piece.tobytes(), rate, 1, len(piece)))
    stream.end_input()
    events = [event async for event in stream]
    await stream.aclose()
    return events


async def test_speech_starts_and_ends_in_the_same_window_as_on_livekit(vad: SileroVAD) -> None:
    pytest.importorskip("livekit.local_inference", reason="livekit-local-inference, the reference")
    kinds = pytest.importorskip("livekit.agents.vad").VADEventType
    compared = 0
    for pcm in recordings(8):
        theirs = await livekits(pcm, 16_000)
        ours = push_all(vad.stream(), pcm)
        compared += len(turns(ours))
        assert len(ours) == len(theirs)
        for own, other in zip(ours, theirs, strict=True):
            assert round(own.at / 0.032) == round(other.timestamp / 0.032)
            if isinstance(own, WindowScored):
                assert other.type is kinds.INFERENCE_DONE
                assert own.speaking == other.speaking
                assert own.probability == pytest.approx(other.probability, abs=1e-4)
                assert own.silence_duration == other.silence_duration
                assert own.raw_accumulated_silence == other.raw_accumulated_silence
                assert own.raw_accumulated_speech == other.raw_accumulated_speech
            elif isinstance(own, SpeechStarted):
                assert other.type is kinds.START_OF_SPEECH
            else:
                assert other.type is kinds.END_OF_SPEECH
                assert own.silence_duration == other.silence_duration
            assert own.speech_duration == other.speech_duration
    assert compared > 40


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
async def test_resampled_as_on_livekit(vad: SileroVAD, rate: int) -> None:
    """Its resampler adds dither, so that not even two runs of its own are equal to the last bit."""
    pytest.importorskip("livekit.local_inference", reason="livekit-local-inference, the reference")
    kinds = pytest.importorskip("livekit.agents.vad").VADEventType
    import soxr

    for pcm in recordings(3):
        audio = soxr.resample(pcm, 16_000, rate, quality="VHQ")
        theirs = [event for event in await livekits(audio, rate) if event.type is kinds.INFERENCE_DONE]
        ours = [event for event in push_all(vad.stream(), audio, rate, rate // 50) if isinstance(event, WindowScored)]
        assert len(ours) == len(theirs)
        difference = np.array(scores(ours)) - [event.probability for event in theirs]  # type: ignore[arg-type]
        assert np.abs(difference).mean() < 0.01
        same = [own.speaking == other.speaking for own, other in zip(ours, theirs, strict=True)]
        assert np.mean(same) > 0.98


def test_like_speech_is_heard_and_silence_is_not(vad: SileroVAD) -> None:
    events = turns(push_all(vad.stream(), spoken()))
    assert [type(event) for event in events[:2]] == [SpeechStarted, SpeechEnded]
    assert isinstance(events[0], SpeechStarted)
    assert 0.9 < events[0].speech_started_at < 1.4
    assert turns(push_all(vad.stream(), np.zeros(80_000, np.int16))) == []


@pytest.mark.parametrize("frame", [1, 160, 511, 512, 513, 1_000, 480_000])
def test_the_length_of_the_frames_does_not_matter(vad: SileroVAD, frame: int) -> None:
    pcm = spoken()[: 16_000 if frame == 1 else None]
    assert push_all(vad.stream(), pcm, frame=frame) == push_all(vad.stream(), pcm)


def test_bytes_are_as_good(vad: SileroVAD) -> None:
    pcm = spoken()
    assert vad.stream().push(pcm.tobytes(), 16_000) == vad.stream().push(pcm, 16_000)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000])
def test_any_rate_gives_the_same_speech(vad: SileroVAD, rate: int) -> None:
    import soxr

    pcm = spoken()
    other = soxr.resample(pcm, 16_000, rate, quality="VHQ")
    at_16, at_rate = push_all(vad.stream(), pcm), push_all(vad.stream(), other, rate, rate // 50)
    assert abs(len(scores(at_16)) - len(scores(at_rate))) <= 1
    first, same = turns(at_16)[0], turns(at_rate)[0]
    assert isinstance(first, SpeechStarted)
    assert isinstance(same, SpeechStarted)
    assert same.at == pytest.approx(first.at, abs=0.1)


def test_the_rate_may_change_in_mid_stream(vad: SileroVAD) -> None:
    import soxr

    pcm = spoken()
    stream, events, windows = vad.stream(), [], 0
    for number, rate in enumerate([16_000, 48_000, 8_000, 8_000, 44_100, 16_000, 24_000]):
        part = pcm[number * 8_000 : (number + 1) * 8_000]
        audio = part if rate == 16_000 else soxr.resample(part, 16_000, rate, quality="VHQ")
        events += push_all(stream, audio, rate, 441)
        windows += len(part)
    assert abs(len(scores(events)) - windows // 512) <= 1
    assert isinstance(turns(events)[0], SpeechStarted)


def test_streams_do_not_hear_each_other(vad: SileroVAD) -> None:
    pcm, other = spoken(), vad.stream()
    alone, stream = push_all(vad.stream(), pcm), vad.stream()
    together: list[VADEvent] = []
    for i in range(0, len(pcm), 320):
        together += stream.push(pcm[i : i + 320], 16_000)
        other.push(vowels(0.02), 16_000)
    assert together == alone


def test_reset_begins_anew(vad: SileroVAD) -> None:
    pcm, stream = spoken(), vad.stream()
    first = push_all(stream, pcm)
    stream.reset()
    stream.push(pcm[: round(turns(first)[0].at * 16_000)], 16_000)
    stream.push(vowels(0.01, rate=24_000), 24_000)
    assert stream.speaking
    stream.reset()
    assert not stream.speaking
    assert push_all(stream, pcm) == first


def test_nothing_of_a_long_frame_is_kept(vad: SileroVAD) -> None:
    stream = vad.stream()
    stream.push(np.zeros(16_000 * 30 + 7, np.int16), 16_000)
    assert stream._rest.base is None
    assert len(stream._rest) < 512
    assert stream.push(np.zeros(0, np.int16), 16_000) == []
    assert stream.push(b"", 48_000) == []


def test_options_of_a_stream(vad: SileroVAD) -> None:
    strict = VADOptions(activation_threshold=1.0)
    stream = vad.stream(strict)
    assert stream.options is strict
    assert turns(push_all(stream, spoken())) == []
    stream.reset()
    stream.options = VADOptions()
    assert turns(push_all(stream, spoken())) != []
    assert SileroVAD(strict).stream().options is strict


@pytest.mark.parametrize("rate", [7_999, 48_001, 0, None, "16000"])
def test_a_bad_rate_is_named(vad: SileroVAD, rate: object) -> None:
    with pytest.raises(ValueError, match="sample_rate"):
        vad.stream().push(b"", rate)  # type: ignore[arg-type]


def test_bad_audio_and_options_are_named(vad: SileroVAD) -> None:
    with pytest.raises(ValueError, match="pcm"):
        vad.stream().push(None, 16_000)
    with pytest.raises(TypeError, match="options"):
        SileroVAD({"activation_threshold": 0.4})  # type: ignore[arg-type]


def test_nothing_is_loaded_before_the_first_stream(tmp_path: Path) -> None:
    lazy = SileroVAD(weights=tmp_path / "missing.onnx")
    with pytest.raises(ModelNotInstalledError, match="weights: no file"):
        lazy.stream()
    with pytest.raises(ModelNotInstalledError, match="weights: no file"):
        lazy.warm_up()


def test_weights_at_a_path(vad: SileroVAD, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    shutil.copy(weights_path(), copy)
    own = SileroVAD(weights=str(copy))
    own.warm_up()
    assert push_all(own.stream(), spoken()) == push_all(vad.stream(), spoken())
    copy.write_bytes(b"rubbish")
    with pytest.raises(ModelIntegrityError, match="sha256"):
        weights_path(copy)


def test_one_session_for_all(vad: SileroVAD) -> None:
    assert vad.stream()._network._session is SileroVAD().stream()._network._session  # type: ignore[attr-defined]


def test_every_package_with_the_weights_will_do(vad: SileroVAD, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [file for file in silero._FILES if file.locate() is not None]
    assert found
    for file in found:
        monkeypatch.setattr(silero, "_FILES", (file,))
        path = weights_path()
        assert path.stat().st_size == 2_327_524


def test_no_weights_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "_FILES", (PackagedFile("no-such-distribution", "no_such_pkg/silero_vad.onnx"),))
    with pytest.raises(
        ModelNotInstalledError, match=r"Silero VAD is not installed: pip install 'eot-adapters\[livekit"
    ):
        weights_path()


def test_an_older_file_is_taken_with_a_warning_where_there_is_no_other(
    vad: SileroVAD, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(silero, "OLDER_SHA256", SHA256)
    monkeypatch.setattr(silero, "SHA256", "0" * 64)
    with caplog.at_level(logging.WARNING):
        assert weights_path().is_file()
    assert "holds an older Silero VAD" in caplog.text
