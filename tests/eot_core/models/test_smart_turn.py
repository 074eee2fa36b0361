from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from eot_core.models.base import ModelIntegrityError, ModelNotInstalledError
from eot_core.models.smart_turn import _FILE, SMART_TURN_V3_2, smart_turn_spec

AUDIO = Path(__file__).parents[4] / "shared" / "audio"


@pytest.fixture(scope="module")
def weights() -> Path:
    path = _FILE.locate()
    if path is None:
        pytest.skip("pipecat-ai is not installed")
    return path


def test_the_description() -> None:
    spec = SMART_TURN_V3_2
    assert (spec.name, spec.provider, spec.license, spec.window) == ("smart-turn-v3.2", "pipecat", "BSD-2-Clause", 8.0)
    assert spec.pre_speech == pytest.approx(0.7)
    assert len(spec.thresholds) == 23
    assert set(spec.thresholds.values()) == {0.5}


def test_the_probability_is_pipecats() -> None:
    stock = pytest.importorskip("pipecat.audio.turn.smart_turn.local_smart_turn_v3", reason="pipecat-ai, the reference")
    analyzer = stock.LocalSmartTurnAnalyzerV3(sample_rate=16_000)
    model = SMART_TURN_V3_2.load()
    soundfile = pytest.importorskip("soundfile")
    clips = [np.random.default_rng(n).integers(-4_000, 4_000, n, dtype=np.int16) for n in (1, 16_000, 128_000)]
    clips += [soundfile.read(path, dtype="int16")[0] for path in sorted((AUDIO / "alphanumeric").glob("*.flac"))[:4]]
    for clip in clips:
        expected = analyzer._predict_endpoint(clip.astype(np.float32) / 32_768)["probability"]
        assert model.predict(clip) == pytest.approx(expected, abs=1e-4)


def test_silence_and_the_shortest_audio_give_a_probability(weights: Path) -> None:
    model = SMART_TURN_V3_2.load()
    for pcm in (np.zeros(1, np.int16), np.zeros(128_000, np.int16), np.full(500, -32_768, np.int16)):
        assert 0.0 <= model.predict(pcm) <= 1.0


def test_weights_at_a_path(weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    shutil.copy(weights, copy)
    spec = smart_turn_spec(weights=copy)
    assert spec.is_available()
    assert spec.load().predict(np.zeros(9, np.int16)) == SMART_TURN_V3_2.load().predict(np.zeros(9, np.int16))
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(ModelIntegrityError, match="sha256"):
        spec.load()
    copy.unlink()
    assert not spec.is_available()
    with pytest.raises(ModelNotInstalledError, match="weights: no file"):
        spec.load()


def test_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(_FILE), "locate", lambda self: None)
    assert not SMART_TURN_V3_2.is_available()
    with pytest.raises(ModelNotInstalledError, match=r"pip install 'eot-adapters\[pipecat\]'"):
        SMART_TURN_V3_2.load()
