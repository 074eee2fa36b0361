"""How long the user has spoken, or been silent, when LiveKit tells the detector: LiveKit knows, and does not say."""

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


@dataclass
class HeardEvent(vad.VADEvent):
    """An event that knows how much silence (INFERENCE_DONE), or speech (START_OF_SPEECH), there is at the end of all
    that was heard, the rest of its frame included."""

    so_far: float = 0.0
    """Seconds."""
    made_up: float = 0.0
    """Seconds of that silence which nobody sent: there was no audio any more."""
    ago: float = 0.0
    """Seconds since the last audio, where silence was made up, which takes no time."""


_taken: weakref.WeakKeyDictionary[asyncio.Task[Any], HeardEvent | None] = weakref.WeakKeyDictionary()
"""What each task that hears one of our VADs handles now."""


def taken(event: vad.VADEvent) -> None:
    """The task that is running has taken this event of our VAD, and handles it now."""
    if (task := asyncio.current_task()) is not None:
        _taken[task] = event if isinstance(event, HeardEvent) else None


def silence_so_far() -> float | None:
    """Seconds of silence at the end of what was heard, for whoever is called while LiveKit handles a window of its VAD,
    as the detector is when it is asked; None elsewhere."""
    if (task := listening_task()) is None:
        return None
    if task in _taken:
        return _of(_taken[task], vad.VADEventType.INFERENCE_DONE)
    return SILENCE_AT_PREDICTION  # another VAD: LiveKit's own, mostly


def listening_task() -> asyncio.Task[Any] | None:
    """LiveKit's task that hears a VAD, for whoever is called in it, as the detector is when it is asked; else None."""
    task = _task()
    if task is None or task in _taken:
        return task
    name: str = getattr(task.get_coro(), "__qualname__", "")
    return task if name.endswith("._vad_task") else None


def made_up_so_far() -> tuple[float, float]:
    """Seconds of the silence that were made up since the newest audio, and how long ago that was; else zeros."""
    task = _task()
    event = None if task is None else _taken.get(task)
    if event is None or event.type is not vad.VADEventType.INFERENCE_DONE:
        return 0.0, 0.0
    return min(event.made_up, event.so_far), event.ago


def speech_so_far() -> float | None:
    """Seconds of speech at the end of what was heard, for whoever is called while LiveKit handles an onset that our VAD
    reports, as the detector is; None elsewhere."""
    task = _task()
    return None if task is None else _of(_taken.get(task), vad.VADEventType.START_OF_SPEECH)


def _of(event: HeardEvent | None, kind: vad.VADEventType) -> float | None:
    return event.so_far if event is not None and event.type is kind else None


def _task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs
        return None
