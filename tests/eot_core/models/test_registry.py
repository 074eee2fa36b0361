from __future__ import annotations

from pathlib import Path

import pytest

from eot_core import ModelSpec, TurnDetector
from eot_core.models import registry, v1_mini
from eot_core.models.base import ModelLicenseError
from eot_core.models.eot_open import EOT_OPEN
from eot_core.models.registry import available_models, default_model, resolve_model
from eot_core.models.smart_turn import SMART_TURN_V3_2, smart_turn_spec


@pytest.mark.parametrize("name", ["smart-turn-v3.2", "smart-turn"])
def test_by_name(name: str) -> None:
    assert resolve_model(name) is SMART_TURN_V3_2


def test_a_spec_is_what_it_is() -> None:
    spec = smart_turn_spec(weights="elsewhere.onnx")
    assert resolve_model(spec) is spec


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_path(tmp_path: Path, as_type: type) -> None:
    (tmp_path / "mine.onnx").touch()
    spec = resolve_model(as_type(tmp_path / "mine.onnx"))
    assert (spec.name, spec.window, spec.default_threshold) == ("mine", 8.0, 0.5)


@pytest.mark.parametrize("name", ["v1-mini", "turn-detector-v1-mini"])
def test_v1_mini_is_refused_with_its_licence(name: str) -> None:
    with pytest.raises(ModelLicenseError, match=r"only inside LiveKit Agents \(LiveKit Model License\)"):
        resolve_model(name)


@pytest.mark.parametrize("name", ["", "smart-turn-v9", "v1", Path("folder/model.bin")])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown: choose one of eot-open-1, .*smart-turn, or a path"):
        resolve_model(name)


def test_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="model must be a name"):
        resolve_model(None)  # type: ignore[arg-type]


def test_only_installed_models_are_available(monkeypatch: pytest.MonkeyPatch) -> None:
    known = (*EOT_OPEN, SMART_TURN_V3_2)
    assert available_models() == tuple(spec for spec in known if spec.is_available())
    monkeypatch.setattr(registry, "known_models", lambda: (smart_turn_spec(weights="/nowhere/x.onnx"),))
    assert available_models() == ()


def test_the_default_model() -> None:
    assert default_model().name == "eot-open-1"


def test_the_default_without_onnx_is_smart_turn_as_shipped_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EOT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    registry._warn_that_onnx_is_missing.cache_clear()
    assert default_model() is SMART_TURN_V3_2
    assert TurnDetector(model=None).model == "smart-turn-v3.2"
    (record,) = caplog.records
    assert "smart-turn-v3.2 as shipped takes the place of eot-open-1" in record.message
    assert "pip install 'eot-adapters[open]'" in record.message


def test_the_default_without_any_weights_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = smart_turn_spec(weights="/nowhere/x.onnx")
    monkeypatch.setattr(registry, "SMART_TURN_V3_2", missing)
    monkeypatch.setattr("eot_core.models.eot_open.EOT_OPEN_1", missing)
    registry._warn_that_onnx_is_missing.cache_clear()
    assert default_model() is missing  # and loading it says what is missing


@pytest.mark.parametrize("changes", [{"name": v1_mini.NAME}, {"name": "mine", "license": v1_mini.LICENSE}])
def test_a_spec_of_v1_mini_is_refused_as_its_name_is(changes: dict[str, str]) -> None:
    values = {"name": "mine", "provider": "tests", "license": "none", **changes}
    spec = ModelSpec(**values, window=1.2, load=lambda: None, default_threshold=0.36)  # type: ignore[arg-type, return-value]
    with pytest.raises(ModelLicenseError, match="LiveKit Model License"):
        resolve_model(spec)
    with pytest.raises(ModelLicenseError, match="LiveKit Model License"):
        TurnDetector(model=spec)
