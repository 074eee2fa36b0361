"""One client's connection: messages in, predictions out."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
import numpy as np
from aiohttp import web

from ..clock import Clock, TimerHandle
from ..models.base import ModelSpec, PcmArray
from ..protocol import (
    Backend,
    ClientEvent,
    ErrorCode,
    Ignored,
    InferenceStartRequested,
    InferenceStopRequested,
    InputAudio,
    ProtocolError,
    ServerProtocol,
    SessionCloseRequested,
    SessionCreateRequested,
    SessionFlushRequested,
    State,
)
from ..transports.base import Answer, Calibration, InferenceRequest, Transport
from ..turn_audio import TurnAudio
from .limits import GatewayLimits
from .stats import RequestTimes
from .timeline import Timeline

logger = logging.getLogger(__name__)

_CLOSE_CODES: Final = {
    ErrorCode.TEXT_FRAME: aiohttp.WSCloseCode.UNSUPPORTED_DATA,
    ErrorCode.MESSAGE_TOO_LARGE: aiohttp.WSCloseCode.MESSAGE_TOO_BIG,
    ErrorCode.BAD_SETTINGS: aiohttp.WSCloseCode.POLICY_VIOLATION,
    ErrorCode.TOO_MANY_REQUESTS: aiohttp.WSCloseCode.POLICY_VIOLATION,
}
"""For any other violation: 1002, protocol error."""

_FAILURE_CODES: Final = {"overloaded": 503, "expired": 504}
"""HTTP-like code of a request that failed for this reason; 500 for any other."""


@dataclass(frozen=True, slots=True)
class _Close:
    code: int
    reason: str


class GatewaySession:
    """A session from the handshake on. It is the sink of its own transport to the model.

    :meth:`on_event` and :meth:`send` may be overridden, to observe a session or to make it misbehave in a test.
    """

    def __init__(
        self,
        websocket: web.WebSocketResponse,
        transport: Transport,
        *,
        model: ModelSpec,
        limits: GatewayLimits,
        clock: Clock,
        abort: Callable[[], None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            websocket: prepared.
            transport: the session's own way to the model; closed with the session.
            model: what runs behind the transport.
            limits: bounds.
            clock: for time-outs and durations.
            abort: cuts the connection at once, without a closing handshake.
            wall_clock: Unix seconds, for the stamps on the wire.
        """
        self.protocol = ServerProtocol(limits.protocol)
        self._websocket = websocket
        self._transport = transport
        self._model = model
        self._limits = limits
        self._clock = clock
        self._abort = abort
        self._wall = wall_clock
        self._audio = TurnAudio(model.window)
        self._timeline = Timeline(model.window)
        self._sample_rate = 0
        self._requests: dict[str, RequestTimes] = {}
        self._outbox: asyncio.Queue[bytes | _Close] = asyncio.Queue(limits.max_outgoing)
        self._closing = False
        self._farewell = False
        """Whether a close of ours is queued."""
        self._heard_at = clock.now()
        self._timer: TimerHandle | None = None

    # -- the connection -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until either side closes. Leaves no task and no request behind."""
        self._transport.open(self)
        self._watch()
        writer = asyncio.create_task(self._write(), name="eot-gateway-writer")
        try:
            await self._read()
        finally:
            self._transport.close()
            if self._timer is not None:
                self._timer.cancel()
            self._closing = True
            if not self._farewell:
                writer.cancel()
            # What was queued before a close of ours still goes out; each step of it is bounded in time.
            await asyncio.gather(writer, return_exceptions=True)
            await self._transport.aclose()

    def close(self, code: int = aiohttp.WSCloseCode.OK, reason: str = "") -> None:
        """Send what is queued, then close. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._transport.close()
        self._requests.clear()
        self._farewell = self._put(_Close(code, reason))

    def send(self, data: bytes) -> None:
        """Queue a message; a client that lets too many pile up is cut off."""
        if not self._closing:
            self._put(data)

    def _put(self, item: bytes | _Close) -> bool:
        try:
            self._outbox.put_nowait(item)
        except asyncio.QueueFull:
            self._cut("does not read its messages")
            return False
        return True

    def _cut(self, why: str) -> None:
        logger.warning("a client %s: its connection is cut", why)
        self._closing = True
        self._transport.close()
        self._abort()

    async def _read(self) -> None:
        # Handling is synchronous and short: while it lasts nothing is read, and TCP holds a fast client back.
        async for message in self._websocket:
            if self._closing:
                continue
            if message.type not in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                break
            self._heard_at = self._clock.now()
            try:
                for event in self.protocol.receive(message.data):
                    self.on_event(event)
            except Exception:
                logger.exception("a gateway session failed")
                self._fail("internal error", 500, aiohttp.WSCloseCode.INTERNAL_ERROR)

    async def _write(self) -> None:
        while True:
            item = await self._outbox.get()
            try:
                async with asyncio.timeout(self._limits.send_timeout + self._limits.close_timeout):
                    if isinstance(item, _Close):
                        await self._websocket.close(code=item.code, message=item.reason.encode())
                        return
                    async with asyncio.timeout(self._limits.send_timeout):
                        await self._websocket.send_bytes(item)
            except TimeoutError:
                self._cut("does not read its messages")
                return
            except ConnectionError:
                return  # it has gone; the reader notices too

    def _watch(self) -> None:
        """Close when nothing comes; called once, and then by its own timer."""
        new = self.protocol.state is State.NEW
        until = self._heard_at + (self._limits.create_timeout if new else self._limits.idle_timeout)
        if self._clock.now() < until:
            self._timer = self._clock.call_at(until, self._watch)
        elif new:
            self._fail("no session_create", 408, aiohttp.WSCloseCode.POLICY_VIOLATION)
        else:
            self._fail("idle", 408, aiohttp.WSCloseCode.GOING_AWAY)

    def _fail(self, text: str, code: int, close_code: int) -> None:
        """End the session with an error."""
        if self._closing:
            return
        if self.protocol.state is not State.CLOSED:
            self.send(self.protocol.error(text, code, created_at=self._wall()))
        self.close(close_code, text[:100])

    # -- from the client ----------------------------------------------------------------------------------------------

    def on_event(self, event: ClientEvent) -> None:
        """Act on what the client said."""
        match event:
            case InputAudio():
                self._on_audio(event)
            case InferenceStartRequested():
                self._on_start(event.request_id)
            case InferenceStopRequested():
                self._drop(event.request_id)
            case SessionFlushRequested():
                self._drain()
                self._transport.flush()
                self._audio.turn_ended()
            case SessionCreateRequested():
                self._sample_rate = event.sample_rate
                self.send(self.protocol.session_created(calibration_of(self._model), created_at=self._wall()))
            case SessionCloseRequested():
                self.send(self.protocol.session_closed(created_at=self._wall()))
                self.close(aiohttp.WSCloseCode.OK, "session closed")
            case ProtocolError():
                logger.info("a client broke the protocol: %s", event.code)
                close_code = _CLOSE_CODES.get(event.code, aiohttp.WSCloseCode.PROTOCOL_ERROR)
                self._fail(event.message, 400, close_code)
            case Ignored():
                logger.debug("ignored a message of kind %s", event.kind)

    def _on_audio(self, event: InputAudio) -> None:
        captured_at = event.captured_at or event.created_at or self._wall()
        self._take(self._audio.push(np.frombuffer(event.pcm, dtype="<i2"), self._sample_rate, captured_at), captured_at)

    def _drain(self) -> None:
        """Take what the resampler holds back: it was sent before what comes now."""
        held = self._audio.drain()
        if len(held):
            self._take(held, self._audio.captured_at)

    def _take(self, pcm: PcmArray, captured_at: float) -> None:
        self._timeline.add(len(pcm), captured_at)
        self._transport.push_audio(pcm, captured_at)

    def _on_start(self, request_id: str) -> None:
        arrived_at = self._clock.now()
        for older in self.protocol.pending:
            if older != request_id:
                # A client waits for its newest request only (the stock one never says stop).
                self._drop(older)
        self._drain()
        pcm = self._audio.snapshot(self._model)
        self.send(self.protocol.inference_started(request_id, created_at=self._wall()))
        if len(pcm) == 0:
            # Nothing was heard: the default, as a client gives itself, and no model's word for it.
            self.send(self.protocol.eot_prediction(request_id, 1.0, created_at=self._wall(), backend=Backend.UNKNOWN))
            return
        now = self._clock.now()
        self._requests[request_id] = RequestTimes(arrived_at, now - arrived_at, *self._timeline.span(len(pcm)))
        self._transport.start(InferenceRequest(request_id, pcm, now, now + self._limits.request_timeout))

    def _drop(self, request_id: str) -> None:
        self._requests.pop(request_id, None)
        self._transport.stop(request_id)
        self.send(self.protocol.inference_stopped(request_id, created_at=self._wall()))

    # -- from the model -----------------------------------------------------------------------------------------------

    def on_ready(self, calibration: Calibration | None) -> None:
        """The model is warm. Requests that came earlier are queued already."""

    def on_answer(self, request_id: str, answer: Answer) -> None:
        """Send a prediction."""
        if not (math.isfinite(answer.probability) and 0 <= answer.probability <= 1):
            self.on_request_failed(request_id, "bad_probability")
            return
        request = self._requests.pop(request_id, None)
        if request is None or self._closing:
            return
        wall, backchannel = self._wall(), answer.backchannel_probability
        stats = request.stats(now=self._clock.now(), wall=wall, inference_time=answer.inference_time)
        self.send(
            self.protocol.eot_prediction(
                request_id,
                answer.probability,
                created_at=wall,
                stats=stats,
                backend=Backend.MULTIMODAL,
                backchannel_probability=backchannel if backchannel is not None and 0 <= backchannel <= 1 else None,
            )
        )

    def on_request_failed(self, request_id: str, reason: str) -> None:
        """Tell the client at once, so that it need not wait for its own time-out."""
        if self._requests.pop(request_id, None) is None or self._closing:
            return
        # Only the short form: what follows the colon is the operator's business, and in the log already.
        short = reason.split(":", 1)[0]
        code = _FAILURE_CODES.get(short, 500)
        self.send(self.protocol.error(short, code, created_at=self._wall(), request_id=request_id))

    def on_failed(self, reason: str, *, retryable: bool) -> None:
        """The way to the model is gone: so is the session."""
        logger.error("the model's transport failed: %s", reason)
        self._fail("model unavailable", 503 if retryable else 500, aiohttp.WSCloseCode.INTERNAL_ERROR)


def calibration_of(model: ModelSpec) -> Calibration:
    """What ``session_created`` says. A client refuses an empty map, so a model for any language names English."""
    thresholds = dict(model.thresholds) or {"en": model.default_threshold}
    return Calibration(thresholds, model.default_threshold)
