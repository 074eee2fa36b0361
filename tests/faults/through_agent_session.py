"""A cell through a real AgentSession: real endpointing, real microphone frames, scripted STT and LLM."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

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
from livekit import rtc
from livekit.agents import Agent, AgentSession, APIConnectOptions, TurnHandlingOptions, llm, vad
from livekit.agents.voice.io import AudioInput
from log_book import LogBook

from adapters.livekit import TurnDetector
from adapters.livekit.scripted import ScriptedLLM, ScriptedSTT
from adapters.livekit.stream import TurnDetectorStream
from eot_core import FallbackOptions, Outcome, Prediction

_RATE = 16_000
_FRAME = 0.05
_NOISE = (np.random.default_rng(0).standard_normal(round(_FRAME * _RATE)) * 3000).astype(np.int16)


class LoudnessVAD(vad.VAD):
    """Loud is speech. With the events of LiveKit's own VAD, a window for each frame."""

    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=_FRAME))

    @property
    def model(self) -> str:
        return "loudness"

    @property
    def provider(self) -> str:
        return "tests"

    @property
    def min_silence_duration(self) -> float:
        return SILENCE

    def stream(self) -> vad.VADStream:
        return _LoudnessStream(self)


class _LoudnessStream(vad.VADStream):
    async def _main_task(self) -> None:
        at = speech = silence = 0.0
        speaking = False
        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame):
                continue
            at += frame.duration
            loud = bool(np.abs(np.frombuffer(frame.data, dtype=np.int16)).max() > 500)
            speech, silence = (speech + frame.duration, 0.0) if loud else (0.0, silence + frame.duration)
            if loud and not speaking:
                speaking = True
                self._tell(vad.VADEventType.START_OF_SPEECH, at, speech, 0.0, frame, speaking)
            self._tell(vad.VADEventType.INFERENCE_DONE, at, speech, silence, frame, speaking)
            if speaking and silence >= SILENCE - 1e-9:
                speaking = False
                self._tell(vad.VADEventType.END_OF_SPEECH, at, speech, silence, frame, speaking)

    def _tell(
        self, kind: vad.VADEventType, at: float, speech: float, silence: float, frame: rtc.AudioFrame, speaking: bool
    ) -> None:
        self._event_ch.send_nowait(
            vad.VADEvent(
                type=kind,
                samples_index=round(at * _RATE),
                timestamp=at,
                speech_duration=speech,
                silence_duration=silence,
                frames=[frame],
                speaking=speaking,
                raw_accumulated_speech=speech,
                raw_accumulated_silence=silence,
            )
        )


class Microphone(AudioInput):
    """Frames by the loop's clock: noise while somebody speaks, silence else."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self._next: float | None = None
        self.speaking_until = 0.0

    async def __anext__(self) -> rtc.AudioFrame:
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.time()
        self._next += _FRAME
        await asyncio.sleep(self._next - loop.time())
        loud = self._next <= self.speaking_until + 1e-6
        samples = _NOISE if loud else np.zeros_like(_NOISE)
        return rtc.AudioFrame(samples.tobytes(), _RATE, 1, len(samples))


class Listener(Agent):
    """Notes when a turn of the user is committed."""

    def __init__(self) -> None:
        super().__init__(instructions="Repeat what you are told.")
        self.turn_ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def on_user_turn_completed(self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage) -> None:
        if not self.turn_ended.done():
            self.turn_ended.set_result(asyncio.get_running_loop().time())


def make_detector(around: Surroundings, mode: Mode) -> TurnDetector:
    enabled = mode is not Mode.NO_FALLBACK
    return TurnDetector(
        version="v1",
        base_url=around.url,
        api_key=KEY,
        api_secret=SECRET,
        sample_rate=around.sample_rate,
        http_session=around.http_session,
        conn_options=APIConnectOptions(max_retry=0, timeout=around.connect_timeout),
        local_fallback=enabled,
        fallback=FallbackOptions(enabled=enabled, retries=around.retries, retry_interval=RETRY_INTERVAL),
        fallback_model=local_model(mode),
    )


async def through_agent_session(case: Case, moment: Moment, mode: Mode = Mode.FALLBACK) -> Row:
    """Two turns of a session, with the fault in one of them."""
    row = Row(case, moment, mode)
    before = Left.now()
    with LogBook() as log:
        async with surroundings(case, moment) as around:
            driver = _Driver(row, around, make_detector(around, mode))
            await driver.drive()
            await asyncio.sleep(0.01)  # the last callbacks of closed sockets
            assert around.strike.far is not None
            # Before the far end goes, which would take a forgotten connection with it.
            row.left = before.more(except_tasks="far end", except_descriptors=around.strike.far.descriptors)
        row.pending = sum(not future.done() for future in driver.futures)
        row.warnings, row.errors = log.warnings, log.errors
    del driver
    await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    gc.collect()
    await asyncio.sleep(0.01)
    row.left += before.more()
    return row


class _Driver:
    def __init__(self, row: Row, around: Surroundings, detector: TurnDetector) -> None:
        self.row = row
        self.around = around
        self.detector = detector
        self.loop = asyncio.get_running_loop()
        self.microphone = Microphone()
        self.predictions: list[tuple[float, Prediction]] = []
        self.asked: list[float] = []
        self.futures: list[asyncio.Future[Any]] = []
        self.strike_at: Moment | None = None
        self.session: AgentSession[None] | None = None
        self.closing: asyncio.Task[None] | None = None
        detector.on("fallback", lambda event: row.reasons.append(event.reason))
        detector.on("prediction", lambda event: self.predictions.append((self.loop.time(), event)))
        self._watch_requests()

    def _watch_requests(self) -> None:
        """LiveKit makes the streams and the requests; the matrix needs to know when."""
        make_stream = self.detector.stream

        def stream(**options: Any) -> TurnDetectorStream:
            made = make_stream(**options)
            predict = made.predict

            def watched() -> asyncio.Future[Any]:
                future = predict()
                self.asked.append(self.loop.time())
                self.futures.append(future)
                if self.strike_at is Moment.FLIGHT:
                    self.strike_at = None
                    self.loop.call_later(0.1, self.strike)
                return future

            made.predict = watched  # type: ignore[method-assign]
            return made

        self.detector.stream = stream  # type: ignore[method-assign]

    async def drive(self) -> None:
        loudness = LoudnessVAD()
        self.session = AgentSession(
            vad=loudness,
            stt=ScriptedSTT(["first turn", "second turn"], vad=loudness),
            llm=ScriptedLLM(),
            turn_handling=TurnHandlingOptions(turn_detection=self.detector),
        )
        self.session.input.audio = self.microphone
        agent = Listener()
        if self.row.moment is Moment.CONNECT:
            self.loop.call_later(0.05, self.strike)
        await self.session.start(agent)
        await asyncio.sleep(LEAD)
        for number in (1,) if self.row.case.closes_stream else (1, 2):
            self.row.turns.append(await self.turn(number, agent))
        await self.session.aclose()
        if self.closing is not None:
            await self.closing

    async def turn(self, number: int, agent: Listener) -> Turn:
        mine = number == self.row.case.turn
        agent.turn_ended = self.loop.create_future()
        self.predictions.clear()
        self.asked.clear()
        began_at = round(self.loop.time() / _FRAME) * _FRAME
        ended_at = began_at + (LONG_SPEECH if self.row.case.narrow else SPEECH)
        self.microphone.speaking_until = ended_at
        if mine and self.row.moment is Moment.SPEECH:
            self.loop.call_later(SPEECH / 2, self.strike)
        if mine and self.row.moment is Moment.FLIGHT:
            self.strike_at = Moment.FLIGHT
        await asyncio.wait({agent.turn_ended}, timeout=ended_at - self.loop.time() + 5.0)
        turn = Turn(ended=agent.turn_ended.result() - ended_at if agent.turn_ended.done() else None)
        if self.predictions and self.asked:
            resolved_at, prediction = self.predictions[0]
            answered = prediction.outcome is Outcome.ANSWERED
            turn.by = prediction.source if answered else prediction.outcome.value
            turn.why = prediction.reason.split(":")[0] if prediction.reason is not None else None
            turn.probability = prediction.probability
            turn.resolved = (resolved_at - self.asked[0]) / DEADLINE
        await asyncio.sleep(0.5)  # the agent answers
        return turn

    def strike(self) -> None:
        in_flight = bool(self.futures) and not self.futures[-1].done()
        self.row.struck = self.row.moment is not Moment.FLIGHT or in_flight
        self.around.strike.now.set()
        if self.row.case.closes_stream and self.session is not None:
            self.closing = self.loop.create_task(self.session.aclose())
