"""A session on the cloud: answers, and the local model that takes over."""

from __future__ import annotations

import math

import pytest
from session_driver import Driver, connected

from eot_core.effects import Route
from eot_core.events import FallbackOccurred, Outcome
from eot_core.options import FallbackOptions
from eot_core.transports.base import Calibration


def test_cloud_answers() -> None:
    d = connected()
    request = d.predict()
    d.now += 0.1
    d.answer(request, 0.6, route=Route.CLOUD, network_time=0.06, inference_time=0.04, backchannel_probability=0.1)
    prediction = d.resolved[request]
    assert (prediction.source, prediction.model) == ("cloud", "cloud-model")
    assert prediction.network_time == pytest.approx(0.06)
    assert prediction.backchannel_probability == 0.1
    assert not d.session.is_fallback


def test_order_on_the_wire_is_the_order_of_calls() -> None:
    """Stock lets a prediction overtake the audio of the same tick."""
    d = Driver(cloud=True)
    d.audio(0.1)
    first = d.predict()
    d.audio(0.2)
    d.cancel()
    d.flush()
    d.audio(0.3)
    kinds = [entry[:2] if entry[0] != "audio" else ("audio", entry[1]) for entry in d.wire]  # type: ignore[index]
    assert kinds == [
        ("audio", 1600),
        ("start", first),
        ("audio", 3200),
        ("stop", first),
        ("flush",),
        ("audio", 4800),
    ]


def test_audio_carries_its_capture_time() -> None:
    d = Driver(cloud=True)
    d.audio(0.1)
    captured_at = 1e9 + d.now
    d.now += 5
    assert d.wire == [("audio", 1600, captured_at)]


def test_a_second_flush_without_audio_sends_nothing() -> None:
    d = connected()
    d.flush()
    d.flush()
    assert d.wire.count(("flush",)) == 1


def test_a_request_before_the_connection_is_up_is_kept_and_answered() -> None:
    d = Driver(cloud=True)
    d.audio(0.5)
    request = d.predict()
    d.now += 0.3
    d.ready()
    d.answer(request, 0.9, route=Route.CLOUD)
    assert d.resolved[request].source == "cloud"


class TestFallback:
    @pytest.mark.parametrize(
        ("reason", "retryable"), [("http_503", True), ("http_401", False), ("connection_closed_1011", True)]
    )
    def test_the_request_in_flight_is_answered_by_the_local_model(self, reason: str, retryable: bool) -> None:
        d = connected()
        request = d.predict()
        asked_with = d.snapshots[request]
        d.now += 0.4
        d.audio(0.4)
        d.failed(reason, retryable=retryable)
        assert d.started[-1] == (Route.LOCAL, request)
        assert d.snapshots[request] is asked_with
        d.answer(request, 0.7, inference_time=0.03)
        prediction = d.resolved[request]
        assert (prediction.probability, prediction.source, prediction.model) == (0.7, "local", "local-model")
        assert prediction.queue_time == pytest.approx(0.4)
        assert d.events == [FallbackOccurred("cloud-model", "local-model", reason)]
        assert d.session.is_fallback
        assert d.session.model == "local-model"
        assert len(d.warnings) == 1
        assert reason in d.warnings[0]

    def test_before_the_first_connection(self) -> None:
        d = Driver(cloud=True)
        d.audio(1.0)
        d.failed("connect_error")
        request = d.predict()
        assert d.started == [(Route.LOCAL, request)]
        assert len(d.snapshots[request]) == 16_000  # the core held the audio

    def test_sticky(self) -> None:
        d = connected()
        d.failed()
        for _ in range(3):
            d.flush()
            d.pass_time(60)
            d.audio(0.5)
        assert d.opened == [Route.CLOUD, Route.LOCAL]

    def test_a_time_out_leaves_the_local_model_time_to_answer(self) -> None:
        d = connected(fallback=FallbackOptions(reserve=0.25))
        request = d.predict()
        d.pass_time(0.74)
        assert d.started == [(Route.CLOUD, request)]
        d.pass_time(0.02)
        assert d.started[-1] == (Route.LOCAL, request)
        assert Route.CLOUD not in d.open_routes
        d.answer(request, 0.2)
        assert d.resolved[request].source == "local"
        assert d.events == [FallbackOccurred("cloud-model", "local-model", "timeout")]

    def test_the_default_goes_out_only_when_the_local_model_is_late_too(self) -> None:
        d = connected()
        request = d.predict()
        d.pass_time(1.01)
        prediction = d.resolved[request]
        assert (prediction.probability, prediction.outcome, prediction.reason) == (1.0, Outcome.DEFAULT, "timeout")
        assert d.stopped[-1] == (Route.LOCAL, request)

    def test_the_caller_gives_up_waiting(self) -> None:
        d = connected()
        request = d.predict()
        d.time_out()
        assert d.resolved[request].reason == "timeout"
        assert d.session.is_fallback

    def test_a_late_tick_past_the_whole_deadline(self) -> None:
        d = connected()
        request = d.predict()
        d.now += 3
        d.run(d.session.tick(d.now))
        assert d.resolved[request].reason == "timeout"
        assert d.session.is_fallback

    @pytest.mark.parametrize("probability", [math.nan, 1.5, -0.1])
    def test_nonsense_probability(self, probability: float) -> None:
        d = connected()
        request = d.predict()
        d.answer(request, probability, route=Route.CLOUD)
        assert d.events[0].reason == "invalid_probability"  # type: ignore[union-attr]
        d.answer(request, 0.4)
        assert d.resolved[request].source == "local"

    def test_a_request_that_the_cloud_refuses(self) -> None:
        d = connected()
        request = d.predict()
        d.now += 0.1
        d.request_failed(request, "error_503", route=Route.CLOUD)
        assert d.started[-1] == (Route.LOCAL, request)
        d.answer(request, 0.4)
        assert d.resolved[request].source == "local"
        assert d.session.threshold("en") == 0.36  # the model that answered
        assert d.resolved[request].queue_time == pytest.approx(0.1)
        # The next one may be luckier: the call does not leave the cloud for one moment without room.
        assert not d.events
        assert not d.session.is_fallback
        assert Route.CLOUD in d.open_routes
        second = d.predict()
        assert d.session.threshold("en") == 0.56
        d.answer(second, 0.6, route=Route.CLOUD)
        assert d.resolved[second].source == "cloud"

    def test_requests_that_the_cloud_refuses_are_one_warning(self) -> None:
        d = connected()
        for _ in range(3):
            request = d.predict()
            d.request_failed(request, "error_503", route=Route.CLOUD)
            d.answer(request, 0.4)
        assert len(d.warnings) == 1
        assert "error_503" in d.warnings[0]
        assert "local-model" in d.warnings[0]

    def test_a_local_model_that_is_late_with_a_refused_request(self) -> None:
        d = connected()
        request = d.predict()
        d.request_failed(request, "error_503", route=Route.CLOUD)
        d.pass_time(1.01)
        assert d.resolved[request].reason == "timeout"
        assert not d.session.is_fallback

    @pytest.mark.parametrize(
        "calibration",
        [
            Calibration({}, 0.5),
            Calibration({"en": 0.5}, 0.0),
            Calibration({"en": math.nan}, 0.5),
            Calibration({"en": 1.5}, 0.5),
            Calibration({"en": 0.5}, -1.0),
        ],
    )
    def test_unusable_thresholds(self, calibration: Calibration) -> None:
        d = Driver(cloud=True)
        d.ready(calibration)
        assert d.events == [FallbackOccurred("cloud-model", "local-model", "invalid_thresholds")]
        assert d.session.threshold("en") == 0.36

    def test_reports_after_the_failure_are_ignored(self) -> None:
        d = connected()
        request = d.predict()
        d.failed()
        d.failed("again")
        d.ready()
        d.answer(request, 0.9, route=Route.CLOUD)
        assert request not in d.resolved
        assert len(d.events) == 1

    def test_a_session_that_closes_with_a_request_in_flight(self) -> None:
        d = connected()
        request = d.predict()
        d.close()
        assert d.resolved[request].reason == "closed"
        assert not d.open_routes


class TestRefused:
    def test_turns_end_on_the_delays_and_it_says_so(self) -> None:
        d = connected(no_local=True, fallback=FallbackOptions(enabled=False))
        request = d.predict()
        d.failed("http_503")
        prediction = d.resolved[request]
        assert (prediction.probability, prediction.outcome, prediction.reason) == (1.0, Outcome.DEFAULT, "http_503")
        later = d.predict()
        assert d.resolved[later].reason == "cloud_unavailable"
        assert d.session.route is None
        assert d.events == [FallbackOccurred("cloud-model", None, "http_503")]
        assert "local_fallback is off" in d.warnings[0]

    def test_a_time_out_keeps_the_connection(self) -> None:
        d = connected(no_local=True, fallback=FallbackOptions(enabled=False))
        request = d.predict()
        d.pass_time(1.0)
        assert d.resolved[request].reason == "timeout"
        assert not d.session.is_fallback
        assert len(d.warnings) == 1
        assert "did not answer in time" in d.warnings[0]
        second = d.predict()
        d.answer(second, 0.6, route=Route.CLOUD)
        assert d.resolved[second].source == "cloud"

    def test_a_request_that_the_cloud_refuses_keeps_the_connection(self) -> None:
        d = connected(no_local=True, fallback=FallbackOptions(enabled=False))
        request = d.predict()
        d.request_failed(request, "error_503", route=Route.CLOUD)
        prediction = d.resolved[request]
        assert (prediction.probability, prediction.outcome, prediction.reason) == (1.0, Outcome.DEFAULT, "error_503")
        assert d.session.route is Route.CLOUD
        assert not d.events
        assert len(d.warnings) == 1
        second = d.predict()
        d.answer(second, 0.6, route=Route.CLOUD)
        assert d.resolved[second].source == "cloud"
