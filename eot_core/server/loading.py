"""Which model a gateway may serve, and what it loads before it listens, off the event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable

from ..models import v1_mini
from ..models.base import ModelError, ModelLicenseError, ModelSpec
from ..models.handle import model_handle
from ..models.registry import default_model, resolve_model
from ..transports.local import LOAD_LIMIT
from ..transports.scheduler import NO_DEADLINE, JobDone, JobFailed, default_scheduler
from .network import SileroSteps

logger = logging.getLogger(__name__)


def served_model(model: str | os.PathLike[str] | ModelSpec | None) -> ModelSpec:
    """The spec of a model that a gateway may serve; None: the default local model.

    Raises:
        ModelLicenseError: it may not run outside LiveKit Agents.
        ValueError: it is unknown, or clients would refuse its threshold.
    """
    spec = default_model() if model is None else resolve_model(model)
    if spec.name == v1_mini.NAME or spec.license == v1_mini.LICENSE:
        raise ModelLicenseError(v1_mini.REFUSAL)
    if not 0 < spec.default_threshold <= 1:
        raise ValueError(
            f"model: the default threshold of {spec.name} is {spec.default_threshold}; "
            "clients refuse one that is not above 0 and at most 1"
        )
    return spec


async def load_model(model: ModelSpec) -> float:
    """Load and warm up, once for the process.

    Returns:
        Seconds that a full window takes once it is warm.

    Raises:
        ModelError: it cannot be loaded; the message says what to install.
    """

    def work() -> float:
        handle = model_handle(model)
        handle.warm_up()
        began = time.perf_counter()
        handle.warm_up()
        return time.perf_counter() - began

    result = await _in_thread(work)
    if isinstance(result, JobFailed):
        raise result.error or RuntimeError(f"the model could not be loaded: {result.reason}")
    return float(result.value)


async def load_vad(vad: SileroSteps, model: ModelSpec) -> bool:
    """Load the VAD that finds onsets for ``model``.

    Returns:
        False where its weights cannot be had; one warning says what to install, and what it is missed for.
    """
    result = await _in_thread(vad.warm_up)
    if isinstance(result, JobDone):
        return True
    if not isinstance(result.error, ModelError):
        raise result.error or RuntimeError(f"the Silero VAD could not be loaded: {result.reason}")
    logger.warning(
        "%s scores turns, and without a VAD the gateway does not hear where they begin: it sees all since the turn "
        "before, and its scores differ from those in the client's own process. %s",
        model.name,
        result.error,
    )
    return False


async def _in_thread(work: Callable[[], object]) -> JobDone | JobFailed:
    """Run what may take long on the scheduler, behind all predictions."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[JobDone | JobFailed] = loop.create_future()

    def deliver(result: JobDone | JobFailed) -> None:
        loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(result))

    default_scheduler().submit(work, deadline=NO_DEADLINE, on_done=deliver, hang_limit=LOAD_LIMIT)
    return await done
