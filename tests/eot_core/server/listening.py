"""Speech without a recording, networks without weights, and a listener whose requests can be awaited."""

import asyncio
from typing import Any

import numpy as np
from gateway_client import scripted
from vad_speech import Pcm

from eot_core.server.network import CONTEXT_SAMPLES, Floats, SpeechNetwork
from eot_core.server.onset import OnsetFinder
from eot_core.server.turns import Excerpt, TurnListener
from eot_core.transports.scheduler import InferenceScheduler, JobFailed


def at(finder: OnsetFinder) -> list[int]:
    return [onset.at for onset in finder.onsets]


class Loudness:
    """A network without one: a window is speech where it is loud."""

    def score(self, windows: Floats, state: Floats) -> tuple[Floats, Floats]:
        return (np.abs(windows[:, CONTEXT_SAMPLES:]).max(axis=1) > 100 / 32_768).astype(np.float32), state


class Listener:
    """A :class:`TurnListener` whose requests can be awaited."""

    def __init__(self, network: SpeechNetwork | None, scheduler: InferenceScheduler, **spec: Any) -> None:
        model, _ = scripted(**{"window": 4.0, "pre_speech": 0.25, **spec})
        self.turns = TurnListener(model, network, scheduler=scheduler)

    def hear(self, pcm: Pcm, *, frame: int = 320) -> None:
        for begin in range(0, len(pcm), frame):
            self.turns.push(pcm[begin : begin + frame], 16_000, 1_000.0 + begin / 16_000)

    async def ask(self) -> Excerpt | JobFailed:
        answer: asyncio.Future[Excerpt | JobFailed] = asyncio.get_running_loop().create_future()
        self.turns.prepare("r", 20.0, answer.set_result)
        return await asyncio.wait_for(answer, 20)

    async def pcm(self) -> Pcm:
        excerpt = await self.ask()
        assert isinstance(excerpt, Excerpt)
        return excerpt.pcm

    async def seconds(self) -> float:
        return len(await self.pcm()) / 16_000


LOUD = np.full(16_000, 1_000, np.int16)
QUIET = np.zeros(16_000, np.int16)
SURE = 0.06
"""Seconds into the speech at which the VAD is sure, give or take a window and the rest of the frame."""
SPOKEN = np.concatenate((QUIET[:8_192], LOUD[:15_872]))
"""Ends with a window."""
HEARD = (len(SPOKEN) - 8_192 - 1_024) / 16_000 + 0.25
"""Seconds of it that the model hears."""
