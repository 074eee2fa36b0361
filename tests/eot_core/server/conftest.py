"""What several files of gateway tests start with."""

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway_client import KEYS, scripted

from eot_core.models.base import ModelError
from eot_core.server import Gateway
from eot_core.transports.scheduler import InferenceScheduler
from eot_core.vad import SileroVAD
from eot_core.vad.silero import weights_path


@pytest.fixture(scope="module")
def vad() -> SileroVAD:
    try:
        weights_path()
    except ModelError as error:
        pytest.skip(str(error))
    return SileroVAD()


@pytest.fixture
def scheduler() -> Any:
    scheduler = InferenceScheduler(workers=1)
    yield scheduler
    scheduler.close()


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    spec, _ = scripted()
    async with Gateway(spec, keys=KEYS) as gateway:
        yield gateway


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A file that averages the waveform, so that the command is tried without anybody's weights."""
    spec = importlib.util.spec_from_file_location("tiny_onnx", Path(__file__).parents[1] / "models" / "tiny_onnx.py")
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    return str(writer.write_mean_model(tmp_path / "tiny.onnx", ["batch", 128000]))
