"""A session whose cloud failed: tries at a new connection, and the way back."""

from __future__ import annotations

import math

import pytest
from session_driver import Driver, connected

from eot_core.effects import Route
from eot_core.events import FallbackOccurred
from eot_core.options import FallbackOptions


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
