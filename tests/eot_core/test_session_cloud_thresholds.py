"""A session on the cloud: whose thresholds hold, and backchannels."""

from __future__ import annotations

import math

import pytest
from session_driver import CALIBRATION, Driver, connected

from eot_core.effects import Route
from eot_core.events import BackchannelOpportunity
from eot_core.transports.base import Calibration


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
