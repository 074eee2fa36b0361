from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from eot_core.models import handle as handle_module
from eot_core.models.base import ModelError, ModelNotInstalledError, ModelSpec, PcmArray
from eot_core.models.handle import ModelHandle, model_handle


class Constant:
    def __init__(self) -> None:
        self.seen: list[int] = []

    def predict(self, pcm: PcmArray) -> float:
        self.seen.append(len(pcm))
        return 0.25


def spec(load: object) -> ModelSpec:
    return ModelSpec("fake", "tests", "Apache-2.0", 2.0, load, default_threshold=0.5)  # type: ignore[arg-type]


def test_loaded_once_by_whoever_comes_first() -> None:
    loads: list[int] = []
    started, go = threading.Event(), threading.Event()

    def load() -> Constant:
        loads.append(threading.get_ident())
        started.set()
        assert go.wait(30)
        return Constant()

    handle = ModelHandle(spec(load))
    assert not handle.loaded
    assert repr(handle) == "<ModelHandle fake not loaded>"
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(handle.get) for _ in range(4)]
        assert started.wait(30)
        go.set()
        models = {id(future.result()) for future in futures}
    assert len(models) == len(loads) == 1
    assert handle.loaded
    assert repr(handle) == "<ModelHandle fake loaded>"


def test_waiting_for_a_load_that_hangs_has_an_end() -> None:
    started, go = threading.Event(), threading.Event()

    def load() -> Constant:
        started.set()
        assert go.wait(30)
        return Constant()

    handle = ModelHandle(spec(load))
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(handle.get)
        assert started.wait(30)
        for timeout in (0.01, 0.0, -5.0):
            with pytest.raises(ModelError, match="fake is still being loaded"):
                handle.get(timeout=timeout)
        go.set()
        model = loading.result()
    assert handle.get(timeout=0.0) is model


def test_a_failed_load_is_tried_again() -> None:
    outcomes = [ModelNotInstalledError("pip install it"), None]

    def load() -> Constant:
        error = outcomes.pop(0)
        if error is not None:
            raise error
        return Constant()

    handle = ModelHandle(spec(load))
    with pytest.raises(ModelError, match="pip install it"):
        handle.get()
    assert not handle.loaded
    assert handle.get().predict(np.zeros(1, np.int16)) == 0.25


def test_warm_up_scores_a_window_of_silence() -> None:
    model = Constant()
    handle = ModelHandle(spec(lambda: model))
    handle.warm_up()
    assert model.seen == [32_000]


def test_one_handle_for_a_spec() -> None:
    one, other = spec(Constant), spec(Constant)
    assert model_handle(one) is model_handle(one)
    assert model_handle(one) is not model_handle(other)
    assert model_handle(one).spec is one


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_during_a_load_can_load_itself() -> None:
    handle = model_handle(spec(Constant))
    with handle_module._handles_lock, handle._lock:
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if model_handle(handle.spec).get().predict(np.zeros(1, np.int16)) == 0.25 else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
