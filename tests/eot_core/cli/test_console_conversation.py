"""The pure parts of a session: playback, the source of frames, and the end of the conversation."""

import numpy as np
import pytest

from eot_core.cli.broker import AgentStateChanged, EotPredicted, MessageAdded, OtherEvent, StopReason, UserStateChanged
from eot_core.cli.broker.conversation import NO_SPEECH_WAIT, PLAYING_ALLOWANCE, QUIET, Conversation
from eot_core.cli.broker.playback import Finished, Playback
from eot_core.cli.broker.source import FRAME_SAMPLES, RecordingSource


def test_playback_ends_when_all_of_it_could_be_heard() -> None:
    playback = Playback()
    assert playback.poll(0.0) is None
    playback.push(0.5, now=1.0)
    playback.push(0.5, now=1.0)
    assert playback.active
    assert playback.ends_at is None
    assert playback.poll(9.0) is None  # more may come until the flush
    playback.flush(now=1.1)
    assert playback.ends_at == 2.0
    assert playback.poll(1.9) is None
    assert playback.poll(2.0) == Finished(1.0, interrupted=False)
    assert not playback.active
    assert playback.poll(3.0) is None


def test_playback_that_ran_dry_goes_on_later() -> None:
    playback = Playback()
    playback.push(0.1, now=1.0)
    playback.push(0.1, now=2.0)
    playback.flush(now=2.0)
    assert playback.ends_at == pytest.approx(2.1)


def test_a_flush_with_nothing_to_play_ends_at_once() -> None:
    playback = Playback()
    playback.flush(now=5.0)
    assert playback.poll(5.0) == Finished(0.0, interrupted=False)


def test_a_clear_cuts_playback_off() -> None:
    playback = Playback()
    assert playback.clear(now=0.0) is None
    playback.push(1.0, now=1.0)
    playback.flush(now=1.0)
    assert playback.clear(now=1.25) == Finished(0.25, interrupted=True)
    assert playback.poll(9.0) is None
    playback.push(1.0, now=10.0)
    assert playback.clear(now=15.0) == Finished(1.0, interrupted=True)


def test_the_source_plays_noise_the_recording_and_noise() -> None:
    pcm = np.full(1000, 5000, np.int16)
    source = RecordingSource(pcm, 48_000, lead=2)
    frames = [np.frombuffer(source.frame(index), "<i2") for index in range(80)]

    assert {frame.size for frame in frames} == {FRAME_SAMPLES}
    sound = np.concatenate(frames)
    np.testing.assert_array_equal(sound[2 * FRAME_SAMPLES :][:1000], pcm)
    around = np.concatenate([sound[: 2 * FRAME_SAMPLES], sound[2 * FRAME_SAMPLES + 1000 :]])
    level = 20 * np.log10(np.sqrt(np.mean(around.astype(float) ** 2)) / 32768)
    assert level == pytest.approx(-70, abs=1)


def test_the_source_resamples_and_knows_its_length() -> None:
    tone = (np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000) * 10000).astype(np.int16)
    source = RecordingSource(tone, 8000, noise_dbfs=None)

    assert source.duration == 1.0
    sound = np.concatenate([np.frombuffer(source.frame(index), "<i2") for index in range(60)])
    expected = np.sin(np.arange(48_000) * 2 * np.pi * 440 / 48_000) * 10000
    assert np.abs(sound[4800:43_200] - expected[4800:43_200]).max() < 50
    assert not sound[48_000:].any()


def test_a_full_scale_recording_does_not_wrap() -> None:
    square = np.where(np.arange(1600) // 40 % 2, 32767, -32768).astype(np.int16)
    source = RecordingSource(square, 16_000)
    sound = np.concatenate([np.frombuffer(source.frame(index), "<i2") for index in range(5)])
    middle = sound.reshape(-1, 120)[:, 55:65].mean(axis=1)  # the middles of the half periods
    np.testing.assert_array_equal(middle > 0, np.arange(40) % 2 == 1)


def test_a_negative_lead_is_refused() -> None:
    with pytest.raises(ValueError, match="lead must not be negative"):
        RecordingSource(np.zeros(4, np.int16), 16_000, lead=-1)


def speaking(at: float) -> UserStateChanged:
    return UserStateChanged(at, at, "listening", "speaking")


def silent(at: float) -> UserStateChanged:
    return UserStateChanged(at, at, "speaking", "listening")


def message(at: float, role: str) -> MessageAdded:
    return MessageAdded(at, at, role, "x", False)  # type: ignore[arg-type]


def agent(at: float, new: str) -> AgentStateChanged:
    return AgentStateChanged(at, at, "listening", new)  # type: ignore[arg-type]


def conversation(*events: object) -> Conversation:
    talk = Conversation(10.0, 15.0)
    for event in events:
        talk.observe(event)  # type: ignore[arg-type]
    return talk


ANSWERED = (
    speaking(8),
    silent(9),
    message(9.5, "user"),
    agent(9.5, "speaking"),
    message(11, "assistant"),
    agent(11, "listening"),
)


def test_it_is_over_when_all_is_said_and_it_stays_quiet() -> None:
    talk = conversation(*ANSWERED)
    assert talk.over(11.0, playing=False) is None
    assert talk.over(11.0 + QUIET, playing=True) is None
    assert talk.over(11.0 + QUIET, playing=False) is StopReason.ANSWERED


def test_the_recording_is_played_to_its_end() -> None:
    talk = conversation(speaking(1), silent(2), message(2.3, "user"), message(3, "assistant"))
    assert talk.over(9.9, playing=False) is None
    assert talk.over(10.0, playing=False) is StopReason.ANSWERED


@pytest.mark.parametrize(
    "events", [ANSWERED[:1], ANSWERED[:2], ANSWERED[:3], ANSWERED[:4], (*ANSWERED, speaking(11.2))]
)
def test_it_is_not_over_while_something_is_to_come(events: tuple[object, ...]) -> None:
    talk = conversation(*events)
    assert talk.over(24.9, playing=False) is None
    assert talk.over(25.0, playing=False) is StopReason.TIMEOUT


def test_speech_that_began_again_before_the_message_is_one_more_turn() -> None:
    talk = conversation(
        speaking(8), silent(9), speaking(9.4), message(9.5, "user"), silent(9.9), message(10, "assistant")
    )
    assert talk.over(15.0, playing=False) is None
    talk.observe(message(15.0, "user"))
    talk.observe(message(15.5, "assistant"))
    assert talk.over(16.0, playing=False) is StopReason.ANSWERED


def test_an_answer_is_heard_to_its_end_within_reason() -> None:
    talk = conversation(*ANSWERED[:4])
    assert talk.over(26.0, playing=True) is None
    assert talk.over(10.0 + PLAYING_ALLOWANCE * 15.0, playing=True) is StopReason.TIMEOUT


def test_nobody_is_heard() -> None:
    talk = conversation(OtherEvent(10.2, None, "debug_message"))
    assert talk.over(9.0, playing=False) is None
    assert talk.over(10.0 + NO_SPEECH_WAIT - 0.01, playing=False) is None
    assert talk.over(10.0 + NO_SPEECH_WAIT, playing=False) is StopReason.NO_SPEECH


def test_whatever_happens_prolongs_the_quiet() -> None:
    talk = conversation(*ANSWERED, EotPredicted(11.4, None, 0.5, 0.5, 0.0, 0.0))
    assert talk.over(11.8, playing=False) is None
    assert talk.over(11.9, playing=False) is StopReason.ANSWERED
