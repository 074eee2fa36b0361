"""A VAD that reports pauses late."""

from __future__ import annotations

import logging

from eot_core.once import warn_once

from .logs import CORE

_SLOW = 0.4
"""Seconds of silence that a VAD need not wait for (``stop_secs``): pipecat's default is 0.2, ours 0.25 and a frame."""


def check_vad(stop_secs: float, latency: float) -> None:
    """Warn of it, once in a process.

    Args:
        stop_secs: seconds of silence after which it has reported one.
        latency: of the STT, in seconds.
    """
    if stop_secs >= _SLOW:
        warn_once(
            logging.getLogger(CORE),
            "the VAD reports a pause after %s s, before which no turn ends; and the latency of STTs, here %s s, is "
            "measured with 0.2 s: last words may come later. Let it report sooner (stop_secs), or pass the STT what "
            "you have measured (ttfs_p99_latency)",
            round(stop_secs, 1),
            latency,
        )
