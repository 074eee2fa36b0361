from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import write_mean_model

from eot_core.models import session as session_module
from eot_core.models.base import ModelError, ModelNotInstalledError
from eot_core.models.session import shared_session
from eot_core.models.smart_turn import SMART_TURN_V3_2


def test_one_session_for_every_caller(tmp_path: Path) -> None:
    path = write_mean_model(tmp_path / "m.onnx", ["b", "n"])
    (tmp_path / "link.onnx").symlink_to(path)
    with ThreadPoolExecutor(8) as pool:
        sessions = set(map(id, pool.map(shared_session, [path, tmp_path / "link.onnx"] * 8)))
    assert len(sessions) == 1


def test_a_changed_file_is_another_session(tmp_path: Path) -> None:
    path = write_mean_model(tmp_path / "m.onnx", ["b", "n"])
    first = shared_session(path)
    write_mean_model(path, ["b", "n"], ends_in="Identity")
    assert shared_session(path) is not first


def test_a_failed_load_may_be_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(ModelNotInstalledError, match=r"cannot read the weights at .*m\.onnx"):
        shared_session(path)
    path.write_bytes(b"rubbish")
    with pytest.raises(ModelError, match="onnxruntime cannot load"):
        shared_session(path)
    write_mean_model(path, ["b", "n"])
    assert shared_session(path).get_inputs()[0].name == "x"


def test_onnxruntime_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mean_model(tmp_path / "m.onnx", ["b", "n"])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(ModelNotInstalledError, match="pip install onnxruntime"):
            shared_session(path)
    shared_session(path)


def test_loading_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shared_session(write_mean_model(tmp_path / "quiet.onnx", ["b", "n"]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_uses_the_loaded_session() -> None:
    if not SMART_TURN_V3_2.is_available():
        pytest.skip("pipecat-ai is not installed")
    model = SMART_TURN_V3_2.load()
    noise = np.random.default_rng(0).integers(-3_000, 3_000, 30_000, dtype=np.int16)
    expected = model.predict(noise)
    with session_module._lock:  # as if another thread were loading while the process forks
        child = os.fork()
        if child == 0:
            try:
                again = SMART_TURN_V3_2.load()
                os._exit(0 if again.predict(noise) == model.predict(noise) == expected else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
