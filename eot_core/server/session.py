"""One client's connection: messages in, predictions out."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable

import aiohttp
import numpy as np
from aiohttp import web

from ..clock import Clock, TimerHandle
from ..models.base import ModelSpec
from ..protocol import (
    Backend,
    ClientEvent,
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
from ..transports.scheduler import JobFailed
from .admission import Admission
from .catch_up import CatchUp
from .connection import Connection
from .counts import GatewayCounts
from .ledger import RequestLedger
from .limits import GatewayLimits
from .network import SpeechNetwork
from .turns import Excerpt, TurnListener
from .wire import calibration_of, close_code, failure_code

logger = logging.getLogger(__name__)


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
        network: SpeechNetwork | None = None,
        catch_up: CatchUp | None = None,
        counts: GatewayCounts | None = None,
        admission: Admission | None = None,
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
            network: of the VAD that finds the onset of speech, for a model that scores turns; None: it sees all since
                the last turn.
            catch_up: lets the sessions' VADs work together; None: each by itself.
            counts: of the gateway; None: the session's own.
            admission: of the gateway; None: every request is let in.
        """
        self.protocol = ServerProtocol(limits.protocol)
        self._transport = transport
        self._model = model
        self._limits = limits
        self._clock = clock
        self._wall = wall_clock
        self._turns = TurnListener(model, network, catch_up=catch_up)
        self._sample_rate = 0
        self._requests = RequestLedger(counts, admission)
        self._connection = Connection(websocket, limits, abort=abort, on_cut=lambda: self._end("slow_reader"))
        self._ended = False
        self._leaving: tuple[int, str] | None = None
        self._ended_by = "client"
        self.over = asyncio.Event()
        """Set when no request will be answered any more."""
        self._heard_at = clock.now()
        self._timer: TimerHandle | None = None

    # -- the connection -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until either side closes. Leaves no task and no request behind."""
        self._requests.counts.started += 1
        self._transport.open(self)
        self._watch()
        try:
            self._end(await self._connection.run(self._receive))
        finally:
            self._end("internal_error")
            if self._timer is not None:
                self._timer.cancel()
            self._requests.counts.ended[self._ended_by] += 1
            await self._transport.aclose()

    def close(self, code: int = aiohttp.WSCloseCode.OK, reason: str = "", *, why: str = "going_away") -> None:
        """Send what is queued, then close. Idempotent.

        Args:
            code: of the closing handshake.
            reason: for people, the same.
            why: for the counts.
        """
        self._end(why)
        self._connection.close(code, reason)

    def leave(self, code: int, reason: str) -> None:
        """Close as soon as no request waits for its answer; :attr:`over` tells when."""
        self._leaving = code, reason
        self._leave_when_idle()

    def send(self, data: bytes) -> None:
        """Queue a message; a client that lets too many pile up is cut off."""
        self._connection.send(data)

    def _leave_when_idle(self) -> None:
        if self._leaving is not None and not self._requests:
            self.close(*self._leaving)

    def _end(self, why: str) -> None:
        """Nothing is answered from here on. Only the first reason counts."""
        if self._ended:
            return
        self._ended, self._ended_by = True, why
        self._transport.close()
        self._turns.close()
        self._requests.abandon()
        self.over.set()

    def _receive(self, data: bytes | str) -> None:
        self._heard_at = self._clock.now()
        try:
            for event in self.protocol.receive(data):
                self.on_event(event)
        except Exception:
            logger.exception("a gateway session failed")
            self._fail("internal error", 500, aiohttp.WSCloseCode.INTERNAL_ERROR, why="internal_error")

    def _watch(self) -> None:
        """Close when nothing comes; called once, and then by its own timer."""
        new = self.protocol.state is State.NEW
        until = self._heard_at + (self._limits.create_timeout if new else self._limits.idle_timeout)
        if self._clock.now() < until:
            self._timer = self._clock.call_at(until, self._watch)
        elif new:
            self._fail("no session_create", 408, aiohttp.WSCloseCode.POLICY_VIOLATION, why="no_session_create")
        else:
            self._fail("idle", 408, aiohttp.WSCloseCode.GOING_AWAY, why="idle")

    def _fail(self, text: str, code: int, closing_code: int, *, why: str) -> None:
        """End the session with an error."""
        if self._ended:
            return
        if self.protocol.state is not State.CLOSED:
            self.send(self.protocol.error(text, code, created_at=self._wall()))
        self.close(closing_code, text[:100], why=why)

    # -- from the client ----------------------------------------------------------------------------------------------

    def on_event(self, event: ClientEvent) -> None:
        """Act on what the client said."""
        match event:
            case InputAudio():
                self._on_audio(event)
            case InferenceStartRequested():
                self._on_start(event.request_id)
            case InferenceStopRequested():
                self._drop(event.request_id, "stopped")
                self._leave_when_idle()
            case SessionFlushRequested():
                self._drain()
                self._transport.flush()
                self._turns.turn_ended()
            case SessionCreateRequested():
                self._sample_rate = event.sample_rate
                self.send(self.protocol.session_created(calibration_of(self._model), created_at=self._wall()))
            case SessionCloseRequested():
                self.send(self.protocol.session_closed(created_at=self._wall()))
                self.close(aiohttp.WSCloseCode.OK, "session closed", why="client")
            case ProtocolError():
                logger.info("a client broke the protocol: %s", event.code)
                self._fail(event.message, 400, close_code(event.code), why="violation")
            case Ignored():
                logger.debug("ignored a message of kind %s", event.kind)

    def _on_audio(self, event: InputAudio) -> None:
        captured_at = event.captured_at or event.created_at or self._wall()
        self._requests.counts.audio_seconds += len(event.pcm) / 2 / self._sample_rate
        pcm = self._turns.push(np.frombuffer(event.pcm, dtype="<i2"), self._sample_rate, captured_at)
        self._transport.push_audio(pcm, captured_at)

    def _drain(self) -> None:
        """Take what the resampler holds back: it was sent before what comes now."""
        held = self._turns.drain()
        if len(held):
            self._transport.push_audio(held, self._turns.captured_at)

    def _on_start(self, request_id: str) -> None:
        now = self._clock.now()
        for older in self.protocol.pending:
            if older != request_id:
                # A client waits for its newest request only (the stock one never says stop).
                self._drop(older, "superseded")
        self._drain()
        self.send(self.protocol.inference_started(request_id, created_at=self._wall()))
        if not self._requests.enter(request_id, now):
            self._refuse(request_id, "overloaded")
            return
        deadline = now + self._limits.request_timeout
        self._turns.prepare(
            request_id, self._limits.request_timeout, lambda excerpt: self._on_excerpt(request_id, excerpt, deadline)
        )

    def _on_excerpt(self, request_id: str, excerpt: Excerpt | JobFailed, deadline: float) -> None:
        times = self._requests.get(request_id)
        if times is None:
            return
        if isinstance(excerpt, JobFailed):
            self.on_request_failed(request_id, excerpt.reason)
            return
        if len(excerpt.pcm) == 0:
            # Nothing was heard: the default, as a client gives itself, and no model's word for it.
            self._requests.settle(request_id, "default", "no_audio")
            self.send(self.protocol.eot_prediction(request_id, 1.0, created_at=self._wall(), backend=Backend.UNKNOWN))
            self._leave_when_idle()
            return
        now = self._clock.now()
        times.prepared_in = now - times.arrived_at
        times.earliest, times.latest = excerpt.earliest, excerpt.latest
        self._transport.start(InferenceRequest(request_id, excerpt.pcm, now, deadline))

    def _drop(self, request_id: str, outcome: str) -> None:
        self._requests.settle(request_id, outcome)
        self._turns.cancel(request_id)
        self._transport.stop(request_id)
        self.send(self.protocol.inference_stopped(request_id, created_at=self._wall()))

    def _refuse(self, request_id: str, reason: str) -> None:
        """Tell the client at once, so that it need not wait for its own time-out."""
        message = self.protocol.error(reason, failure_code(reason), created_at=self._wall(), request_id=request_id)
        self.send(message)
        self._leave_when_idle()

    # -- from the model -----------------------------------------------------------------------------------------------

    def on_ready(self, calibration: Calibration | None) -> None:
        """The model is warm. Requests that came earlier are queued already."""

    def on_answer(self, request_id: str, answer: Answer) -> None:
        """Send a prediction."""
        if not (math.isfinite(answer.probability) and 0 <= answer.probability <= 1):
            self.on_request_failed(request_id, "bad_probability")
            return
        now, wall, backchannel = self._clock.now(), self._wall(), answer.backchannel_probability
        times = self._requests.answered(request_id, now=now, queued=answer.queue_time, worked=answer.inference_time)
        if times is None:
            return
        stats = times.stats(now=now, wall=wall, inference_time=answer.inference_time)
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
        self._leave_when_idle()

    def on_request_failed(self, request_id: str, reason: str) -> None:
        """Tell the client at once."""
        # Only the short form: what follows the colon is the operator's business, and in the log already.
        short = reason.split(":", 1)[0]
        if self._requests.settle(request_id, "failed", short) is not None:
            self._refuse(request_id, short)

    def on_failed(self, reason: str, *, retryable: bool) -> None:
        """The way to the model is gone: so is the session."""
        logger.error("the model's transport failed: %s", reason)
        code = 503 if retryable else 500
        self._fail("model unavailable", code, aiohttp.WSCloseCode.INTERNAL_ERROR, why="model_unavailable")
