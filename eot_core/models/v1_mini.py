"""turn-detector-v1-mini by LiveKit: what may be known of it here. Core never loads it.

Its licence lets the model run inside LiveKit Agents only, so the LiveKit adapter brings the loader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from .base import Model, ModelSpec

NAME = "turn-detector-v1-mini"
LICENSE = "LiveKit Model License"
WINDOW = 1.2
"""Seconds; ``livekit.local_inference.EOT_MAX_SAMPLES`` is 19,200 samples at 16 kHz."""
THRESHOLDS: Mapping[str, float] = MappingProxyType(
    {
        "ar": 0.35,
        "de": 0.245,
        "en": 0.36,
        "es": 0.35,
        "fr": 0.285,
        "hi": 0.305,
        "id": 0.345,
        "it": 0.23,
        "ja": 0.295,
        "ko": 0.40,
        "nl": 0.20,
        "pt": 0.32,
        "tr": 0.255,
        "zh": 0.355,
    }
)
"""Calibrated thresholds, as in livekit-agents 1.8.9 (livekit/agents/inference/eot/languages.py)."""
DEFAULT_THRESHOLD = THRESHOLDS["en"]
"""For any other language, as livekit-agents does."""
REFUSAL = (
    f"{NAME} may run only inside LiveKit Agents ({LICENSE}): use adapters.livekit.TurnDetector there, "
    'or model="smart-turn-v3.2" here'
)


def v1_mini_spec(load: Callable[[], Model], check: Callable[[], object]) -> ModelSpec:
    """The description of v1-mini for the LiveKit adapter, which alone may run it.

    Call it once per process: each spec has a loaded model of its own.

    Args:
        load: loads the weights through LiveKit's own package.
        check: raises ModelNotInstalledError where that package is missing; must not load it.
    """
    return ModelSpec(
        name=NAME,
        provider="livekit",
        license=LICENSE,
        window=WINDOW,
        load=load,
        default_threshold=DEFAULT_THRESHOLD,
        thresholds=THRESHOLDS,
        pre_speech=None,
        hears_all=True,  # as LiveKit gives it
        check=check,
    )
