"""Telling Pipecat, and whoever listens, what the detector said and what follows from it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from loguru import logger
from pipecat.frames.frames import MetricsFrame

from eot_core import BackchannelOpportunity, FallbackOccurred, Prediction, TurnDecision

from .frames import BackchannelOpportunityFrame, TurnDecisionMetricsData
from .judgement import describe

EVENTS = ("on_prediction", "on_turn_decision", "on_fallback", "on_backchannel_opportunity")

_Tells = Callable[..., Awaitable[None]]


class Telling:
    """Event handlers, metrics and frames. What comes up where nobody can wait is kept for :meth:`run`."""

    def __init__(self, owner: str, call_handler: _Tells, push_frame: _Tells, broadcast_frame: _Tells) -> None:
        """
        Args:
            owner: who tells, in the log and in metrics.
            call_handler: calls the event handlers, given the event's name and what it is about.
            push_frame: sends a frame downstream.
            broadcast_frame: sends a frame both ways, given its class and fields.
        """
        self._owner = owner
        self._call_handler = call_handler
        self._push_frame = push_frame
        self._broadcast_frame = broadcast_frame
        self._later: asyncio.Queue[TurnDecision | FallbackOccurred | BackchannelOpportunity] = asyncio.Queue()

    def later(self, event: Any) -> None:
        """Tell of it as soon as :meth:`run` gets to it."""
        self._later.put_nowait(event)

    async def run(self) -> None:
        """Tell what was left for later. Never returns."""
        while True:
            match event := await self._later.get():
                case TurnDecision():
                    await self.decided(event)
                case FallbackOccurred():
                    await self._call_handler("on_fallback", event)
                case BackchannelOpportunity():
                    await self._broadcast_frame(BackchannelOpportunityFrame, **dataclasses.asdict(event))
                    await self._call_handler("on_backchannel_opportunity", event)

    async def predicted(self, prediction: Prediction, decision: TurnDecision) -> None:
        """The first score of a pause, and what follows from it."""
        await self._push_frame(MetricsFrame(data=[TurnDecisionMetricsData.of(self._owner, prediction, decision)]))
        await self._call_handler("on_prediction", prediction)
        await self.decided(decision)

    async def decided(self, decision: TurnDecision) -> None:
        """What is to happen, or has happened."""
        logger.debug(f"{self._owner}: {describe(decision)}")
        await self._call_handler("on_turn_decision", decision)
