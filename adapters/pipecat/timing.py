"""From Pipecat's wall-clock time stamps to the monotonic clock that decisions are made on."""

from __future__ import annotations

import asyncio
import time

from eot_core import Prediction
from eot_core.clock import Clock

GRACE = 0.05
"""Seconds after the moment in which the turn is to end that a further score, asked for before, may still take. Who has
none by then does without: what was decided stands."""


def end_of_speech(now: float, *, timestamp: float, stop_secs: float, last_audio_at: float | None) -> float:
    """True end of the speech that a VAD reports to be over, in seconds of the clock that ``now`` is of.

    Args:
        now: this moment.
        timestamp: wall-clock time of the VAD's determination (``VADUserStoppedSpeakingFrame.timestamp``).
        stop_secs: silence that the VAD had heard by then, in seconds.
        last_audio_at: when the last audio came in. A VAD that is told of the end by the absence of audio (muted
            microphone) knows it only later: the speech cannot have gone on after the last audio. None: not known.
    """
    age = max(0.0, time.time() - timestamp)  # a wall clock that was set back in between makes no speech in the future
    ended = now - age - max(0.0, stop_secs)
    return ended if last_audio_at is None else min(ended, last_audio_at)


async def sleep_until(clock: Clock, when: float) -> None:
    """Return at ``when``, in seconds of ``clock``; at once where that has passed."""
    if clock.now() >= when:
        return
    reached = asyncio.get_running_loop().create_future()
    timer = clock.call_at(when, lambda: None if reached.done() else reached.set_result(None))
    try:
        await reached
    finally:
        timer.cancel()


async def answer_by(clock: Clock, future: asyncio.Future[Prediction], when: float) -> Prediction | None:
    """What is asked for, if it comes before ``when``, in seconds of ``clock``; else None, and nobody asks any more."""

    def give_up() -> None:
        future.cancel()

    timer = clock.call_at(when, give_up)
    try:
        await asyncio.wait([future])
    finally:
        timer.cancel()
        give_up()  # whoever waits here was called off; nothing happens to a future that has its answer
    return None if future.cancelled() else future.result()
