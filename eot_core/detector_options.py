"""The options of :class:`~eot_core.TurnDetector` as a type, for what passes them on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypedDict

from .cloud import Headers
from .models.base import ModelSpec
from .options import FallbackOptions
from .thresholds import Overrides

if TYPE_CHECKING:
    import ssl as ssl_module

    import aiohttp

    from .clock import Clock
    from .operating_points import Name, OperatingPoint

Version = Literal["v1", "v1-mini", "turn-detector-v1", "turn-detector-v1-mini"]
"""LiveKit's short names, and the full ones."""


class DetectorOptions(TypedDict, total=False):
    """Each as :class:`~eot_core.TurnDetector` takes it; without ``endpointing``, which adapters take themselves."""

    version: Version | None
    model: str | os.PathLike[str] | ModelSpec | None
    unlikely_threshold: Overrides | None
    backchannel_threshold: Overrides | None
    sample_rate: int
    local_fallback: bool
    prediction_timeout: float
    base_url: str | None
    api_key: str | None
    api_secret: str | None
    http_session: aiohttp.ClientSession | Callable[[], aiohttp.ClientSession | None] | None
    connect_timeout: float
    ssl: ssl_module.SSLContext | bool | None
    headers: Headers | None
    fallback: FallbackOptions | None
    fallback_model: str | os.PathLike[str] | ModelSpec | None
    operating_point: Name | OperatingPoint | None
    calibration: str | os.PathLike[str] | None
    clock: Clock | None
