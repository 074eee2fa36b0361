"""Models by name."""

from __future__ import annotations

import logging
import os
from functools import cache

from . import v1_mini
from .base import ModelLicenseError, ModelSpec
from .onnx_file import onnx_file
from .smart_turn import SMART_TURN_V3_2

_logger = logging.getLogger("eot_core")
_ALIASES = {"smart-turn": SMART_TURN_V3_2.name}
_LICENSED_ELSEWHERE = {v1_mini.NAME: v1_mini.REFUSAL, "v1-mini": v1_mini.REFUSAL}


@cache
def known_models() -> tuple[ModelSpec, ...]:
    """The local models that have a name, installed or not, best known first.

    Made when they are first asked for: those of eot-open read their heads, 100 kB of JSON.
    """
    from .eot_open import EOT_OPEN

    return (*EOT_OPEN, SMART_TURN_V3_2)


def default_model() -> ModelSpec:
    """The local model where none is named: eot-open-1, or smart-turn as shipped where its graph cannot be edited.

    Loads nothing. Where smart-turn's weights are not installed either, its check says what to install.
    """
    from .eot_open import EOT_OPEN_1

    if EOT_OPEN_1.is_available():
        return EOT_OPEN_1
    if SMART_TURN_V3_2.is_available():
        _warn_that_onnx_is_missing()
    return SMART_TURN_V3_2


@cache
def _warn_that_onnx_is_missing() -> None:
    from . import graph

    _logger.warning(
        "smart-turn-v3.2 as shipped takes the place of eot-open-1, which interrupts less often: the onnx package is "
        "missing, which edits its graph (once; the graph is then kept): %s",
        graph.INSTALL,
    )


def available_models() -> tuple[ModelSpec, ...]:
    """The local models whose weights are installed and that this process may run, best first. Loads nothing."""
    return tuple(spec for spec in known_models() if spec.is_available())


def resolve_model(model: str | os.PathLike[str] | ModelSpec) -> ModelSpec:
    """What ``model`` means. Loads nothing, and does not ask whether a package's weights are installed.

    Args:
        model: a name ("smart-turn-v3.2"; "smart-turn" for short), a path that ends in ".onnx" (window 8 s, threshold
            0.5; see :func:`onnx_file` for others), or a spec, which is returned as it is.

    Raises:
        ModelLicenseError: the model may not run here; the message names the licence.
        ValueError: the name is unknown (the message lists those that are known), or there is no such file.
        TypeError: ``model`` is none of the above.
    """
    if isinstance(model, ModelSpec):
        if model.name == v1_mini.NAME or model.license == v1_mini.LICENSE:
            raise ModelLicenseError(v1_mini.REFUSAL)
        return model
    if not isinstance(model, str | os.PathLike):
        raise TypeError(f"model must be a name, a path or a ModelSpec, got {type(model).__name__}")
    name = os.fspath(model)
    if name in _LICENSED_ELSEWHERE:
        raise ModelLicenseError(_LICENSED_ELSEWHERE[name])
    if name.lower().endswith(".onnx"):
        if not os.path.isfile(os.path.expanduser(name)):
            raise ValueError(f"model: there is no file {name!r}")
        return onnx_file(name)
    full_name = _ALIASES.get(name, name)
    if full_name == SMART_TURN_V3_2.name:
        return SMART_TURN_V3_2
    for spec in known_models():
        if spec.name == full_name:
            return spec
    known = ", ".join([*(spec.name for spec in known_models()), *_ALIASES])
    raise ValueError(f"model {name!r} is unknown: choose one of {known}, or a path that ends in .onnx")
