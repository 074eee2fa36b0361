"""A model whose weights are not there, or are others: said when the detector is made, not in a call."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from fakes import fake_spec

from eot_core import TurnDetector
from eot_core.models import smart_turn
from eot_core.models.base import ModelIntegrityError, ModelNotInstalledError
from eot_core.models.onnx_file import onnx_file
from eot_core.models.registry import available_models
from eot_core.models.smart_turn import SMART_TURN_V3_2, smart_turn_spec
from eot_core.models.weights import PackagedFile

CLOUD: dict[str, Any] = {"base_url": "ws://127.0.0.1:9", "api_key": "KKKK", "api_secret": "SSSS"}


def missing() -> None:
    raise ModelNotInstalledError("fake-model is not installed: pip install it")


@pytest.mark.parametrize("model", ["eot-open-1", "eot-open-1-fast", "smart-turn-v3.2", None])
def test_a_detector_that_could_not_answer_is_not_made(model: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackagedFile, "locate", lambda self: None)
    for name in ("INFERENCE_URL", "REMOTE_EOT_URL", "DEV_MODE", "URL"):
        monkeypatch.delenv(f"LIVEKIT_{name}", raising=False)
    with pytest.raises(ModelNotInstalledError, match=r"is not installed: pip install 'eot-adapters\[(open|pipecat)\]'"):
        TurnDetector(model=model)


@pytest.mark.skipif(not SMART_TURN_V3_2.is_available(), reason="pipecat-ai carries the weights")
class TestOtherWeights:
    @pytest.fixture(autouse=True)
    def changed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        installed = smart_turn._FILE.locate()
        assert installed is not None
        content = bytearray(installed.read_bytes())
        content[-1] ^= 1
        copy = tmp_path / "smart-turn.onnx"
        copy.write_bytes(content)
        monkeypatch.setattr(PackagedFile, "locate", lambda self: copy)
        return copy

    @pytest.mark.parametrize("model", ["eot-open-1", "smart-turn-v3.2"])
    def test_are_refused(self, model: str, changed: Path) -> None:
        with pytest.raises(ModelIntegrityError, match="reinstall pipecat-ai") as refused:
            TurnDetector(model=model)
        assert str(changed) in str(refused.value)

    def test_are_not_available(self) -> None:
        assert available_models() == ()

    def test_at_a_path_of_ones_own_too(self, changed: Path) -> None:
        with pytest.raises(ModelIntegrityError, match="pass weights= the file that this version was measured with"):
            TurnDetector(model=smart_turn_spec(weights=changed))


def test_an_onnx_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ModelNotInstalledError, match="no file at"):
        TurnDetector(model=onnx_file(tmp_path / "gone.onnx"))


def test_behind_a_cloud_it_is_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    spec = fake_spec(check=missing)
    with caplog.at_level(logging.WARNING, "eot_core"):
        detectors = [TurnDetector(**CLOUD, fallback_model=spec) for _ in range(3)]
    assert [detector.model for detector in detectors] == ["turn-detector-v1"] * 3
    (record,) = caplog.records
    assert record.getMessage() == (
        "fake-model cannot take over when the cloud fails, and every pause will then end the turn: fake-model is not "
        "installed: pip install it"
    )


def test_without_a_fallback_nobody_asks_for_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "eot_core"):
        TurnDetector(**CLOUD, local_fallback=False, fallback_model=fake_spec(check=missing))
    assert not caplog.records
