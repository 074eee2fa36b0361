"""A session on a local model: the semantics of requests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from session_driver import CALIBRATION, Driver, local_spec

from eot_core.effects import Route
from eot_core.events import Outcome
from eot_core.options import FallbackOptions
from eot_core.session import DetectorSession
from eot_core.settings import SessionOptions
from eot_core.thresholds import Thresholds


def test_answer_is_passed_on_with_its_times() -> None:
    d = Driver()
    d.audio()
    request = d.predict()
    d.now += 0.05
    d.answer(request, 0.7, queue_time=0.01, inference_time=0.03)
    prediction = d.resolved[request]
    assert (prediction.probability, prediction.outcome, prediction.reason) == (0.7, Outcome.ANSWERED, None)
    assert (prediction.model, prediction.source, prediction.request_id) == ("local-model", "local", request)
    assert prediction.queue_time == pytest.approx(0.01)
    assert prediction.inference_time == pytest.approx(0.03)
    assert prediction.network_time == 0.0
    assert prediction.detection_delay == pytest.approx(0.05)
    assert prediction.total_time == pytest.approx(0.04)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_frames_pushed_before_predict_are_in_it(rate: int) -> None:
    """To the last sample, although the resampler holds some 20 ms back."""
    d = Driver()
    d.audio(0.5, rate=rate, value=0)
    d.audio(0.01, rate=rate, value=12_000)
    request = d.predict()
    snapshot = d.snapshots[request]
    assert len(snapshot) == pytest.approx(0.51 * 16_000, abs=2)
    assert np.abs(snapshot[-150:]).max() > 8_000
    assert np.abs(snapshot[:7_000]).max() < 200


def test_audio_after_predict_is_not_in_it() -> None:
    d = Driver()
    d.audio(0.2, value=1)
    request = d.predict()
    d.audio(0.2, value=9_999)
    assert d.snapshots[request].max() == 1


def test_no_audio_gives_the_default_with_a_reason() -> None:
    d = Driver()
    prediction = d.resolved[d.predict()]
    assert (prediction.probability, prediction.outcome, prediction.reason) == (1.0, Outcome.DEFAULT, "no_audio")
    assert not d.started


def test_empty_frames_are_no_audio() -> None:
    d = Driver()
    d.audio(0.0)
    assert d.resolved[d.predict()].reason == "no_audio"


def test_second_predict_supersedes_the_first_at_once() -> None:
    d = Driver()
    d.audio()
    first = d.predict()
    second = d.predict()
    assert d.resolved[first].outcome is Outcome.SUPERSEDED
    assert d.resolved[first].probability == 0.0
    assert d.stopped == [(Route.LOCAL, first)]
    assert second not in d.resolved


def test_stale_answer_is_ignored() -> None:
    d = Driver()
    d.audio()
    first = d.predict()
    second = d.predict()
    d.answer(first, 0.9)
    assert second not in d.resolved
    d.answer(second, 0.4)
    d.answer(second, 0.9)
    d.answer("nobody", 0.9)
    assert d.resolved[second].probability == 0.4


def test_deadline_gives_the_default() -> None:
    d = Driver(timeout=0.4)
    d.audio()
    request = d.predict()
    d.pass_time(0.39)
    assert request not in d.resolved
    d.pass_time(0.02)
    prediction = d.resolved[request]
    assert (prediction.probability, prediction.outcome, prediction.reason) == (1.0, Outcome.DEFAULT, "timeout")
    assert d.stopped == [(Route.LOCAL, request)]
    d.answer(request, 0.1)
    assert d.resolved[request] is prediction


def test_an_answer_at_the_deadline_is_too_late_even_without_a_tick() -> None:
    d = Driver()
    d.audio()
    request = d.predict()
    d.now += 1.0
    d.answer(request, 0.1)
    assert d.resolved[request].reason == "timeout"


@pytest.mark.parametrize("probability", [math.nan, math.inf, -math.inf, -0.01, 1.01])
def test_nonsense_from_the_model_gives_the_default(probability: float) -> None:
    d = Driver()
    d.audio()
    request = d.predict()
    d.answer(request, probability)
    assert d.resolved[request].probability == 1.0
    assert d.resolved[request].reason == "invalid_probability"


@pytest.mark.parametrize("seconds", [math.nan, -1.0, math.inf])
def test_nonsense_times_are_dropped(seconds: float) -> None:
    d = Driver()
    d.audio()
    request = d.predict()
    d.answer(request, 0.5, queue_time=seconds, inference_time=seconds, network_time=seconds)
    assert d.resolved[request].total_time == 0.0


def test_a_model_that_throws_gives_the_default_and_one_warning() -> None:
    d = Driver()
    d.audio()
    for _ in range(3):
        request = d.predict()
        d.request_failed(request, "model_error: ValueError")
        assert d.resolved[request].reason == "model_error: ValueError"
        d.flush()
        d.audio()
    assert len(d.warnings) == 1
    assert "model_error: ValueError" in d.warnings[0]


def test_a_dead_local_transport_is_opened_again_for_the_next_request() -> None:
    d = Driver()
    d.audio()
    request = d.predict()
    d.failed("transport_error: X", route=Route.LOCAL, retryable=False)
    assert d.resolved[request].reason == "transport_error: X"
    d.failed("transport_error: X", route=Route.LOCAL, retryable=False)  # without a request: nothing to resolve
    second = d.predict()
    assert d.opened.count(Route.LOCAL) == 2
    d.answer(second, 0.3)
    assert d.resolved[second].probability == 0.3


@pytest.mark.parametrize(
    "calls",
    [
        ("cancel", "cancel", "flush", "flush", "close", "close"),
        ("flush", "cancel", "close", "flush", "cancel"),
        ("close", "flush", "cancel", "close"),
        ("flush", "flush", "cancel", "cancel", "close"),
    ],
)
def test_cancel_flush_and_close_are_idempotent_in_any_order(calls: tuple[str, ...]) -> None:
    d = Driver()
    d.audio()
    request = d.predict()
    for call in calls:
        getattr(d, call)()
    assert d.resolved[request].outcome is Outcome.CANCELLED
    assert (
        d.resolved[request].reason == {"cancel": "speech_resumed", "flush": "turn_ended", "close": "closed"}[calls[0]]
    )
    assert d.stopped == [(Route.LOCAL, request)]
    assert not d.open_routes
    assert d.session.closed


def test_after_close_nothing_happens_but_defaults() -> None:
    d = Driver()
    d.audio()
    d.close()
    before = len(d.log)
    d.audio()
    d.cancel()
    d.flush()
    d.time_out()
    d.failed(route=Route.LOCAL)
    d.run(d.session.open())
    assert len(d.log) == before
    request = d.predict()
    assert (d.resolved[request].outcome, d.resolved[request].reason) == (Outcome.DEFAULT, "closed")


def test_flush_says_why_the_request_was_cancelled() -> None:
    d = Driver()
    d.audio()
    request = d.predict()
    d.flush("turn committed")
    assert d.resolved[request].reason == "turn committed"


def test_abandon_cancels_only_its_own_request() -> None:
    d = Driver()
    d.audio()
    first = d.predict()
    second = d.predict()
    d.run(d.session.abandon(first))
    assert second not in d.resolved
    d.run(d.session.abandon(second))
    assert d.resolved[second].reason == "abandoned"


def test_time_out_gives_the_default_once() -> None:
    d = Driver()
    d.time_out()
    d.audio()
    request = d.predict()
    d.time_out()
    d.time_out()
    assert d.resolved[request].reason == "timeout"
    assert not d.session.is_fallback


def test_memory_is_bounded_whatever_is_pushed() -> None:
    d = Driver(local=local_spec(window=2.0))
    window = d.session._audio._window
    kept = window.capacity
    for rate in (8_000, 48_000, 16_000):
        d.audio(30.0, rate=rate)
    for _ in range(2_000):
        d.audio(0.02)
    assert window.capacity == kept == 9 * 16_000  # the window, and what a snapshot may leave out at its end
    assert len(d.snapshots[d.predict()]) == 2 * 16_000


def test_a_30_s_frame_is_cut_to_its_end() -> None:
    d = Driver(local=local_spec(window=2.0))
    pcm = np.zeros(30 * 48_000, dtype=np.int16)
    pcm[-4_800:] = 10_000
    d.run(d.session.push_audio(pcm, 48_000, 0.0))
    snapshot = d.snapshots[d.predict()]
    assert len(snapshot) == 2 * 16_000
    assert snapshot[-800] == pytest.approx(10_000, abs=300)


class TestWhereTheTurnBegins:
    """A model that scores turns does not see the turn before; one with a rolling window sees the last seconds."""

    def spec(self, pre_speech: float | None) -> Driver:
        return Driver(local=local_spec(window=8.0, pre_speech=pre_speech))

    def test_first_turn_from_a_little_before_its_onset(self) -> None:
        d = self.spec(0.7)
        d.audio(5.0, value=1)
        d.cancel()
        d.audio(1.0, value=2)
        assert len(d.snapshots[d.predict()]) == round(1.7 * 16_000)

    def test_resumed_speech_does_not_move_the_onset(self) -> None:
        d = self.spec(0.7)
        d.audio(2.0)
        d.cancel()
        d.audio(1.0)
        d.predict()
        d.cancel()
        d.audio(1.0)
        assert len(d.snapshots[d.predict()]) == round(2.7 * 16_000)

    def test_next_turn_starts_afresh(self) -> None:
        d = self.spec(0.7)
        d.audio(3.0)
        d.cancel()
        d.audio(1.0)
        d.flush()
        d.audio(5.0)  # the agent speaks
        d.cancel()
        d.audio(0.5)
        assert len(d.snapshots[d.predict()]) == round(1.2 * 16_000)

    def test_right_after_a_flush_there_is_still_something_to_score(self) -> None:
        d = self.spec(0.7)
        d.audio(3.0)
        d.flush()
        assert len(d.snapshots[d.predict()]) == round(0.7 * 16_000)

    def test_rolling_window_ignores_turns(self) -> None:
        d = self.spec(None)
        d.audio(3.0)
        d.cancel()
        d.flush()
        d.audio(1.0)
        assert len(d.snapshots[d.predict()]) == 4 * 16_000


class TestLanguages:
    def test_multi_stands_for_the_last_known(self) -> None:
        d = Driver()
        assert d.session.threshold("multi") == 0.36
        assert d.session.threshold("de-CH") == 0.245
        assert d.session.threshold("multi") == 0.245
        assert d.session.threshold(None) == 0.245
        assert d.session.threshold("en") == 0.36

    def test_supports(self) -> None:
        d = Driver()
        assert d.session.supports_language("fr-CA")
        assert d.session.supports_language("multi")
        assert d.session.supports_language(None)
        assert not d.session.supports_language("sv")

    def test_a_model_that_judges_any_language(self) -> None:
        d = Driver(local=local_spec(judges_any_language=True))
        assert d.session.supports_language("sv")
        assert d.session.language == "sv"
        assert not d.session.is_made_for("sv")
        assert d.session.is_made_for("fr")
        assert d.session.threshold("sv") == 0.36, "its default"

    def test_only_where_it_is_that_model_who_judges(self) -> None:
        d = Driver(cloud=True, local=local_spec(judges_any_language=True))
        d.run(d.session.on_ready(d.now, Route.CLOUD, CALIBRATION))
        assert not d.session.supports_language("sv")
        d.run(d.session.on_failed(d.now, Route.CLOUD, "http_500", retryable=False))
        assert d.session.supports_language("sv")

    def test_no_backchannel_from_a_local_model(self) -> None:
        d = Driver(backchannel_overrides=0.1)
        d.audio()
        request = d.predict()
        d.answer(request, 0.5, backchannel_probability=0.9)
        assert d.session.backchannel_threshold("en") is None
        assert d.resolved[request].backchannel_probability is None
        assert not d.events

    def test_overrides_change_while_running(self) -> None:
        d = Driver(overrides=0.5)
        assert d.session.threshold("en") == 0.5
        d.session.update_overrides({"de": 0.9})
        assert d.session.threshold("en") == 0.36
        assert d.session.threshold("de") == 0.9


def test_a_session_needs_a_model() -> None:
    with pytest.raises(ValueError, match="cloud model, a local model"):
        DetectorSession(SessionOptions(cloud_model=None, local=None), Thresholds("x", None))


def test_cloud_reports_mean_nothing_to_a_local_session() -> None:
    d = Driver(fallback=FallbackOptions(recover_after=0.0))
    d.ready()
    d.failed()
    d.audio()
    d.flush()
    assert d.session.model == "local-model"
    assert d.opened == [Route.LOCAL]
    assert not d.events
