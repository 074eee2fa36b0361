"""A cell through :class:`eot_core.DetectorStream` alone."""

from __future__ import annotations

import asyncio
import gc

import numpy as np
from fault_cases import Case, Moment, Surroundings, surroundings
from fault_cell import (
    DEADLINE,
    KEY,
    LEAD,
    LONG_SPEECH,
    RETRY_INTERVAL,
    SECRET,
    SILENCE,
    SPEECH,
    Mode,
    Row,
    Turn,
    local_model,
)
from leftovers import Left
from log_book import LogBook

from eot_core import DetectorStream, Endpointer, FallbackOptions, Outcome, Prediction, TurnDetector
from eot_core.endpointing import EndpointingOptions

_FRAME = 0.05
_NOISE = (np.random.default_rng(0).standard_normal(round(_FRAME * 16_000)) * 3000).astype(np.int16)


def make_detector(around: Surroundings, mode: Mode) -> TurnDetector:
    enabled = mode is not Mode.NO_FALLBACK
    return TurnDetector(
        version="v1",
        base_url=around.url,
        api_key=KEY,
        api_secret=SECRET,
        sample_rate=around.sample_rate,
        http_session=around.http_session,
        connect_timeout=around.connect_timeout,
        local_fallback=enabled,
        fallback=FallbackOptions(enabled=enabled, retries=around.retries, retry_interval=RETRY_INTERVAL),
        fallback_model=local_model(mode),
    )


async def through_stream(case: Case, moment: Moment, mode: Mode = Mode.FALLBACK) -> Row:
    """Two turns of a stream, with the fault in one of them."""
    row = Row(case, moment, mode)
    before = Left.now()
    with LogBook() as log:
        async with surroundings(case, moment) as around:
            detector = make_detector(around, mode)
            detector.on("fallback", lambda event: row.reasons.append(event.reason))
            driver = _Driver(row, around, detector.stream())
            await driver.drive()
            await driver.stream.aclose()
            await asyncio.sleep(0.01)  # the last callbacks of closed sockets
            assert around.strike.far is not None
            # Before the far end goes, which would take a forgotten connection with it.
            row.left = before.more(except_tasks="far end", except_descriptors=around.strike.far.descriptors)
        row.pending = sum(not future.done() for future in driver.futures)
        row.warnings, row.errors = log.warnings, log.errors
    await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    gc.collect()
    row.left += before.more()
    return row


class _Driver:
    def __init__(self, row: Row, around: Surroundings, stream: DetectorStream) -> None:
        self.row = row
        self.around = around
        self.stream = stream
        self.loop = asyncio.get_running_loop()
        self.endpointer = Endpointer(EndpointingOptions.for_detector())
        self.futures: list[asyncio.Future[Prediction]] = []
        self.closing: asyncio.Task[None] | None = None

    async def drive(self) -> None:
        if self.row.moment is Moment.CONNECT:
            self.loop.call_later(0.05, self.strike)
        await asyncio.sleep(LEAD)
        for number in (1, 2):
            self.row.turns.append(await self.turn(number))

    async def turn(self, number: int) -> Turn:
        mine = number == self.row.case.turn
        self.stream.cancel()
        if mine and self.row.moment is Moment.SPEECH:
            self.loop.call_later(SPEECH / 2, self.strike)
        await self.sound(LONG_SPEECH if self.row.case.narrow else SPEECH, 1)
        ended_at = self.loop.time()
        await self.sound(SILENCE, 0)
        asked_at = self.loop.time()
        future = self.stream.predict()
        self.futures.append(future)
        if mine and self.row.moment is Moment.FLIGHT:
            self.loop.call_later(0.1, self.strike)
        prediction = await future
        resolved_at = self.loop.time()
        self.endpointer.speech_ended(ended_at)
        decision = self.endpointer.predicted(prediction, self.stream.unlikely_threshold("en"), resolved_at)
        self.endpointer.turn_ended()
        if decision is not None:
            await asyncio.sleep(max(0.0, decision.commit_at - self.loop.time()))
        self.stream.flush("turn committed")
        answered = prediction.outcome is Outcome.ANSWERED
        return Turn(
            by=prediction.source if answered else prediction.outcome.value,
            why=prediction.reason.split(":")[0] if prediction.reason is not None else None,
            probability=prediction.probability,
            resolved=(resolved_at - asked_at) / DEADLINE,
            ended=None if decision is None else decision.delay,
        )

    async def sound(self, seconds: float, loudness: int) -> None:
        for _ in range(round(seconds / _FRAME)):
            self.stream.push_audio(_NOISE * np.int16(loudness))
            await asyncio.sleep(_FRAME)

    def strike(self) -> None:
        in_flight = bool(self.futures) and not self.futures[-1].done()
        self.row.struck = self.row.moment is not Moment.FLIGHT or in_flight
        self.around.strike.now.set()
        if self.row.case.closes_stream:
            self.closing = self.loop.create_task(self.stream.aclose())
