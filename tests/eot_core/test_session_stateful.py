"""Random interleavings of everything that can happen to a session. The driver checks the invariants at every step.

``EOT_INTERLEAVINGS`` sets how many are tried; `make fuzz` tries 10,000 (about a minute on an idle machine).
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from session_driver import CALIBRATION, Driver

from eot_core.effects import Route
from eot_core.events import Outcome
from eot_core.options import FallbackOptions
from eot_core.transports.base import Calibration

probabilities = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1)
routes = st.sampled_from(list(Route))


class SessionMachine(RuleBasedStateMachine):
    @initialize(
        cloud=st.booleans(),
        enabled=st.booleans(),
        retries=st.integers(0, 2),
        recover_after=st.none() | st.floats(0, 3),
        reserve=st.floats(0, 1),
    )
    def begin(self, cloud: bool, enabled: bool, retries: int, recover_after: float | None, reserve: float) -> None:
        self.driver = Driver(
            cloud=cloud,
            no_local=cloud and not enabled,
            fallback=FallbackOptions(
                enabled=enabled, retries=retries, recover_after=recover_after, reserve=reserve, retry_interval=0.3
            ),
        )

    @rule(seconds=st.floats(0, 0.3), rate=st.sampled_from([8_000, 16_000, 48_000]))
    def audio(self, seconds: float, rate: int) -> None:
        self.driver.audio(seconds, rate=rate)

    @rule()
    def predict(self) -> None:
        self.driver.predict()

    @rule(call=st.sampled_from(["cancel", "flush", "time_out"]))
    def user(self, call: str) -> None:
        getattr(self.driver, call)()

    @rule(seconds=st.floats(0, 1.5))
    def pass_time(self, seconds: float) -> None:
        self.driver.pass_time(seconds)

    @rule(back=st.integers(0, 3), probability=probabilities, route=routes)
    def answer(self, back: int, probability: float, route: Route) -> None:
        asked = list(self.driver.asked)
        request_id = asked[-1 - back] if back < len(asked) else "unknown"
        self.driver.answer(request_id, probability, route=route, backchannel_probability=probability)

    @rule(route=routes)
    def request_failed(self, route: Route) -> None:
        if self.driver.asked:
            self.driver.request_failed(list(self.driver.asked)[-1], route=route)

    @rule(calibration=st.sampled_from([CALIBRATION, Calibration({}, 0.0), None]))
    def connect(self, calibration: Calibration | None) -> None:
        self.driver.ready(calibration)

    @rule(route=routes, retryable=st.booleans(), reason=st.sampled_from(["http_401", "http_503", "closed_1000"]))
    def drop(self, route: Route, retryable: bool, reason: str) -> None:
        if route in self.driver.open_routes:
            self.driver.failed(reason, route=route, retryable=retryable)

    @rule(overrides=st.none() | st.floats(0, 1))
    def update(self, overrides: float | None) -> None:
        self.driver.session.update_overrides(overrides)

    @rule(language=st.sampled_from([None, "en", "de-AT", "multi", "sv", "fr"]))
    def look_up(self, language: str | None) -> None:
        session = self.driver.session
        assert 0.0 <= session.threshold(language) <= 1.0
        backchannel = session.backchannel_threshold(language)
        assert backchannel is None or 0.0 < backchannel <= 1.0
        session.supports_language(language)

    @rule()
    def close(self) -> None:
        self.driver.close()

    @invariant()
    def the_active_route_can_be_used(self) -> None:
        if not hasattr(self, "driver"):
            return
        session = self.driver.session
        if session.closed:
            assert not self.driver.open_routes
            assert session.pending is None
        assert len(self.driver.warnings) <= 4 + len(self.driver.events)

    def teardown(self) -> None:
        if not hasattr(self, "driver"):
            return
        self.driver.close()
        for request_id in self.driver.asked:
            assert self.driver.resolved[request_id].outcome in Outcome


TestSession = pytest.mark.timeout(1200)(SessionMachine.TestCase)
TestSession.settings = settings(
    max_examples=int(os.environ.get("EOT_INTERLEAVINGS", "2000")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
