"""Every public constructor and method of the adapter names the argument that is wrong, and says what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import NOT_GIVEN, APIConnectOptions

from adapters.livekit import TurnDetector, TurnDetectorStream
from eot_core import FallbackOptions


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"version": "v2"}, ValueError, "version must be one of 'v1', 'v1-mini', got 'v2'"),
        ({"version": 1}, TypeError, "version must be str or None, got int"),
        ({"version": "v1"}, ValueError, "needs LIVEKIT_API_KEY and LIVEKIT_API_SECRET"),
        ({"version": "v1", "model": "smart-turn-v3.2"}, ValueError, "name different models"),
        ({"model": "v3-mini"}, ValueError, "model 'v3-mini' is unknown: choose one of eot-open-1"),
        ({"model": "v3-mini"}, ValueError, "; or turn-detector-v1-mini"),
        ({"model": 3}, TypeError, "model must be a name, a path or a ModelSpec, got int"),
        ({"model": "/nowhere/model.onnx"}, ValueError, "/nowhere/model.onnx"),
        ({"unlikely_threshold": 1.2}, ValueError, "unlikely_threshold must be between 0 and 1, got 1.2"),
        ({"unlikely_threshold": "high"}, ValueError, "unlikely_threshold must be a number between 0 and 1"),
        ({"unlikely_threshold": {"multi": 0.5}}, ValueError, "'multi', which names no language: use BCP-47 tags"),
        ({"unlikely_threshold": {"en-US": 0.5, "en-GB": 0.6}}, ValueError, "gives two thresholds for 'en'"),
        ({"backchannel_threshold": {"en": 2.0}}, ValueError, "backchannel_threshold['en'] must be between 0 and 1"),
        ({"base_url": 8080}, TypeError, "base_url must be str or None, got int"),
        ({"base_url": "localhost:8080"}, ValueError, "base_url must begin with ws://, wss://, http:// or https://"),
        ({"base_url": "https://me:pw@host/v1"}, ValueError, "base_url must not hold credentials: pass api_key"),
        ({"api_key": b"key"}, TypeError, "api_key must be str or None, got bytes"),
        ({"api_secret": 7}, TypeError, "api_secret must be str or None, got int"),
        ({"sample_rate": 4_000}, ValueError, "sample_rate must be a whole number from 8000 to 48000 Hz"),
        ({"sample_rate": "16k"}, ValueError, "sample_rate must be a whole number of Hz"),
        ({"local_fallback": "no"}, TypeError, "local_fallback must be True or False, got 'no'"),
        ({"prediction_timeout": 0}, ValueError, "prediction_timeout must be more than 0 seconds"),
        ({"prediction_timeout": "1s"}, ValueError, "prediction_timeout must be a number of seconds"),
        ({"http_session": "session"}, TypeError, "http_session must be ClientSession or None, got str"),
        ({"conn_options": {"timeout": 3}}, TypeError, "conn_options must be APIConnectOptions or None, got dict"),
        ({"ssl": "ca.pem"}, TypeError, "ssl must be SSLContext or bool or None, got str"),
        ({"fallback": True}, TypeError, "fallback must be FallbackOptions, got bool"),
        (
            {"fallback": FallbackOptions(), "local_fallback": False},
            ValueError,
            "local_fallback is False but fallback.enabled is True: set both to the same",
        ),
        (
            {"fallback_model": "v9", "base_url": "http://h/v1", "api_key": "k", "api_secret": "s"},
            ValueError,
            "model 'v9' is unknown",
        ),
        (
            {"conn_options": APIConnectOptions(timeout=0)},
            ValueError,
            "conn_options.timeout must be more than 0 seconds",
        ),
    ],
)
def test_detector(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as raised:
        TurnDetector(**arguments)
    assert "pw" not in str(raised.value)


def test_what_is_not_given_is_not_wrong() -> None:
    names = TurnDetector.__init__.__kwdefaults__ or {}
    assert set(names.values()) == {NOT_GIVEN}
    assert TurnDetector(**dict.fromkeys(names, NOT_GIVEN)).model == "turn-detector-v1-mini"
    may_be_none = set(names) - {"sample_rate", "local_fallback", "prediction_timeout"}
    assert TurnDetector(**dict.fromkeys(may_be_none, None)).model == "turn-detector-v1-mini"


async def test_methods(tmp_path: Path) -> None:
    detector = TurnDetector()
    with pytest.raises(ValueError, match=r"unlikely_threshold must be between 0 and 1, got 3\.0"):
        detector.update_options(unlikely_threshold=3.0)
    with pytest.raises(ValueError, match="backchannel_threshold has the key 'und', which names no language"):
        detector.update_options(unlikely_threshold=0.9, backchannel_threshold={"und": 0.5})
    assert "threshold_overrides" not in detector.describe_options()
    with pytest.raises(TypeError, match="conn_options must be APIConnectOptions or None, got float"):
        detector.stream(conn_options=3.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=re.escape("core must be an eot_core.DetectorStream")):
        TurnDetectorStream(detector)  # type: ignore[arg-type]


def test_a_stream_needs_an_event_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        TurnDetector().stream()
