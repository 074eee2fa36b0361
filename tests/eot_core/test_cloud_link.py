"""The connection to the cloud, in figures."""

from __future__ import annotations

import math

import pytest

from eot_core.cloud_link import CloudLink
from eot_core.options import FallbackOptions


def link(**options: object) -> CloudLink:
    """One that is connected."""
    made = CloudLink(FallbackOptions(**options))  # type: ignore[arg-type]
    made.opened()
    made.connected()
    return made


def test_from_the_first_try_to_the_end() -> None:
    it = CloudLink(FallbackOptions())
    assert (it.is_open, it.is_ready) == (False, False)
    it.opened()
    assert (it.is_open, it.is_ready) == (True, False)
    it.connected()
    assert (it.is_open, it.is_ready) == (True, True)
    it.closed()
    assert (it.is_open, it.is_ready) == (False, False)


def test_a_new_connection_has_yet_to_connect() -> None:
    it = link()
    it.opened()
    assert not it.is_ready


class TestTries:
    def test_none_by_default(self) -> None:
        it = link()
        assert not it.failed(100.0, "http_503", retryable=True)
        assert it.retry_at is None
        assert not it.is_open
        assert not it.is_ready

    def test_each_waits_twice_as_long_until_there_are_none_left(self) -> None:
        it = link(retries=3, retry_interval=0.5)
        waits = []
        for now in (100.0, 200.0, 300.0):
            assert it.failed(now, "connect_error", retryable=True)
            assert it.retry_at is not None
            waits.append(it.retry_at - now)
            it.opened()
            assert it.retry_at is None
        assert waits == [0.5, 1.0, 2.0]
        assert not it.failed(400.0, "connect_error", retryable=True)

    def test_a_connection_is_no_proof_that_it_works(self) -> None:
        """Else one that connects and breaks at once would be tried for ever."""
        it = link(retries=1)
        it.failed(100.0, "closed", retryable=True)
        it.opened()
        it.connected()
        assert not it.failed(101.0, "closed", retryable=True)

    def test_one_that_did_its_work_has_them_all_again(self) -> None:
        it = link(retries=1, retry_interval=0.5)
        it.failed(100.0, "closed", retryable=True)
        it.opened()
        it.proved()
        assert it.failed(101.0, "closed", retryable=True)
        assert it.retry_at == 101.5

    @pytest.mark.parametrize(
        "reason",
        ["http_401", "http_403", "http_404", "invalid_thresholds", "protocol_error", "tls_error"],
    )
    def test_what_another_one_does_not_cure(self, reason: str) -> None:
        assert not link(retries=5).failed(100.0, reason, retryable=True)

    def test_where_none_is_wanted_none_is_used_up(self) -> None:
        it = link(retries=1)
        assert not it.failed(100.0, "timeout", retryable=False)
        it.opened()
        assert it.failed(101.0, "closed", retryable=True)

    def test_one_that_was_planned_goes_with_the_connection(self) -> None:
        it = link(retries=1)
        it.failed(100.0, "closed", retryable=True)
        it.closed()
        assert it.retry_at is None

    @pytest.mark.parametrize("interval", [0.0, 0.5, 1e300])
    def test_however_many_there_are_the_wait_is_a_number(self, interval: float) -> None:
        it = link(retries=1100, retry_interval=interval)
        for _ in range(1100):
            assert it.failed(100.0, "connect_error", retryable=True)
            assert it.retry_at is not None
            assert it.retry_at >= 100.0 + interval
            assert not math.isnan(it.retry_at)


class TestTheWayBack:
    def test_after_the_cool_down(self) -> None:
        it = link(recover_after=10.0)
        it.failed(100.0, "http_503", retryable=True)
        assert not it.may_recover(109.9)
        assert it.may_recover(110.0)

    def test_counted_from_the_last_failure(self) -> None:
        it = link(recover_after=10.0)
        it.failed(100.0, "http_503", retryable=False)
        it.opened()
        it.failed(112.0, "http_503", retryable=False)
        assert not it.may_recover(121.0)
        assert it.may_recover(122.0)

    def test_not_where_one_is_under_way(self) -> None:
        it = link(recover_after=0.0)
        it.failed(100.0, "http_503", retryable=False)
        it.opened()
        assert not it.may_recover(200.0)

    def test_not_where_it_is_switched_off(self) -> None:
        it = link()
        it.failed(100.0, "http_503", retryable=False)
        assert not it.may_recover(math.inf)

    def test_not_where_nothing_has_failed(self) -> None:
        assert not CloudLink(FallbackOptions(recover_after=0.0)).may_recover(100.0)
