from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import INT64, write_mean_model

from eot_core.models.base import ModelError, ModelIntegrityError, ModelNotInstalledError
from eot_core.models.onnx_file import onnx_file
from eot_core.models.smart_turn import SHA256, SMART_TURN_V3_2
from eot_core.models.weights import PackagedFile

HALF = np.full(16_000, 16_384, dtype=np.int16)


def test_a_waveform_model_gets_the_newest_window_left_padded(tmp_path: Path) -> None:
    spec = onnx_file(write_mean_model(tmp_path / "mean.onnx", ["b", "n"], ends_in="Identity"), window=1.0)
    model = spec.load()
    assert model.predict(HALF) == pytest.approx(0.5)
    assert model.predict(HALF[:8_000]) == pytest.approx(0.25)
    louder = np.concatenate((np.zeros(5_000, np.int16), HALF))
    assert model.predict(louder) == pytest.approx(0.5)


def test_a_fixed_waveform_length_must_be_the_window(tmp_path: Path) -> None:
    path = write_mean_model(tmp_path / "fixed.onnx", [1, 19_200])
    assert onnx_file(path, window=1.2).load().predict(HALF) > 0.5
    with pytest.raises(ModelError, match=r"pass window=1\.2"):
        onnx_file(path, window=8.0).load()


def test_a_log_mel_model(tmp_path: Path) -> None:
    path = write_mean_model(tmp_path / "mel.onnx", ["b", 80, 800])
    silence = onnx_file(path).load().predict(np.zeros(100, np.int16))
    assert silence == pytest.approx(1 / (1 + math.exp(1.5)))  # log-mel of silence is -1.5 throughout
    with pytest.raises(ModelError, match="window=8"):
        onnx_file(path, window=4.0).load()
    assert 0 < onnx_file(write_mean_model(tmp_path / "any.onnx", ["b", 80, "t"]), window=4.0).load().predict(HALF) < 1


def test_the_real_smart_turn_file_as_a_users_file() -> None:
    path = PackagedFile("pipecat-ai", "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx").locate()
    if path is None:
        pytest.skip("pipecat-ai is not installed")
    noise = np.random.default_rng(3).integers(-3_000, 3_000, 40_000, dtype=np.int16)
    mine = onnx_file(path, sha256=SHA256.upper()).load().predict(noise)
    assert mine == SMART_TURN_V3_2.load().predict(noise)


def test_a_logit_is_refused_when_the_model_is_loaded(tmp_path: Path) -> None:
    path = write_mean_model(tmp_path / "logit.onnx", ["b", 80, 800], ends_in="Identity")
    with pytest.raises(ModelError, match=r'outside 0\.\.1: end the graph in a sigmoid.*eot\.output.*"logit"'):
        onnx_file(path).load()


def test_a_logit_that_says_so_gets_its_sigmoid(tmp_path: Path) -> None:
    path = write_mean_model(
        tmp_path / "logit.onnx", ["b", 80, 800], ends_in="Identity", metadata={"eot.output": "logit"}
    )
    assert onnx_file(path).load().predict(np.zeros(9, np.int16)) == pytest.approx(1 / (1 + math.exp(1.5)))


def test_nan_is_passed_on_for_the_session_to_judge(tmp_path: Path) -> None:
    path = write_mean_model(tmp_path / "nan.onnx", ["b", "n"], ends_in="Sqrt")
    model = onnx_file(path, window=1.0).load()
    assert math.isnan(model.predict(np.full(16_000, -5_000, np.int16)))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (["b", 80, 800], {"second_input": True}, "one input, it has 2"),
        (["b", "n"], {"element": INT64}, "must be float32"),
        (["b", 40, 800], {}, r"shape \['b', 40, 800\]"),
        ([16_000], {"axes": [0]}, "expected"),
        ([4, "n"], {}, "batch axis is fixed to 4"),
        (["b", 80, 800], {"metadata": {"eot.output": "odds"}}, "metadata eot.output"),
        (["b", 80, 800], {"axes": [2]}, "expected one number"),
    ],
)
def test_a_graph_of_another_form_is_refused(tmp_path: Path, shape: list, options: dict, message: str) -> None:
    path = write_mean_model(tmp_path / "odd.onnx", shape, **options)
    with pytest.raises(ModelError, match=message):
        onnx_file(path).load()


def test_no_onnx_file_at_all(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="onnxruntime cannot load"):
        onnx_file(garbage).load()
    with pytest.raises(ModelNotInstalledError, match=r"path: no file at .*missing\.onnx"):
        onnx_file(tmp_path / "missing.onnx").load()
    assert not onnx_file(tmp_path / "missing.onnx").is_available()


def test_the_checksum_is_checked(tmp_path: Path) -> None:
    path = write_mean_model(tmp_path / "m.onnx", ["b", "n"])
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    spec = onnx_file(path, sha256=right)
    assert spec.sha256 == right
    assert spec.is_available()
    spec.load()
    with pytest.raises(ModelIntegrityError, match="sha256"):
        onnx_file(path, sha256="0" * 64).load()


def test_the_description(tmp_path: Path) -> None:
    spec = onnx_file(tmp_path / "my-model.onnx", window=4, threshold=0.3, pre_speech=0.2)
    assert (spec.name, spec.window, spec.default_threshold, spec.pre_speech) == ("my-model", 4.0, 0.3, 0.2)
    assert spec.thresholds == {}
    assert onnx_file(str(tmp_path / "my-model.onnx"), window=4.0, threshold=0.3, pre_speech=0.2) is spec
    assert onnx_file(tmp_path / "my-model.onnx", name="other").name == "other"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "model.bin"}, r'path must end in "\.onnx"'),
        ({"window": 0}, "window"),
        ({"window": 31.0}, "window"),
        ({"window": float("nan")}, "window"),
        ({"window": "8"}, "window"),
        ({"window": True}, "window"),
        ({"window": 1.0005}, "window must be a multiple"),
        ({"threshold": 1.1}, "threshold"),
        ({"threshold": -0.1}, "threshold"),
        ({"pre_speech": 9.0}, "pre_speech"),
        ({"pre_speech": -1}, "pre_speech"),
        ({"name": " "}, "name"),
        ({"name": 5}, "name"),
        ({"sha256": "abc"}, "sha256"),
        ({"sha256": 5}, "sha256"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        onnx_file(**{"path": "model.onnx", **arguments})


def test_a_path_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="path"):
        onnx_file(5)  # type: ignore[arg-type]
