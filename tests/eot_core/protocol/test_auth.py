"""Tokens: the same claims as livekit-agents', and nothing of them in a repr, a log or an exception."""

import base64
import json
import logging
import time
import traceback
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eot_core.protocol.auth import AuthError, Credentials, Secret, connection_headers, mint_token, verify_token

KEY, SECRET = "APIabcdef", "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"
NOW = 1_700_000_000.0
KEYS = {KEY: SECRET, "other": "another-secret-another-secret-another"}


def signed(claims: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    base = {"iss": KEY, "sub": "agent", "nbf": int(NOW), "exp": int(NOW) + 600, "inference": {"perform": True}}
    # Not jwt.encode, which refuses to sign claims as odd as these.
    return jwt.PyJWS().encode(json.dumps({**base, **claims}).encode(), secret, algorithm=algorithm)


def refused(token: Any, now: float = NOW) -> str:
    with pytest.raises(AuthError) as caught:
        verify_token(token, KEYS, now=now)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert SECRET not in shown
    assert len(str(token)) < 20 or token not in shown
    return caught.value.code


def test_a_token_opens_the_door() -> None:
    assert verify_token(mint_token(KEY, SECRET, now=NOW), KEYS, now=NOW) == KEY


def test_claims_are_exactly_those_of_livekit_agents() -> None:
    utils = pytest.importorskip("livekit.agents.inference._utils")
    now = time.time()
    theirs, ours = utils.create_access_token(KEY, SECRET), mint_token(KEY, SECRET, now=now)
    decode: Any = {"options": {"verify_signature": False}}
    expected, claims = jwt.decode(theirs, **decode), jwt.decode(ours, **decode)
    assert jwt.get_unverified_header(ours) == jwt.get_unverified_header(theirs)
    for name in ("nbf", "exp"):
        assert type(claims[name]) is type(expected[name])
        assert abs(claims[name] - expected[name]) <= 60, "minted a moment apart"
    assert claims["exp"] - claims["nbf"] == expected["exp"] - expected["nbf"] == 600
    assert {**claims, "nbf": 0, "exp": 0} == {**expected, "nbf": 0, "exp": 0}


def test_each_end_takes_the_others_token() -> None:
    utils = pytest.importorskip("livekit.agents.inference._utils")
    from livekit.api import TokenVerifier

    assert verify_token(utils.create_access_token(KEY, SECRET), KEYS, now=time.time()) == KEY
    claims = TokenVerifier(KEY, SECRET).verify(mint_token(KEY, SECRET, now=time.time()))
    assert claims.inference is not None
    assert claims.inference.perform is True


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"iss": "nobody"}, "unknown_key"),
        ({"iss": "other"}, "bad_signature"),
        ({"exp": int(NOW) - 61}, "expired"),
        ({"nbf": int(NOW) + 61}, "not_yet_valid"),
        ({"exp": "soon"}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": None}, "malformed"),
        ({"exp": float("nan")}, "malformed"),
        ({"exp": float("inf")}, "malformed"),
        ({"exp": 10**30}, "malformed"),
        ({"nbf": -5}, "malformed"),
        ({"inference": {"perform": False}}, "not_permitted"),
        ({"inference": {"perform": 1}}, "not_permitted"),
        ({"inference": "perform"}, "not_permitted"),
        ({"inference": None}, "not_permitted"),
    ],
)
def test_claims_that_do_not_open_it(claims: dict[str, Any], code: str) -> None:
    assert refused(signed(claims)) == code


def test_clocks_may_differ_a_little() -> None:
    assert verify_token(signed({"nbf": int(NOW) + 59}), KEYS, now=NOW) == KEY
    assert verify_token(signed({"exp": int(NOW) - 59}), KEYS, now=NOW) == KEY


def test_a_token_without_an_end_is_refused() -> None:
    token = jwt.encode({"iss": KEY, "inference": {"perform": True}}, SECRET, algorithm="HS256")
    assert refused(token) == "malformed"


def test_other_algorithms_are_refused() -> None:
    assert refused(signed({}, secret=SECRET * 2, algorithm="HS512")) == "malformed"
    header, body, _ = signed({}).split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    assert refused(f"{none}.{body}.") == "malformed"
    assert refused(f"{header}.{body}.") == "bad_signature"


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "....", "é.é.é", "\ud800", "x" * 9000, "e30.e30.e30", "W10.W10.W10", None, 7]
)
def test_what_is_no_token(token: Any) -> None:
    assert refused(token) in ("malformed", "unknown_key")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("alg", "iss", "exp", "crit")), inner),
    max_leaves=8,
)


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@given(st.text(max_size=100) | st.builds(lambda a, b, c: f"{_part(a)}.{_part(b)}.{_part(c)}", _json, _json, _json))
@settings(max_examples=300, deadline=None)
def test_hostile_tokens_end_in_an_auth_error(token: str) -> None:
    with pytest.raises(AuthError):
        verify_token(token, KEYS, now=NOW)


@given(_json)
@settings(max_examples=200, deadline=None)
def test_hostile_claims_with_a_good_signature_end_in_an_auth_error_too(value: Any) -> None:
    for name in ("exp", "nbf", "iss", "inference"):
        try:
            assert verify_token(signed({name: value}), KEYS, now=NOW) == KEY
        except AuthError:
            continue
        assert name in ("exp", "nbf"), "a time may happen to be a good one"


def test_deep_nesting_is_malformed() -> None:
    body = base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=")
    assert refused(f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{body}.x") == "malformed"


def test_a_tampered_token_is_refused() -> None:
    header, body, signature = mint_token(KEY, SECRET, now=NOW).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "exp": claims["exp"] + 10**6}).encode()).rstrip(b"=")
    assert refused(f"{header}.{forged.decode()}.{signature}") == "bad_signature"


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
def test_a_ttl_that_is_none(ttl: float) -> None:
    with pytest.raises(ValueError, match="ttl"):
        mint_token(KEY, SECRET, now=NOW, ttl=ttl)


@pytest.mark.parametrize(
    ("key", "secret", "name"), [("", "s", "api_key"), ("k", " ", "api_secret"), (1, "s", "api_key")]
)
def test_credentials_are_checked(key: Any, secret: Any, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Credentials(key, secret)


def test_headers_outside_and_inside_a_job() -> None:
    credentials = Credentials(KEY, SECRET)
    headers = connection_headers(credentials, now=NOW)
    assert set(headers) == {"Authorization", "User-Agent"}
    assert headers["User-Agent"].startswith("eot-adapters/")
    assert verify_token(headers["Authorization"].removeprefix("Bearer "), KEYS, now=NOW) == KEY
    assert connection_headers(credentials, now=NOW, user_agent="mine/1")["User-Agent"] == "mine/1"
    job = {"X-LiveKit-Room-ID": "RM_1", "user-agent": "LiveKit Agents/1", "AUTHORIZATION": "Bearer stolen"}
    for extra in (job, lambda: job):
        headers = connection_headers(credentials, now=NOW, extra=extra)
        assert headers["X-LiveKit-Room-ID"] == "RM_1"
        assert [(k, v) for k, v in headers.items() if k.lower() == "user-agent"] == [("user-agent", "LiveKit Agents/1")]
        assert [k for k in headers if k.lower() == "authorization"] == ["Authorization"]
        assert "stolen" not in headers["Authorization"]


@pytest.mark.parametrize("extra", [{"X-A": "a\r\nEvil: 1"}, {"X\n-A": "a"}])
def test_headers_cannot_be_injected(extra: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="line break"):
        connection_headers(Credentials(KEY, SECRET), now=NOW, extra=extra)


def test_nothing_secret_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    credentials = Credentials(KEY, SECRET)
    headers = connection_headers(credentials, now=NOW, extra={"X-LiveKit-Worker-Token": "w0rker"})
    token = headers["Authorization"].removeprefix("Bearer ")
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").debug("%s %r %r %r", credentials, credentials, headers, Secret(SECRET))
    for shown in (caplog.text, repr(credentials), str(credentials), repr([mint_token(KEY, SECRET, now=NOW)])):
        assert SECRET not in shown
        assert KEY not in shown
        assert token not in shown
        assert "w0rker" not in shown


def test_a_source_tree_that_was_never_installed_has_a_user_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    from eot_core.protocol import auth

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert auth.default_user_agent().startswith("eot-adapters/dev (python 3.")
