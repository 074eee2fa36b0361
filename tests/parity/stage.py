"""What both frameworks' calls have in common: the time-line, the things that happen on it, and the model's place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import eot_core.transports.local
from eot_core import FallbackOccurred, Prediction, TurnDetector
from eot_core.clock import Clock
from eot_core.cloud import CloudOptions
from eot_core.effects import Route
from eot_core.transports.base import Transport

from .models import CloudTransport, Timeline, VirtualScheduler
from .trace import Played, Predicted, Trace

Happening = tuple[float, Callable[[], Awaitable[None]]]
"""(when, what)."""

_LEAD = 0.5
"""Seconds between the start of a session and the first sample: everything has been set up."""
_REST = 0.2
"""Seconds after the last sample."""


class Stage:
    """One call."""

    def __init__(self, trace: Trace, framework: str) -> None:
        self.trace = trace
        self.loop = asyncio.get_running_loop()
        self.pauses = trace.pauses
        self.timeline = Timeline(self.pauses, self.loop.time)
        self.frames = trace.frames
        self.played = Played(framework)
        self.begun = asyncio.Event()
        self.ended = False
        """What a framework does when it is shut down is not part of the call."""
        self._clouds: list[CloudTransport] = []

    @contextlib.contextmanager
    def set(self) -> Iterator[None]:
        """While this lasts, local inference and the cloud are the trace's. In real time they are the real ones."""
        if self.trace.real_time:
            assert self.trace.cloud is None, "there is no cloud in real time"
            yield
            return
        real_transport, real_scheduler = TurnDetector._make_transport, eot_core.transports.local.default_scheduler
        cloud = self.trace.cloud

        def make_transport(
            detector: TurnDetector, route: Route, options: CloudOptions | None, clock: Clock
        ) -> Transport:
            if route is not Route.CLOUD or cloud is None:
                return real_transport(detector, route, options, clock)
            self._clouds.append(CloudTransport(cloud, self.timeline))
            return self._clouds[-1]

        patched: Any = TurnDetector
        patched._make_transport = make_transport
        scheduler = VirtualScheduler(self.trace, self.timeline)
        eot_core.transports.local.default_scheduler = lambda: scheduler  # type: ignore[assignment, return-value]
        try:
            yield
        finally:
            patched._make_transport = real_transport
            eot_core.transports.local.default_scheduler = real_scheduler

    def listen(self, detector: Any) -> None:
        """Write down what the detector says."""
        detector.on("prediction", self._predicted)
        detector.on("fallback", self._fell_back)

    async def call(self, happenings: list[Happening]) -> None:
        """Begin, let everything happen, and return after the end of the audio."""
        await asyncio.sleep(_LEAD)
        self.timeline.origin = self.loop.time()
        self.begun.set()
        cloud = self.trace.cloud
        if cloud is not None and cloud.fails_at is not None:
            happenings = [*happenings, (cloud.fails_at, self._break_connections)]
        tasks = [asyncio.create_task(self._happen(*happening)) for happening in happenings]
        await self.until(self.frames[-1][0] + _REST)
        for task in tasks:
            await task

    async def until(self, at: float) -> None:
        """Return at this moment of the call."""
        await self.begun.wait()
        if (left := at - self.timeline.now) > 0:
            await asyncio.sleep(left)

    async def _happen(self, at: float, what: Callable[[], Awaitable[None]]) -> None:
        await self.until(at)
        await what()

    async def _break_connections(self) -> None:
        for cloud in self._clouds:
            cloud.fail("connection_closed_1011", retryable=True)

    def _predicted(self, prediction: Prediction) -> None:
        self.played.predictions.append(
            Predicted(
                self.timeline.now,
                prediction.probability,
                prediction.model,
                prediction.source,
                prediction.outcome.value,
                prediction.reason,
            )
        )

    def _fell_back(self, event: FallbackOccurred) -> None:
        self.played.fallbacks.append((event.from_model, event.to_model, event.reason))
