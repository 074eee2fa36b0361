"""v1-mini through LiveKit's own package."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from livekit import local_inference
from livekit_kit import noise

from adapters.livekit.mini import V1_MINI, resolve_model
from eot_core import ModelSpec
from eot_core.models.base import ModelError, ModelNotInstalledError


def test_it_says_what_livekits_native_model_says() -> None:
    pcm = noise(1.2)
    assert V1_MINI.is_available()
    assert round(V1_MINI.window * 16_000) == local_inference.EOT_MAX_SAMPLES == 19_200
    assert V1_MINI.load().predict(pcm) == local_inference.EOT().predict(pcm)


def test_only_the_newest_of_a_longer_recording_counts() -> None:
    pcm = noise(3.0)
    model = V1_MINI.load()
    assert model.predict(pcm) == model.predict(pcm[-19_200:])
    assert model.predict(np.repeat(pcm, 2)[::2]) == model.predict(pcm)  # a view with gaps


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livekit.local_inference", None)
    with pytest.raises(ModelNotInstalledError, match=r"pip install 'eot-adapters\[livekit\]'"):
        V1_MINI.load()


def test_a_library_that_cannot_load_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("bad weights")

    monkeypatch.setattr(local_inference, "EOT", broken)
    with pytest.raises(ModelError, match="cannot load turn-detector-v1-mini"):
        V1_MINI.load()


def test_names(tmp_path: Path) -> None:
    assert resolve_model("v1-mini") is resolve_model("turn-detector-v1-mini") is V1_MINI
    assert resolve_model(V1_MINI) is V1_MINI
    assert isinstance(resolve_model("smart-turn-v3.2"), ModelSpec)
    with pytest.raises(ValueError, match="; or turn-detector-v1-mini"):
        resolve_model("v1-maxi")
    with pytest.raises(ValueError, match=r"nowhere\.onnx") as raised:
        resolve_model(str(tmp_path / "nowhere.onnx"))
    assert "; or turn-detector-v1-mini" not in str(raised.value)
