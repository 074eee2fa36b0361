"""What several files of gateway tests start with."""

from typing import Any

import pytest

from eot_core.models.base import ModelError
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
