"""From Pipecat's wall-clock time stamps to the monotonic clock that decisions are made on."""

from __future__ import annotations

import asyncio
import time

from eot_core.clock import Clock


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
