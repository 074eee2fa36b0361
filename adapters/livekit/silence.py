"""How long the user has been silent when LiveKit asks the detector: LiveKit knows, and does not say."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass
from typing import Any

from livekit.agents import vad

SILENCE_AT_PREDICTION = 0.256
"""Seconds of silence that there have been when LiveKit asks: it does so with the first VAD window (32 ms) before which
0.2 s or more of silence had accumulated, that is with the eighth (livekit-agents, ``voice/audio_recognition.py``). With
:class:`adapters.livekit.VAD` what had been heard of the next window is known too."""

_taken: weakref.WeakKeyDictionary[asyncio.Task[Any], float] = weakref.WeakKeyDictionary()
"""Silence of the event that a task has taken last."""


@dataclass
class HeardEvent(vad.VADEvent):
    """An INFERENCE_DONE that knows how much silence there is at the end of all that was heard, the rest of its frame
    included."""

    silence_so_far: float = 0.0
    """Seconds."""

    def taken(self) -> None:
        """The task that is running has taken this event, and handles it now."""
        if (task := asyncio.current_task()) is not None:
            _taken[task] = self.silence_so_far


def silence_so_far() -> float | None:
    """Seconds of silence at the end of what was heard, for whoever is called while LiveKit handles an event of its VAD,
    as the detector is when it is asked; None elsewhere."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs
        return None
    if task is None:
        return None
    if (known := _taken.get(task)) is not None:
        return known
    name: str = getattr(task.get_coro(), "__qualname__", "")
    return SILENCE_AT_PREDICTION if name.endswith("._vad_task") else None  # another VAD: LiveKit's own, mostly
