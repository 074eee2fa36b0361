"""An operating point on a detector: threshold and delays for whichever model and language is active."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from fakes import fake_spec
from session_driver import CALIBRATION, Driver

import eot_core
from eot_core import EndpointingOptions, OperatingPoint, TurnDetector
from eot_core.effects import Route

CLOUD: dict[str, Any] = {"base_url": "ws://127.0.0.1:9", "api_key": "k", "api_secret": "s" * 32}


def test_it_is_exported_lazily() -> None:
    assert eot_core.OperatingPoint is OperatingPoint
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = eot_core.Nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "language", ["ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "nl", "pt", "tr", "zh"]
)
async def test_the_table_s_threshold_and_delays_in_14_languages(language: str) -> None:
    point = OperatingPoint(max_cutoff_rate=0.05)
    stream = TurnDetector(model="smart-turn-v3.2", operating_point=point).stream()
    wanted = point.resolve("smart-turn-v3.2", language)
    assert stream.unlikely_threshold(language) == wanted.threshold
    got = stream.endpointing(language)
    assert got is not None
    assert got.min_delay == max(0.3, wanted.options.min_delay)
    assert got.max_delay == wanted.options.max_delay
    await stream.aclose()


async def test_without_one_nothing_changes() -> None:
    stream = TurnDetector(model="smart-turn-v3.2").stream()
    assert stream.endpointing("en") is None
    assert stream.unlikely_threshold("en") == 0.5
    await stream.aclose()


async def test_what_is_explicit_goes_first() -> None:
    mine = EndpointingOptions(0.4, 0.8)
    stream = TurnDetector(
        model="smart-turn-v3.2", operating_point="quick", unlikely_threshold={"de": 0.7}, endpointing=mine
    ).stream()
    assert stream.unlikely_threshold("de") == 0.7
    assert stream.unlikely_threshold("en") == OperatingPoint("quick").resolve("smart-turn-v3.2", "en").threshold
    assert stream.endpointing("en") is mine
    stream.update_options(unlikely_threshold=0.9)
    assert stream.unlikely_threshold("en") == 0.9
    await stream.aclose()


def test_after_a_fallback_the_other_model_s_figures_hold() -> None:
    spec = fake_spec(name="smart-turn-v3.2", thresholds={"en": 0.5})
    point = OperatingPoint("patient")
    d = Driver(cloud=True, local=spec, cloud_model="turn-detector-v1", operating_point=point)
    d.ready(CALIBRATION)
    d.audio()
    assert d.session.threshold("en") == point.resolve("turn-detector-v1", "en").threshold
    d.answer(d.predict(), 0.4, route=Route.CLOUD)
    d.failed("http_503")
    # The answer that was given is still judged by the model that gave it.
    assert d.session.threshold("en") == point.resolve("turn-detector-v1", "en").threshold
    d.predict()
    local = point.resolve("smart-turn-v3.2", "en")
    assert d.session.threshold("en") == local.threshold
    options = d.session.endpointing("en")
    assert options is not None
    assert options.max_delay == local.options.max_delay


def test_a_fallback_model_that_was_not_measured_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "eot_core"):
        detector = TurnDetector(operating_point="quick", fallback_model=fake_spec(), **CLOUD)
    assert "no operating point was measured for fake-model" in caplog.text
    assert detector.describe_options()["operating_point"] == "quick"


def test_description() -> None:
    assert OperatingPoint(max_cutoff_rate=0.05).description == "max_cutoff_rate=0.05"
    assert OperatingPoint(max_latency=0.3).description == "max_latency=0.3"
    detector = TurnDetector(model="smart-turn", endpointing=EndpointingOptions(0.2, 1.0))
    assert detector.describe_options()["endpointing"] == {"min_delay": 0.2, "max_delay": 1.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operating_point": "fast"}, "operating_point must be one of quick, balanced, patient"),
        ({"operating_point": 5}, "operating_point must be a name or an OperatingPoint"),
        ({"operating_point": "quick", "model": fake_spec()}, "no operating point was measured for fake-model"),
        ({"calibration": "/no/such/file.json"}, "cannot be read"),
        ({"endpointing": {"min_delay": 0.3}}, "endpointing must be EndpointingOptions, got dict"),
    ],
)
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        TurnDetector(**arguments)


async def test_a_calibration_file(tmp_path: Path) -> None:
    path = tmp_path / "calls.json"
    path.write_text(
        '{"schema": "eot-calibration/1", "sources": {"c": {"title": "calls", "caveat": "few"}}, "models": {'
        '"smart-turn-v3.2": {"source": "c", "languages": {"en": {"holds": 10, "ends": 10, "points": [{"budget": '
        '"cutoff", "value": 0.1, "threshold": 0.33, "min_delay": 0.45, "max_delay": 1.75, "cutoff_rate": 0.1, '
        '"latency": 0.6}]}}}}}'
    )
    stream = TurnDetector(model="smart-turn-v3.2", calibration=path).stream()
    assert stream.unlikely_threshold("en") == 0.33
    assert stream.endpointing("en") == EndpointingOptions(0.45, 1.75)
    await stream.aclose()


async def test_an_explicit_threshold_takes_the_step(tmp_path: Path) -> None:
    """The falling curve knows no threshold: one that the user gave would be ignored."""
    path = tmp_path / "calls.json"
    path.write_text(
        '{"schema": "eot-calibration/1", "sources": {"c": {"title": "calls", "caveat": "few"}}, "models": {'
        '"smart-turn-v3.2": {"source": "c", "languages": {"en": {"holds": 10, "ends": 10, "points": [{"budget": '
        '"cutoff", "value": 0.1, "threshold": 0.33, "min_delay": 0.4, "max_delay": 2.0, "exponent": 2.0, '
        '"cutoff_rate": 0.1, "latency": 0.6}]}}}}}'
    )
    stream = TurnDetector(model="smart-turn-v3.2", calibration=path).stream()
    assert stream.endpointing("en") == EndpointingOptions(0.4, 2.0, exponent=2.0)
    stream.update_options(unlikely_threshold={"en": 0.6})
    assert stream.endpointing("en") == EndpointingOptions(0.4, 2.0)
    await stream.aclose()


@pytest.mark.parametrize("model", ["eot-open-1", "eot-open-1-fast", "eot-open-1-fast-6s", "eot-open-1-fast-4s"])
def test_our_own_models_were_measured_too(model: str) -> None:
    resolved = [OperatingPoint(name).resolve(model, "en") for name in ("quick", "balanced", "patient")]  # type: ignore[arg-type]
    rates = [each.cutoff_rate for each in resolved]
    assert rates == sorted(rates, reverse=True)
    assert resolved[2].cutoff_rate <= 0.05
    assert "openly licensed" in resolved[0].provenance
    assert "'de'" in OperatingPoint("quick").resolve(model, "de").provenance  # borrowed, and said so
