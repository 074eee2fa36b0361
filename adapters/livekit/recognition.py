"""LiveKit's ``AudioRecognition``, which asks the detector: it knows things of the session, and does not say.

It is found through the task that asks. Where a later version of LiveKit has it elsewhere, nothing is known, and the
detector does without.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

from livekit.agents.metrics import EOTInferenceMetrics
from livekit.agents.voice.agent_activity import AgentActivity
from livekit.agents.voice.audio_recognition import AudioRecognition

MetricsListener = Callable[[EOTInferenceMetrics], object]


def session_delays(task: asyncio.Task[Any] | None) -> tuple[float | None, float | None]:
    """``min_delay`` and ``max_delay`` that the user gave to the agent, or to the session, in seconds; None where they
    are LiveKit's defaults."""
    recognition = _recognition(task)
    given = getattr(getattr(getattr(recognition, "_session", None), "options", None), "endpointing_overrides", {})
    agent = getattr(getattr(recognition, "_hooks", None), "agent", None)
    low, high = (
        _seconds(getattr(agent, f"{name}_endpointing_delay", None), given.get(f"{name}_delay"))
        for name in ("min", "max")
    )
    return low, high


def flush_stt(task: asyncio.Task[Any] | None) -> None:
    """Have the STT write what it has heard, where LiveKit does that in each pause: with one that has ``manual_flush``.

    LiveKit does so once it has the detector's answer, which is too late where that is held. As it is done there
    (livekit-agents 1.8, ``_bounce_eou_task`` in ``voice/audio_recognition.py``): once in a pause, and not before the
    VAD has reported the end of speech, for only its next onset makes room for another.
    """
    recognition: Any = _recognition(task)
    pipeline: Any = getattr(recognition, "_stt_pipeline", None)
    if not getattr(pipeline, "manual_flush", False) or pipeline.audio_ch.closed:
        return
    if getattr(recognition, "_speaking", True) or not getattr(recognition, "_vad_base_turn_detection", False):
        return
    if not getattr(recognition, "_stt_flush_requested", True):
        recognition._stt_flush_requested = pipeline.flush()


def metrics_listener(task: asyncio.Task[Any] | None) -> MetricsListener | None:
    """How the session whose task this is counts metrics."""
    listener: MetricsListener | None = getattr(
        getattr(_recognition(task), "_hooks", None), "_on_metrics_collected", None
    )
    return listener


def is_of_a_session(listener: object) -> bool:
    """Whether LiveKit, and not the user, listens with this."""
    return isinstance(getattr(listener, "__self__", None), AgentActivity)


def _recognition(task: asyncio.Task[Any] | None) -> AudioRecognition | None:
    frame = None if task is None else getattr(task.get_coro(), "cr_frame", None)
    if frame is None:
        return None
    within = frame.f_locals  # of LiveKit's wrapper that logs exceptions, or of the method itself
    for value in (within.get("self"), *within.get("args", ())):
        if isinstance(value, AudioRecognition):
            return value
    return None


def _seconds(*values: object) -> float | None:
    """The first that is a number of seconds."""
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
            return float(value)
    return None
