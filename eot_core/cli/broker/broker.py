"""The broker: plays a recording to a LiveKit agent over its TCP console, and tells what the agent does."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from . import events as ev
from . import protocol
from .conversation import Conversation, StopReason
from .playback import Playback
from .process import AgentProcess
from .source import FRAME_DURATION, NOISE_DBFS, RecordingSource

_LEAD_FRAMES: Final = 15
"""0.3 s of noise before the recording: the agent drops the frames that come before its audio input is first read."""
_LEAVE_GRACE: Final = 2.0
"""Seconds that an agent which hung up has to end by itself."""
_POLL: Final = 0.25
"""Seconds between questions to an agent that is starting up."""


class BrokerError(Exception):
    """The session could not be held. The message says why, with what the agent wrote last."""


@dataclass(frozen=True, slots=True)
class ConsoleResult:
    """What a session came to."""

    reason: StopReason
    """Why it ended."""
    events: tuple[ev.Event, ...]
    """Everything that was told, in order of arrival; the samples of AudioReceived included."""
    duration: float
    """Seconds from the start of the recording to the end of the session."""
    agent_exit_code: int | None


def console_command(agent: str | Path) -> list[str]:
    """The command that runs an agent's file in console mode, with this interpreter; the address is added later."""
    return [sys.executable, "-m", "livekit.agents", "console", str(agent)]


class ConsoleBroker:
    """One session: starts the agent, plays the recording, stops the agent.

    Args:
        command: the agent's command without ``--connect-addr``, see :func:`console_command`.
        pcm: the recording, int16 mono, shape (n,), n > 0.
        sample_rate: of the recording, in Hz.
        on_event: called on the event loop with each event as it comes. What it raises ends the session.
        on_agent_output: called with each line that the agent writes.
        env: added to the agent's environment.
        connect_timeout: seconds the agent has to start and answer.
        answer_timeout: seconds after the recording that the last turn has to end and be answered.
        noise_dbfs: level of the noise around the recording in dB below full scale; None for digital silence.
    """

    def __init__(
        self,
        command: Sequence[str],
        pcm: npt.NDArray[np.int16],
        sample_rate: int,
        *,
        on_event: Callable[[ev.Event], None] | None = None,
        on_agent_output: Callable[[str], None] | None = None,
        env: Mapping[str, str] | None = None,
        connect_timeout: float = 60.0,
        answer_timeout: float = 15.0,
        noise_dbfs: float | None = NOISE_DBFS,
    ) -> None:
        if not command:
            raise ValueError("command must not be empty: give console_command('agent.py')")
        if connect_timeout <= 0:
            raise ValueError(f"connect_timeout must be positive (seconds), got {connect_timeout}")
        if answer_timeout <= 0:
            raise ValueError(f"answer_timeout must be positive (seconds), got {answer_timeout}")
        self._source = RecordingSource(pcm, sample_rate, lead=_LEAD_FRAMES, noise_dbfs=noise_dbfs)
        self._command = tuple(command)
        self._on_event = on_event
        self._on_agent_output = on_agent_output
        self._env = dict(env or {})
        self._connect_timeout = connect_timeout
        self._conversation = Conversation(self._source.duration, answer_timeout)
        self._playback = Playback()
        self._events: list[ev.Event] = []
        self._connected = asyncio.Event()
        self._ready = asyncio.Event()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._zero = 0.0
        self._wall_zero = 0.0
        self._ran = False

    @property
    def position(self) -> float:
        """Seconds of the recording that have been played by now; negative before it began."""
        return time.monotonic() - self._zero

    async def run(self) -> ConsoleResult:
        """Hold the session, once. Raises :class:`BrokerError`; the agent is stopped in any case."""
        if self._ran:
            raise RuntimeError("a ConsoleBroker holds one session: make another one")
        self._ran = True
        self._set_zero(time.monotonic())
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        agent = AgentProcess(
            [*self._command, "--connect-addr", f"127.0.0.1:{port}"], env=self._env, on_output=self._on_agent_output
        )
        try:
            try:
                await agent.start()
            except OSError as e:
                raise BrokerError(f"the agent could not be started: {e}. Command: {' '.join(self._command)}") from e
            reason = await self._hold(agent)
            duration = self.position
        finally:
            # The last line waits and can be cut short by a second cancellation, so it comes after the sockets.
            server.close()
            if self._writer is not None:
                self._writer.transport.abort()
            await agent.stop()
        return ConsoleResult(reason, tuple(self._events), duration, agent.returncode)

    async def _hold(self, agent: AgentProcess) -> StopReason:
        gone = asyncio.create_task(agent.wait())
        receiving: asyncio.Task[StopReason] | None = None
        talking: asyncio.Task[StopReason] | None = None
        try:
            receiving = asyncio.create_task(self._receive(await self._connect(agent, gone)))
            await self._wait_until_ready(agent, gone, receiving)
            self._set_zero(time.monotonic() + _LEAD_FRAMES * FRAME_DURATION)
            talking = asyncio.create_task(self._talk())
            await asyncio.wait({talking, receiving, gone}, return_when=asyncio.FIRST_COMPLETED)
            if talking.done():
                return talking.result()
            if receiving.done():
                receiving.result()  # raises what broke the connection, if it did not just end
            # It left by itself: its own exit code tells more than that of an interrupted process.
            await asyncio.wait({gone}, timeout=_LEAVE_GRACE)
            return StopReason.AGENT_LEFT
        except (ConnectionError, protocol.ProtocolError) as e:
            raise BrokerError(_with_output(f"the console connection broke: {e}", agent)) from e
        finally:
            started = [task for task in (gone, receiving, talking) if task is not None]
            for each in started:
                each.cancel()
            await asyncio.gather(*started, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connected.is_set():
            writer.close()  # one agent per session
            return
        self._reader, self._writer = reader, writer
        self._connected.set()

    async def _connect(self, agent: AgentProcess, gone: asyncio.Task[int]) -> asyncio.StreamReader:
        connected = asyncio.create_task(self._connected.wait())
        await asyncio.wait({connected, gone}, timeout=self._connect_timeout, return_when=asyncio.FIRST_COMPLETED)
        connected.cancel()
        if self._reader is not None:
            return self._reader
        if gone.done():
            raise BrokerError(_with_output(f"the agent ended (exit code {gone.result()}) before it connected", agent))
        raise BrokerError(
            _with_output(
                f"the agent did not connect within {self._connect_timeout:g} s, as it does on session.start()",
                agent,
            )
        )

    async def _wait_until_ready(
        self, agent: AgentProcess, gone: asyncio.Task[int], receiving: asyncio.Task[StopReason]
    ) -> None:
        """Ask until the session is up and past its initialisation, which is when it reads its audio input."""
        deadline = time.monotonic() + self._connect_timeout
        ready = asyncio.create_task(self._ready.wait())
        try:
            number = 0
            while not ready.done():
                if receiving.done():
                    receiving.result()  # raises what broke the connection, if it did not just end
                if receiving.done() or gone.done():
                    raise BrokerError(_with_output("the agent hung up before its session was ready", agent))
                if time.monotonic() > deadline:
                    raise BrokerError(
                        _with_output(f"the agent's session was not ready within {self._connect_timeout:g} s", agent)
                    )
                number += 1
                self._send(protocol.get_session_state(f"state-{number}"))
                await asyncio.wait({ready, receiving, gone}, timeout=_POLL, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()

    async def _talk(self) -> StopReason:
        """Send a frame every 20 ms, at the moment a microphone would have it, until the conversation is over."""
        assert self._writer is not None
        index = 0
        while True:
            due = self._zero + (index + 1 - _LEAD_FRAMES) * FRAME_DURATION
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._send(protocol.audio_input(self._source.frame(index)))
            await self._writer.drain()
            index += 1
            self._poll_playback()
            reason = self._conversation.over(self.position, playing=self._playback.active)
            if reason is not None:
                return reason

    async def _receive(self, reader: asyncio.StreamReader) -> StopReason:
        decoder = protocol.MessageDecoder()
        while data := await reader.read(1 << 16):
            for message in decoder.feed(data):
                self._handle(message)
        return StopReason.AGENT_LEFT

    def _handle(self, message: protocol.Message) -> None:
        match message.WhichOneof("message"):
            case "event":
                event = protocol.to_event(message.event, self.position, lambda wall: wall - self._wall_zero)
                if event is not None:
                    self._tell(event)
            case "audio_output":
                frame = message.audio_output
                duration = frame.samples_per_channel / frame.sample_rate if frame.sample_rate else 0.0
                self._playback.push(duration, time.monotonic())
                self._tell(
                    ev.AudioReceived(self.position, None, frame.data, frame.sample_rate, frame.num_channels, duration)
                )
            case "audio_playback_flush":
                self._playback.flush(time.monotonic())
                self._poll_playback()
            case "audio_playback_clear":
                cut = self._playback.clear(time.monotonic())
                if cut is not None:
                    self._tell(ev.PlaybackEnded(self.position, None, cut.duration, interrupted=True))
            case "response" if message.response.HasField("get_session_state"):
                if protocol.agent_state(message.response.get_session_state.agent_state) != "initializing":
                    self._ready.set()

    def _poll_playback(self) -> None:
        finished = self._playback.poll(time.monotonic())
        if finished is not None:
            self._send(protocol.playback_finished())
            self._tell(ev.PlaybackEnded(self.position, None, finished.duration, interrupted=False))

    def _tell(self, event: ev.Event) -> None:
        self._events.append(event)
        self._conversation.observe(event)
        if self._on_event is not None:
            self._on_event(event)

    def _send(self, message: protocol.Message) -> None:
        if self._writer is not None:
            self._writer.write(protocol.encode(message))

    def _set_zero(self, zero: float) -> None:
        self._zero = zero
        self._wall_zero = time.time() + (zero - time.monotonic())


def _with_output(text: str, agent: AgentProcess) -> str:
    tail = agent.output_tail
    return f"{text}. Last lines of the agent:\n{tail}" if tail else text
