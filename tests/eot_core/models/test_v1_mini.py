from __future__ import annotations

import pytest

from eot_core.models import v1_mini
from eot_core.models.base import Model, ModelNotInstalledError, PcmArray


class Half:
    def predict(self, pcm: PcmArray) -> float:
        return 0.5


def test_the_description() -> None:
    model = Half()

    def load() -> Model:
        return model

    def check() -> None:
        raise ModelNotInstalledError("no")

    spec = v1_mini.v1_mini_spec(load, check)
    assert (spec.name, spec.provider, spec.license) == ("turn-detector-v1-mini", "livekit", "LiveKit Model License")
    assert spec.window * 16_000 == 19_200
    assert spec.pre_speech is None
    assert spec.default_threshold == 0.36
    assert spec.load() is model
    assert not spec.is_available()


def test_the_thresholds_are_livekits() -> None:
    languages = pytest.importorskip("livekit.agents.inference.eot.languages", reason="livekit-agents, the source")
    assert dict(v1_mini.THRESHOLDS) == languages.LOCAL_LANGUAGES


def test_the_window_is_livekits() -> None:
    native = pytest.importorskip("livekit.local_inference", reason="livekit-local-inference, the source")
    assert v1_mini.WINDOW * 16_000 == native.EOT_MAX_SAMPLES
