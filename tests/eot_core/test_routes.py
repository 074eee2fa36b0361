"""The two ways to a model. How requests and audio follow them: ``test_session_cloud.py``."""

from __future__ import annotations

import pytest
from session_driver import local_spec

from eot_core.effects import CloseTransport, Effect, Notify, OpenTransport, Route, Warn
from eot_core.events import FallbackOccurred
from eot_core.options import FallbackOptions
from eot_core.routes import Routes
from eot_core.settings import SessionOptions

OPEN_CLOUD, OPEN_LOCAL = OpenTransport(Route.CLOUD), OpenTransport(Route.LOCAL)
CLOSE_CLOUD, CLOSE_LOCAL = CloseTransport(Route.CLOUD), CloseTransport(Route.LOCAL)
LEFT = Notify(FallbackOccurred("cloud-model", "local-model", "http_503"))
BACK = Notify(FallbackOccurred("local-model", "cloud-model", "recovered", recovered=True))


def routes(*, cloud: bool = True, local: bool = True, **fallback: object) -> Routes:
    return Routes(
        SessionOptions(
            cloud_model="cloud-model" if cloud else None,
            local=local_spec() if local else None,
            fallback=FallbackOptions(**fallback),  # type: ignore[arg-type]
        )
    )


def opened(**options: object) -> Routes:
    made = routes(**options)  # type: ignore[arg-type]
    made.open()
    return made


def without_warnings(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Warn)]


def fail(it: Routes, now: float = 100.0, reason: str = "http_503") -> list[Effect]:
    return without_warnings(it.cloud_failed(now, reason, retryable=True))


class TestBeginning:
    def test_the_local_model_is_warmed_up_behind_the_cloud(self) -> None:
        it = routes()
        assert it.open() == [OPEN_CLOUD, OPEN_LOCAL]
        assert (it.active, it.model, it.is_fallback) == (Route.CLOUD, "cloud-model", False)

    def test_but_not_where_it_may_not_take_over(self) -> None:
        it = routes(enabled=False)
        assert it.open() == [OPEN_CLOUD]
        assert not it.has_local

    def test_local_only(self) -> None:
        it = routes(cloud=False, enabled=False)
        assert it.open() == [OPEN_LOCAL]
        assert (it.active, it.model, it.is_fallback) == (Route.LOCAL, "local-model", False)
        assert it.has_local

    def test_what_is_open_is_not_opened_again(self) -> None:
        assert opened().open_local() == []


class TestUsable:
    """Where a request can be started."""

    def test_the_active_one(self) -> None:
        assert opened().usable is Route.CLOUD
        assert opened(cloud=False).usable is Route.LOCAL

    def test_between_two_tries_the_local_model(self) -> None:
        it = opened(retries=1)
        fail(it)
        assert (it.active, it.usable) == (Route.CLOUD, Route.LOCAL)
        it.open_cloud()
        assert it.usable is Route.CLOUD

    def test_or_none_of_them(self) -> None:
        it = opened(local=False, retries=1)
        fail(it)
        assert (it.active, it.usable) == (Route.CLOUD, None)


class TestLeaving:
    def test_for_the_local_model(self) -> None:
        it = opened()
        assert fail(it) == [CLOSE_CLOUD, LEFT]
        assert (it.active, it.model, it.is_fallback) == (Route.LOCAL, "local-model", True)

    def test_for_nothing(self) -> None:
        it = opened(enabled=False)
        assert fail(it) == [CLOSE_CLOUD, Notify(FallbackOccurred("cloud-model", None, "http_503"))]
        assert (it.active, it.model, it.is_fallback) == (None, "cloud-model", True)

    def test_only_after_the_last_try(self) -> None:
        it = opened(retries=1, retry_interval=0.5)
        assert fail(it, 100.0) == [CLOSE_CLOUD]
        assert it.cloud.retry_at == 100.5
        it.open_cloud()
        assert fail(it, 101.0) == [CLOSE_CLOUD, LEFT]
        assert it.cloud.retry_at is None

    def test_while_it_waits_for_a_try_there_is_nothing_to_close(self) -> None:
        it = opened(retries=1)
        fail(it)
        assert without_warnings(it.cloud_failed(100.1, "timeout", retryable=False)) == [
            Notify(FallbackOccurred("cloud-model", "local-model", "timeout"))
        ]
        assert it.cloud.retry_at is None


class TestTheWayBack:
    def left(self, **options: object) -> Routes:
        it = opened(**{"recover_after": 10.0, **options})
        fail(it, 100.0)
        return it

    def test_tried_at_the_end_of_a_turn_and_taken_when_it_is_there(self) -> None:
        it = self.left()
        assert it.turn_ended(105.0) == []
        assert it.turn_ended(110.0) == [OPEN_CLOUD]
        assert it.turn_ended(111.0) == []  # it has yet to connect
        assert it.is_fallback
        assert it.cloud_connected(between_turns=True) == [BACK]
        assert (it.active, it.is_fallback) == (Route.CLOUD, False)

    def test_a_turn_that_has_begun_is_finished_on_the_model_it_began_on(self) -> None:
        it = self.left()
        it.turn_ended(110.0)
        assert it.cloud_connected(between_turns=False) == []
        assert it.is_fallback
        assert it.turn_ended(112.0) == [BACK]

    def test_a_try_that_fails_leaves_all_as_it_is(self) -> None:
        it = self.left(retries=2)
        for _ in range(2):  # those are gone: the way back has none of its own
            it.open_cloud()
            fail(it, 100.0)
        assert it.is_fallback
        it.turn_ended(110.0)
        assert it.cloud_failed(111.0, "http_503", retryable=True) == [CLOSE_CLOUD]
        assert it.cloud.retry_at is None
        assert it.turn_ended(120.0) == []
        assert it.turn_ended(121.0) == [OPEN_CLOUD]

    def test_then_it_has_all_tries_again(self) -> None:
        it = self.left(retries=1)
        it.open_cloud()
        fail(it, 100.0)
        it.turn_ended(110.0)
        it.cloud_connected(between_turns=True)
        assert fail(it, 120.0) == [CLOSE_CLOUD]
        assert it.cloud.retry_at is not None

    def test_also_from_nothing(self) -> None:
        it = self.left(local=False)
        assert it.turn_ended(110.0) == [OPEN_CLOUD]
        assert it.cloud_connected(between_turns=True) == [
            Notify(FallbackOccurred("cloud-model", "cloud-model", "recovered", recovered=True))
        ]

    def test_nothing_to_come_back_to(self) -> None:
        assert opened(recover_after=0.0).turn_ended(100.0) == []
        assert opened(cloud=False, recover_after=0.0).turn_ended(100.0) == []


class TestWarnings:
    """Each once."""

    def test_the_local_model(self) -> None:
        it = opened()
        (warning,) = it.local_did_not_answer("model_error: X")
        assert isinstance(warning, Warn)
        assert "local-model failed (model_error: X)" in warning.message
        assert it.local_did_not_answer("model_error: Y") == []

    def test_the_cloud_was_late(self) -> None:
        it = opened(local=False)
        (warning,) = it.cloud_was_late()
        assert isinstance(warning, Warn)
        assert "cloud-model did not answer in time" in warning.message
        assert it.cloud_was_late() == []

    @pytest.mark.parametrize(("local", "said"), [(True, "local-model takes over"), (False, "local_fallback is off")])
    def test_the_cloud_was_left_and_again_after_it_was_back(self, local: bool, said: str) -> None:
        it = opened(local=local, recover_after=0.0)
        for now in (100.0, 200.0):
            *_, warning = it.cloud_failed(now, "http_503", retryable=False)
            assert isinstance(warning, Warn)
            assert "cloud-model failed (http_503)" in warning.message
            assert said in warning.message
            it.turn_ended(now)
            it.cloud_connected(between_turns=True)


class TestTheEnd:
    def test_all_that_is_open(self) -> None:
        it = opened()
        assert [*it.close_cloud(), *it.close_local()] == [CLOSE_CLOUD, CLOSE_LOCAL]
        assert [*it.close_cloud(), *it.close_local()] == []
        assert it.open_local() == [OPEN_LOCAL]

    def test_a_try_that_was_planned(self) -> None:
        it = opened(retries=1)
        fail(it)
        assert it.close_cloud() == []
        assert it.cloud.retry_at is None
