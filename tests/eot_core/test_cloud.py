"""Cloud or local, and why; and that nothing secret shows."""

from __future__ import annotations

import pytest

from eot_core.cloud import DEFAULT_URL, STAGING_URL, CloudOptions, check_url, select

KEYS = {"LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "secret"}


def choose(env: dict[str, str], **changes: str | None) -> object:
    given: dict[str, str | None] = {"version": None, "base_url": None, "api_key": None, "api_secret": None}
    return select(**{**given, **changes}, env=env)


class TestSelect:
    @pytest.mark.parametrize(
        ("env", "changes", "reason"),
        [
            ({**KEYS, "LIVEKIT_REMOTE_EOT_URL": ""}, {}, "hosted"),
            ({**KEYS, "LIVEKIT_DEV_MODE": "1"}, {}, "development mode"),
            ({**KEYS, "LIVEKIT_INFERENCE_URL": "https://gw"}, {}, "LIVEKIT_INFERENCE_URL"),
            (KEYS, {"base_url": "ws://gw"}, "base_url"),
            (KEYS, {"version": "v1"}, "version='v1'"),
            ({}, {"version": "v1", "api_key": "a", "api_secret": "b"}, "version='v1'"),
        ],
    )
    def test_cloud(self, env: dict[str, str], changes: dict[str, str], reason: str) -> None:
        selection = choose(env, **changes)
        assert selection.cloud  # type: ignore[attr-defined]
        assert reason in selection.reason  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("env", "changes"),
        [
            ({}, {}),
            (KEYS, {}),
            ({**KEYS, "LIVEKIT_DEV_MODE": "0"}, {}),
            ({**KEYS, "LIVEKIT_DEV_MODE": "1"}, {"version": "v1-mini"}),
        ],
    )
    def test_local(self, env: dict[str, str], changes: dict[str, str]) -> None:
        selection = choose(env, **changes)
        assert not selection.cloud  # type: ignore[attr-defined]
        assert selection.warning is None  # type: ignore[attr-defined]

    def test_missing_credentials_where_it_was_automatic(self) -> None:
        selection = choose({"LIVEKIT_DEV_MODE": "1", "LIVEKIT_API_KEY": "key"})
        assert not selection.cloud  # type: ignore[attr-defined]
        assert "LIVEKIT_API_SECRET missing" in selection.warning  # type: ignore[attr-defined]
        assert "LIVEKIT_API_KEY" not in selection.warning  # type: ignore[attr-defined]

    def test_missing_credentials_where_it_was_pinned(self) -> None:
        with pytest.raises(ValueError, match="needs LIVEKIT_API_KEY and LIVEKIT_API_SECRET: set them"):
            choose({}, version="v1")
        with pytest.raises(ValueError, match="needs LIVEKIT_API_SECRET: set"):
            choose({}, version="v1", api_key="a")

    def test_order_of_precedence(self) -> None:
        env = {
            **KEYS,
            "LIVEKIT_INFERENCE_URL": "https://env",
            "LIVEKIT_INFERENCE_API_KEY": "ikey",
            "LIVEKIT_INFERENCE_API_SECRET": "isecret",
        }
        selection = choose(env)
        assert (selection.base_url, selection.api_key, selection.api_secret) == (  # type: ignore[attr-defined]
            "https://env",
            "ikey",
            "isecret",
        )
        given = choose(env, base_url="ws://mine", api_key="k", api_secret="s")
        assert (given.base_url, given.api_key, given.api_secret) == ("ws://mine", "k", "s")  # type: ignore[attr-defined]

    def test_default_urls(self) -> None:
        assert choose(KEYS, version="v1").base_url == DEFAULT_URL  # type: ignore[attr-defined]
        staging = {**KEYS, "LIVEKIT_URL": "wss://x.staging.livekit.cloud"}
        assert choose(staging, version="v1").base_url == STAGING_URL  # type: ignore[attr-defined]

    def test_the_process_s_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("LIVEKIT_API_KEY", raising=False)
        monkeypatch.delenv("LIVEKIT_INFERENCE_API_KEY", raising=False)
        monkeypatch.setenv("LIVEKIT_API_SECRET", "s")
        with pytest.raises(ValueError, match="needs LIVEKIT_API_KEY:"):
            select(version="v1", base_url=None, api_key=None, api_secret=None)

    def test_nothing_secret_shows(self) -> None:
        selection = choose({"LIVEKIT_API_KEY": "KKK", "LIVEKIT_API_SECRET": "SSS"}, version="v1")
        assert "KKK" not in repr(selection)
        assert "SSS" not in repr(selection)
        options = CloudOptions("ws://gw", "KKK", "SSS", headers={"Authorization": "HHH"})
        for secret in ("KKK", "SSS", "HHH"):
            assert secret not in repr(options)


class TestOptions:
    @pytest.mark.parametrize("url", ["ws://h", "wss://h:1/v1", "http://127.0.0.1:80", "https://h/x"])
    def test_url(self, url: str) -> None:
        assert check_url(url) == url

    @pytest.mark.parametrize("url", ["", "h", "ftp://h", "ws://", "http:///x", "ws://h:99999", "http://[::1", 5, None])
    def test_bad_url(self, url: object) -> None:
        with pytest.raises(ValueError, match="base_url"):
            check_url(url)

    def test_credentials_in_the_url_are_refused_unprinted(self) -> None:
        with pytest.raises(ValueError, match="must not hold credentials") as raised:
            check_url("https://user:hunter2@h")
        assert "hunter2" not in str(raised.value)

    @pytest.mark.parametrize("changes", [{"sample_rate": 0}, {"connect_timeout": 0}, {"connect_timeout": "x"}])
    def test_numbers(self, changes: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=next(iter(changes))):
            CloudOptions("ws://gw", "k", "s", **changes)  # type: ignore[arg-type]
