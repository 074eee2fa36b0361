"""Loading models once for all jobs of a worker: in its forkserver, from which every job inherits the memory.

On livekit-agents 1.8, name the module that does it::

    server = AgentServer(preload_modules=["adapters.livekit.preload"])

On any version, :func:`register` before the worker starts does the same, as LiveKit's plugins do. ``EOT_PRELOAD_MODEL``
chooses the model: a name, the path of an ONNX file, or "none"; v1-mini when it is unset.

v1-mini's weights are one object of a process, inside ``livekit.local_inference``. LiveKit's own preloading loads them
too, and whichever comes second finds them there: 244 MB, once. Those who run another model may save them with
``LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE=0`` in the environment; v1-mini is then not preloaded here either, unless
``EOT_PRELOAD_MODEL`` asks for it.

Where jobs are spawned rather than forked (macOS, Windows), call :meth:`adapters.livekit.TurnDetector.warm_up` in
``prewarm_fnc``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from livekit.agents import Plugin

from eot_core.models.base import ModelSpec
from eot_core.models.handle import model_handle

from .mini import V1_MINI, resolve_model
from .vad import VAD

logger = logging.getLogger("adapters.livekit")

MODEL_VARIABLE = "EOT_PRELOAD_MODEL"
_LIVEKIT_VARIABLE = "LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE"
_FALSY = ("0", "false", "no", "off")  # as livekit-agents reads its variable (ipc/_preload.py)


_DISTRIBUTION = "eot-adapters"


class EotPlugin(Plugin):
    """What LiveKit knows of this package."""

    def __init__(self) -> None:
        super().__init__(_DISTRIBUTION, _version(), "adapters.livekit.preload", logger)

    def download_files(self) -> None:
        """Nothing to download: the weights are in Python packages."""
        logger.info(
            "nothing to download: turn-detector-v1-mini is in livekit-local-inference, smart-turn-v3.2 in pipecat-ai, "
            "the Silero VAD in livekit-plugins-silero"
        )


def _version() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:  # run from the source tree
        return "unknown"


def register() -> None:
    """Have workers preload our models. Idempotent.

    Raises:
        RuntimeError: not on the main thread (LiveKit's rule).
    """
    if not any(isinstance(plugin, EotPlugin) for plugin in Plugin.registered_plugins):
        Plugin.register_plugin(EotPlugin())


def preload_models() -> None:
    """Load the local model and the VAD, without running them: no thread is started, so a fork is safe.

    What cannot be loaded is logged, and reported properly by the job that needs it.
    """
    loads: list[tuple[str, Callable[[], object]]] = [("the Silero VAD", VAD().load)]
    try:
        spec = _model_to_preload()
    except (ValueError, TypeError) as error:
        logger.error("%s: %s", MODEL_VARIABLE, error)
    else:
        if spec is not None:
            loads.append((spec.name, model_handle(spec).get))
    for name, load in loads:
        try:
            load()
        except Exception as error:
            logger.warning("%s could not be preloaded: %s", name, error)


def _model_to_preload() -> ModelSpec | None:
    chosen = os.environ.get(MODEL_VARIABLE, "").strip()
    if chosen.lower() == "none":
        return None
    if chosen:
        return resolve_model(chosen)
    if os.environ.get(_LIVEKIT_VARIABLE, "").strip().lower() in _FALSY:
        return None
    return V1_MINI
