"""A session on the cloud: fallback, retries, the way back, and whose thresholds hold."""

from __future__ import annotations

import math

import pytest
from session_driver import CALIBRATION, Driver

from eot_core.effects import Route
from eot_core.events import BackchannelOpportunity, FallbackOccurred, Outcome
from eot_core.options import FallbackOptions
from eot_core.transports.base import Calibration


def connected(**options: object) -> Driver:
    d = Driver(cloud=True, **options)  # type: ignore[arg-type]
    d.ready()
    d.audio(1.0)
    return d


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


class TestRetries:
    def options(self) -> FallbackOptions:
        return FallbackOptions(retries=2, retry_interval=0.5)

    def test_the_local_model_answers_while_the_cloud_is_tried_again(self) -> None:
        d = connected(fallback=self.options())
        request = d.predict()
        d.failed("connection_closed_1011")
        assert d.started[-1] == (Route.LOCAL, request)
        d.answer(request, 0.7)
        assert d.resolved[request].source == "local"
        assert d.session.threshold("en") == 0.36  # the model that answered
        assert not d.events
        d.pass_time(0.5)
        assert d.opened.count(Route.CLOUD) == 2
        assert d.wire[0][0] == "audio"  # type: ignore[index]
        d.ready()
        second = d.predict()
        assert d.session.threshold("en") == 0.56
        d.answer(second, 0.7, route=Route.CLOUD)
        assert d.resolved[second].source == "cloud"

    @pytest.mark.parametrize("who", ["the cloud's share of the time-out", "whoever waits"])
    def test_an_answer_that_is_late_is_a_failure_that_may_pass(self, who: str) -> None:
        d = connected(fallback=self.options())
        for again in range(3):
            request = d.predict()
            if who == "whoever waits":
                d.time_out()
            else:
                d.pass_time(0.76)
                d.answer(request, 0.7)
                assert d.resolved[request].source == "local"
            assert d.session.is_fallback is (again == 2), "it was given up after the last try"
            d.pass_time(2.0)
            d.ready()
        assert d.opened.count(Route.CLOUD) == 3
        assert [event.reason for event in d.events] == ["timeout"]  # type: ignore[union-attr]

    def test_a_request_between_two_tries_is_answered_locally(self) -> None:
        d = connected(fallback=self.options())
        d.failed("connection_closed_1011")
        request = d.predict()
        assert d.started[-1] == (Route.LOCAL, request)

    def test_it_gives_up_after_the_last(self) -> None:
        d = Driver(cloud=True, fallback=self.options())
        for wait in (0.5, 1.0):
            d.failed("connect_error")
            assert not d.events
            d.pass_time(wait)
        d.failed("connect_error")
        assert d.events == [FallbackOccurred("cloud-model", "local-model", "connect_error")]
        assert d.opened.count(Route.CLOUD) == 3

    @pytest.mark.parametrize("interval", [0.0, 1e-300])
    def test_however_many_there_are(self, interval: float) -> None:
        """Doubled 1024 times, the wait is no float any more."""
        d = Driver(cloud=True, fallback=FallbackOptions(retries=1100, retry_interval=interval))
        for _ in range(1100):
            d.failed("connect_error")
            deadline = d.session.next_deadline()
            assert deadline is not None
            assert d.now <= deadline < math.inf
            d.pass_time(deadline - d.now)
        assert d.opened.count(Route.CLOUD) == 1101
        d.failed("connect_error")
        assert d.session.is_fallback

    def test_a_request_between_two_tries_waits_where_no_local_model_may_answer(self) -> None:
        d = connected(no_local=True, fallback=FallbackOptions(enabled=False, retries=1, retry_interval=0.2))
        d.failed("connection_closed_1011")
        request = d.predict()
        assert not d.started
        d.pass_time(0.2)
        assert d.started == [(Route.CLOUD, request)]
        assert d.wire == [("audio", 16_000, 1e9 + 100.0), ("start", request)]

    @pytest.mark.parametrize("reason", ["http_401", "http_403", "http_404", "invalid_thresholds", "tls_error"])
    def test_what_another_try_does_not_cure(self, reason: str) -> None:
        d = Driver(cloud=True, fallback=self.options())
        d.failed(reason, retryable=True)
        assert d.session.is_fallback

    def test_without_a_local_model_the_request_waits_for_the_next_try(self) -> None:
        d = connected(no_local=True, fallback=FallbackOptions(enabled=False, retries=1, retry_interval=0.2))
        request = d.predict()
        d.failed("connection_closed_1011")
        assert request not in d.resolved
        d.pass_time(0.2)
        assert d.wire[-1] == ("start", request)
        d.answer(request, 0.6, route=Route.CLOUD)
        assert d.resolved[request].source == "cloud"

    def test_close_while_waiting_for_a_try(self) -> None:
        d = connected(fallback=self.options())
        d.failed("connection_closed_1011")
        d.close()
        d.pass_time(10)
        assert d.opened.count(Route.CLOUD) == 1


class TestTheWayBack:
    def options(self) -> FallbackOptions:
        return FallbackOptions(recover_after=10.0)

    def test_at_a_turn_boundary_after_the_cool_down(self) -> None:
        d = connected(fallback=self.options())
        d.failed()
        d.flush()
        assert d.opened.count(Route.CLOUD) == 1
        d.pass_time(10)
        assert d.opened.count(Route.CLOUD) == 1  # not in the middle of a turn
        d.audio(0.5)
        d.flush()
        assert d.opened.count(Route.CLOUD) == 2
        assert d.session.model == "local-model"
        d.ready()
        assert d.session.model == "cloud-model"
        assert not d.session.is_fallback
        assert d.events[-1] == FallbackOccurred("local-model", "cloud-model", "recovered", recovered=True)
        d.audio(0.5)
        request = d.predict()
        assert d.started[-1] == (Route.CLOUD, request)
        assert d.session.threshold("en") == 0.56

    def test_ready_in_the_middle_of_a_turn_waits_for_its_end(self) -> None:
        d = connected(fallback=self.options())
        d.failed()
        d.pass_time(10)
        d.flush()
        d.cancel()  # the user speaks
        d.audio(0.5)
        d.ready()
        assert d.session.is_fallback
        request = d.predict()
        assert d.started[-1] == (Route.LOCAL, request)
        d.answer(request, 0.9)
        d.flush()
        assert not d.session.is_fallback

    def test_a_try_that_fails_changes_nothing(self) -> None:
        d = connected(fallback=self.options())
        d.failed()
        d.pass_time(10)
        d.flush()
        d.failed("http_503")
        assert d.session.is_fallback
        assert len(d.events) == 1
        d.audio(0.5)
        d.flush()
        assert d.opened.count(Route.CLOUD) == 2
        d.pass_time(10)
        d.audio(0.5)
        d.flush()
        assert d.opened.count(Route.CLOUD) == 3

    def test_also_where_no_local_model_may_take_over(self) -> None:
        d = connected(no_local=True, fallback=FallbackOptions(enabled=False, recover_after=1.0))
        d.failed()
        d.pass_time(1)
        d.flush()
        d.ready()
        assert d.session.route is Route.CLOUD


class TestThresholds:
    def test_the_server_s_are_the_calibrated_ones(self) -> None:
        d = Driver(cloud=True)
        assert d.session.threshold("en") == 0.5  # nobody has said anything yet
        d.ready()
        assert d.session.threshold("en") == 0.56
        assert d.session.threshold("sv") == 0.56
        assert d.session.supports_language("de")
        assert not d.session.supports_language("sv")

    def test_overrides_are_rescaled_for_every_language_that_the_local_model_knows(self) -> None:
        d = connected(overrides=0.7)
        assert d.session.threshold("en") == 0.7
        d.failed()
        assert d.session.threshold("en") == pytest.approx(0.36 * 0.7 / 0.56)
        assert d.session.threshold("de") == pytest.approx(0.245 * 0.7 / 0.5)
        assert d.session.threshold("fr") == pytest.approx(0.285 * 0.7 / 0.56)  # not in the server's map

    def test_without_overrides_each_language_has_its_own_value(self) -> None:
        d = connected()
        d.failed()
        assert d.session.threshold("fr") == 0.285  # stock: the English one

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_update_options_in_either_order(self, when: str) -> None:
        """Stock loses the rescale where options change after a fallback (0.45 -> 0.7)."""
        d = connected()
        if when == "before":
            d.session.update_overrides(0.7)
        d.failed()
        if when == "after":
            d.session.update_overrides(0.7)
        assert d.session.threshold("en") == pytest.approx(0.45)

    def test_overrides_for_one_language_before_the_server_spoke(self) -> None:
        d = Driver(cloud=True, overrides={"de": 0.9})
        assert d.session.threshold("de") == 0.9
        d.ready()
        assert d.session.threshold("de") == 0.9
        assert d.session.threshold("en") == 0.56

    def test_a_cloud_that_was_never_reached_gives_no_scale(self) -> None:
        d = Driver(cloud=True, overrides=0.7)
        d.failed()
        assert d.session.threshold("en") == 0.7


class TestBackchannels:
    def ask(self, d: Driver, backchannel: float | None) -> None:
        d.answer(d.predict(), 0.2, route=Route.CLOUD, backchannel_probability=backchannel)

    def test_opportunity(self) -> None:
        d = connected()
        d.session.threshold("en-GB")
        self.ask(d, 0.5)
        assert d.events == [BackchannelOpportunity(0.5, 0.4, 0.2, 0.56, "en")]

    @pytest.mark.parametrize("backchannel", [0.39, None, math.nan, 7.0])
    def test_no_opportunity(self, backchannel: float | None) -> None:
        d = connected()
        self.ask(d, backchannel)
        assert not d.events

    def test_off_where_the_server_sends_none(self) -> None:
        d = Driver(cloud=True, backchannel_overrides=0.1)
        d.ready(Calibration({"en": 0.5}, 0.5))
        d.audio()
        self.ask(d, 0.9)
        assert d.session.backchannel_threshold("en") is None
        assert not d.events

    @pytest.mark.parametrize("override", [0.0, {"en": 0.0}])
    def test_off_for_a_threshold_that_is_not_positive(self, override: object) -> None:
        d = connected(backchannel_overrides=override)
        self.ask(d, 0.9)
        assert not d.events

    def test_off_after_a_fallback(self) -> None:
        d = connected()
        assert d.session.backchannel_threshold("en") == 0.4
        d.session.update_backchannel_overrides(0.3)
        assert d.session.backchannel_threshold("en") == 0.3
        d.failed()
        d.predict()
        assert d.session.backchannel_threshold("en") is None


def test_calibration_can_change_on_a_new_connection() -> None:
    d = connected()
    d.ready(Calibration({"en": 0.3}, 0.3))
    assert d.session.threshold("en") == 0.3
    assert CALIBRATION.default_threshold == 0.56
