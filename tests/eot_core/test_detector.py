from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeModel, fake_spec

import eot_core
from eot_core import FallbackOptions, TurnDetector
from eot_core.models.base import ModelLicenseError

CLOUD: dict[str, Any] = {"base_url": "ws://127.0.0.1:9", "api_key": "KKKK", "api_secret": "SSSS"}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INFERENCE_URL", "REMOTE_EOT_URL", "DEV_MODE", "API_KEY", "API_SECRET", "URL"):
        monkeypatch.delenv(f"LIVEKIT_{name}", raising=False)
    monkeypatch.delenv("LIVEKIT_INFERENCE_API_KEY", raising=False)
    monkeypatch.delenv("LIVEKIT_INFERENCE_API_SECRET", raising=False)


class TestChoice:
    def test_default_is_local(self) -> None:
        detector = TurnDetector()
        assert detector.model == "eot-open-1"
        assert detector.provider == "eot-adapters"
        assert "neither hosted" in detector.selected_because
        assert detector.prediction_timeout == 1.0

    def test_a_gateway(self) -> None:
        detector = TurnDetector(**CLOUD)
        assert (detector.model, detector.provider) == ("turn-detector-v1", "livekit")
        assert detector.local_model is not None
        assert detector.local_model.name == "eot-open-1"

    @pytest.mark.parametrize("pin", [{"version": "v1"}, {"model": "turn-detector-v1"}, {"model": "v1"}])
    def test_pinned_cloud(self, pin: dict[str, str]) -> None:
        assert TurnDetector(**pin, **CLOUD).model == "turn-detector-v1"
        with pytest.raises(ValueError, match="LIVEKIT_API_KEY and LIVEKIT_API_SECRET"):
            TurnDetector(**pin)  # type: ignore[arg-type]

    def test_version_and_model_may_say_the_same(self) -> None:
        assert TurnDetector(version="v1", model="turn-detector-v1", **CLOUD).model == "turn-detector-v1"

    def test_a_model_pins_it_although_a_gateway_is_named(self) -> None:
        assert TurnDetector(model="smart-turn-v3.2", **CLOUD).model == "smart-turn-v3.2"

    def test_automatic_without_credentials_warns_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("LIVEKIT_DEV_MODE", "1")
        with caplog.at_level(logging.WARNING, "eot_core"):
            assert TurnDetector().model == "eot-open-1"
        assert len(caplog.records) == 1
        assert "LIVEKIT_API_KEY and LIVEKIT_API_SECRET missing" in caplog.text

    def test_no_fallback(self) -> None:
        assert TurnDetector(local_fallback=False, **CLOUD).local_model is None
        assert TurnDetector(fallback=FallbackOptions(enabled=False), **CLOUD).local_model is None

    def test_no_fallback_says_nothing_to_a_local_model(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "eot_core"):
            TurnDetector(local_fallback=False)
        assert "no effect" in caplog.text

    def test_fallback_model(self) -> None:
        spec = fake_spec()
        assert TurnDetector(fallback_model=spec, **CLOUD).local_model is spec

    @pytest.mark.parametrize("pin", [{"version": "v1-mini"}, {"model": "turn-detector-v1-mini"}, {"model": "v1-mini"}])
    def test_v1_mini_is_refused_with_its_licence(self, pin: dict[str, str]) -> None:
        with pytest.raises(ModelLicenseError, match="LiveKit Model License") as raised:
            TurnDetector(**pin)  # type: ignore[arg-type]
        assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"version": "v2"}, "version must be one of 'v1', 'v1-mini', got 'v2'"),
        ({"version": "v1", "model": "smart-turn-v3.2"}, "name different models"),
        ({"model": "smarter-turn"}, "smart-turn-v3.2"),
        ({"model": "/no/such/file.onnx"}, "file.onnx"),
        ({"model": 5}, "model"),
        ({"unlikely_threshold": 1.2}, "unlikely_threshold must be between 0 and 1, got 1.2"),
        ({"unlikely_threshold": {"de": -1}}, r"unlikely_threshold\['de'\]"),
        ({"unlikely_threshold": {"multi": 0.5}}, "names no language"),
        ({"backchannel_threshold": "x"}, "backchannel_threshold must be a number between 0 and 1"),
        ({"sample_rate": 4_000}, "sample_rate must be a whole number from 8000 to 48000"),
        ({"prediction_timeout": 0}, "prediction_timeout must be more than 0"),
        ({"prediction_timeout": "1"}, "prediction_timeout must be a number of seconds"),
        ({"local_fallback": "yes"}, "local_fallback must be True or False"),
        ({"fallback": {}}, "fallback must be FallbackOptions, got dict"),
        ({"fallback": FallbackOptions(), "local_fallback": False}, "set both to the same"),
        ({"base_url": "gateway"}, "base_url must begin with ws://"),
        ({"base_url": "https://gateway.example/v1?region=eu"}, "base_url must not have a query or a fragment"),
        ({"base_url": "https://gateway.example/v1#eot"}, "base_url must not have a query or a fragment"),
        ({"connect_timeout": -1}, "connect_timeout must be"),
        ({"unlikely_threshold": np.array([0.1, 0.2])}, "unlikely_threshold must be a number between 0 and 1"),
        ({"api_key": 5}, "api_key must be a string, got int"),
        ({"api_secret": b"x"}, "api_secret must be a string, got bytes"),
        ({"http_session": "x"}, "http_session must be an aiohttp.ClientSession or a function"),
        ({"ssl": "ca.pem"}, "ssl must be an ssl.SSLContext, True or False, got str"),
        ({"headers": ["X: y"]}, "headers must be a mapping or a function that gives one, got list"),
        ({"clock": 5}, "clock must be an eot_core.clock.Clock, got int"),
        ({"fallback_model": "smarter-turn"}, "smarter-turn"),
        ({"endpointing": 1}, "endpointing must be EndpointingOptions, got int"),
    ],
)
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        TurnDetector(**arguments)


def test_a_bad_url_in_the_environment_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_INFERENCE_URL", "gateway.example")
    with pytest.raises(ValueError, match="LIVEKIT_INFERENCE_URL must begin with ws://"):
        TurnDetector(api_key="KKKK", api_secret="SSSS")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": " "}, "name must be a non-empty string"),
        ({"window": -8.0}, "window must be more than 0 seconds"),
        ({"window": float("nan")}, "window must be a number of seconds"),
        ({"window": 4_000.0}, "window must be at most 3600 seconds"),
        ({"pre_speech": -1.0}, "pre_speech must be 0 or more seconds"),
        ({"default_threshold": 5}, "default_threshold must be a number between 0 and 1, got 5"),
        ({"thresholds": {"en": 1.5}}, r"thresholds\['en'\] must be a number between 0 and 1"),
        ({"thresholds": {"pt-BR": 0.5}}, "thresholds has the key 'pt-BR': use language keys"),
        ({"load": None}, "load must be callable, got NoneType"),
        ({"check": True}, "check must be callable, got bool"),
    ],
)
def test_a_spec_that_makes_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        fake_spec(**changes)


def test_stream_needs_a_loop() -> None:
    with pytest.raises(RuntimeError):
        TurnDetector().stream()


class TestOverrides:
    def test_one_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "eot_core"):
            detector = TurnDetector(unlikely_threshold={"pt-BR": 0.4})
            detector.update_options(unlikely_threshold=0.3)
        assert len(caplog.records) == 1
        assert "{'pt': 0.4}" in caplog.text

    def test_no_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "eot_core"):
            TurnDetector().update_options()
        assert not caplog.records

    async def test_update_reaches_open_and_coming_streams(self) -> None:
        detector = TurnDetector(model=fake_spec(), backchannel_threshold=0.2)
        first = detector.stream()
        detector.update_options(unlikely_threshold=0.9, backchannel_threshold=0.3)
        second = detector.stream()
        assert first.unlikely_threshold("en") == second.unlikely_threshold("en") == 0.9
        with pytest.raises(ValueError, match="unlikely_threshold"):
            detector.update_options(unlikely_threshold=9)
        assert first.unlikely_threshold("en") == 0.9
        await asyncio.gather(first.aclose(), second.aclose())

    async def test_streams_own_their_thresholds(self) -> None:
        detector = TurnDetector(model=fake_spec())
        first, second = detector.stream(), detector.stream()
        first.update_options(unlikely_threshold=0.9)
        assert second.unlikely_threshold("en") == 0.5
        await asyncio.gather(first.aclose(), second.aclose())


class TestDescription:
    def test_no_secrets_nor_endpoints(self) -> None:
        detector = TurnDetector(unlikely_threshold=0.4, backchannel_threshold={"en": 0.3}, **CLOUD)
        for text in (repr(detector), str(detector.describe_options()), str(vars(detector))):
            assert "KKKK" not in text
            assert "SSSS" not in text
        assert "127.0.0.1" not in repr(detector)
        options = detector.describe_options()
        assert options["threshold_overrides"] == 0.4
        assert options["backchannel_threshold_overrides"] == {"en": 0.3}
        assert options["fallback_model"] == "eot-open-1"

    def test_local(self) -> None:
        assert TurnDetector().describe_options() == {
            "model": "eot-open-1",
            "provider": "eot-adapters",
            "prediction_timeout": 1.0,
            "local_fallback": True,
        }


async def test_events_of_all_streams() -> None:
    detector = TurnDetector(model=fake_spec())
    seen: list[Any] = []
    listener = detector.on("prediction", seen.append)
    streams = [detector.stream(), detector.stream()]
    for stream in streams:
        await stream.predict()
    detector.off("prediction", listener)
    await streams[0].predict()
    assert len(seen) == 2
    with pytest.raises(ValueError, match="event must be one of"):
        detector.on("nothing", print)
    for stream in streams:
        await stream.aclose()


def test_warm_up() -> None:
    model = FakeModel()
    TurnDetector(model=fake_spec(model)).warm_up()
    assert len(model.calls) == 1
    TurnDetector(local_fallback=False, **CLOUD).warm_up()


@pytest.mark.parametrize("name", ["smart-turn-v3.2", None])
async def test_a_real_model_end_to_end(name: str | None) -> None:
    import numpy as np

    stream = TurnDetector(model=name, prediction_timeout=20.0).stream()
    stream.push_audio(np.zeros(16_000, dtype=np.int16))
    prediction = await stream.predict()
    assert prediction.model == (name or "eot-open-1")
    assert prediction.source == "local"
    assert 0.0 <= prediction.probability <= 1.0
    assert prediction.inference_time > 0
    await stream.aclose()


def test_available_models() -> None:
    names = [spec.name for spec in eot_core.available_models()]
    assert "smart-turn-v3.2" in names
    assert "turn-detector-v1-mini" not in names


async def test_a_user_s_onnx_by_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.onnx"):
        TurnDetector(model=tmp_path / "nothing.onnx")


def test_options_may_change_while_another_thread_opens_streams() -> None:
    """Workers run each conversation on a loop, and in a thread, of its own."""
    detector = TurnDetector(model=fake_spec())
    over = threading.Event()

    async def converse() -> None:
        for _ in range(1_000):
            await detector.stream().aclose()

    def run() -> None:
        asyncio.run(converse())
        over.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not over.is_set():
            detector.update_options(unlikely_threshold=0.4)
    finally:
        thread.join()
