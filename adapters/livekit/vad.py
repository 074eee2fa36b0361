"""Our Silero as a LiveKit ``VAD``: the same windows, events and options as ``livekit.agents.inference.VAD``."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import weakref
from dataclasses import replace
from typing import Any, TypedDict, Unpack

import numpy as np
from livekit import rtc
from livekit.agents import NOT_GIVEN, NotGivenOr, vad
from livekit.agents.utils import is_given, log_exceptions

from eot_core.audio import AudioFormatError, check_sample_rate
from eot_core.models.base import SAMPLE_RATE, PcmArray
from eot_core.options import check_seconds
from eot_core.vad import SileroVAD, SpeechEnded, SpeechStarted, VADEvent, VADOptions, WindowScored
from eot_core.vad.hysteresis import WINDOW, WINDOW_SAMPLES
from eot_core.vad.stream import VADStream as CoreStream

from .frames import mono
from .heard import HeardEvent, taken
from .speech_buffer import SpeechBuffer
from .threads import vad_threads

logger = logging.getLogger("adapters.livekit")

_SLOW = 0.2
"""Seconds behind real time that are worth a warning, as in LiveKit's VAD."""

_IDLE = 1.0
"""Seconds without any audio, in the middle of speech, that are taken for its end, as in Pipecat's VAD: a transport may
send nothing while the microphone is muted, and the turn would never end."""
_SOON_SILENT = 3.0
"""Seconds of digital silence by which Silero, whatever it has heard, hears none; it takes well under one."""


class _Idle(vad.VADStream._FlushSentinel):
    """Goes the way of the frames, when there have been none for :data:`_IDLE`."""


class VADChanges(TypedDict, total=False):
    """What ``update_options`` takes: as :class:`VAD` does, in seconds and 0..1; NOT_GIVEN leaves it as it is."""

    min_speech_duration: NotGivenOr[float]
    min_silence_duration: NotGivenOr[float]
    prefix_padding_duration: NotGivenOr[float]
    max_buffered_speech: NotGivenOr[float]
    activation_threshold: NotGivenOr[float]
    deactivation_threshold: NotGivenOr[float | None]


class VAD(vad.VAD):
    """Tells speech from silence. One for an application; nothing is loaded before the first stream.

    The network is loaded once per process, and a few threads, as many as the CPU quota has cores, serve every stream.
    """

    def __init__(
        self,
        *,
        min_speech_duration: float = 0.05,
        min_silence_duration: float = 0.25,
        prefix_padding_duration: float = 0.5,
        max_buffered_speech: float = 60.0,
        activation_threshold: float = 0.5,
        deactivation_threshold: NotGivenOr[float | None] = NOT_GIVEN,
        weights: str | os.PathLike[str] | None = None,
    ) -> None:
        """
        Args:
            min_speech_duration: seconds of speech in a row after which speech has started.
            min_silence_duration: seconds of silence in a row after which it has ended. A turn detector needs 0.25 s.
            prefix_padding_duration: seconds before the start of speech that its frames begin with.
            max_buffered_speech: seconds of speech that are kept for the frames of an event; the rest is left out.
            activation_threshold: a window at least this probable is speech; more than 0, at most 1.
            deactivation_threshold: while speaking, a window stays speech above this. Not given: always 0.15 below
                ``activation_threshold``, but at least 0.01.
            weights: path of silero_vad.onnx; None looks inside the installed packages.

        Raises:
            ValueError: an option is out of range; the message names it.
        """
        super().__init__(capabilities=vad.VADCapabilities(update_interval=WINDOW))
        self._options = VADOptions(
            activation_threshold=activation_threshold,
            deactivation_threshold=deactivation_threshold if is_given(deactivation_threshold) else None,
            min_speech_duration=min_speech_duration,
            min_silence_duration=min_silence_duration,
        )
        self._prefix = check_seconds(prefix_padding_duration, "prefix_padding_duration")
        self._max_speech = check_seconds(max_buffered_speech, "max_buffered_speech", positive=True)
        if weights is not None and not isinstance(weights, str | os.PathLike):
            raise TypeError(f"weights must be a path, got {type(weights).__name__}")
        self._silero = SileroVAD(self._options, weights=weights)
        self._streams: weakref.WeakSet[VADStream] = weakref.WeakSet()

    @property
    def model(self) -> str:
        """ "silero"."""
        return "silero"

    @property
    def provider(self) -> str:
        """Who runs it."""
        return "eot-adapters"

    @property
    def min_silence_duration(self) -> float:
        """Seconds; LiveKit checks that a turn detector can work with it."""
        return self._options.min_silence_duration

    def stream(self) -> VADStream:
        """A stream for one speaker, on the running event loop. It loads the network in the background.

        A network that cannot be loaded ends the stream with a :class:`eot_core.models.base.ModelError`.
        """
        stream = VADStream(self, self._silero, self._options, self._prefix, self._max_speech)
        self._streams.add(stream)
        return stream

    def load(self) -> None:
        """Load the network, now, in this thread, and start none: for a worker's forkserver.

        Raises:
            ModelError: it cannot be loaded; the message says what to install.
        """
        self._silero.stream()

    def warm_up(self) -> None:
        """Load the network and score a window, now, in this thread, e.g. in a worker's ``prewarm_fnc``.

        Raises:
            ModelError: it cannot be loaded; the message says what to install.
        """
        self._silero.warm_up()

    def update_options(self, **changes: Unpack[VADChanges]) -> None:
        """Other options, for the streams to come and, from the next window, for those that are open.

        Raises:
            TypeError: there is no option of that name. Nothing has changed then.
            ValueError: an option is out of range; the message names it. Nothing has changed then.
        """
        options, prefix, max_speech = _updated(self._options, self._prefix, self._max_speech, **changes)
        self._options, self._prefix, self._max_speech = options, prefix, max_speech
        self._silero.options = options
        for stream in list(self._streams):
            stream._update(options, prefix, max_speech)


class VADStream(vad.VADStream):
    """Made by :meth:`VAD.stream`; iterate over it for :class:`livekit.agents.vad.VADEvent`.

    Frames may have any length, any rate from 8 to 48 kHz, which may change in mid-stream, and several channels, which
    are averaged. Frames of events are mono at the rate of the newest audio.

    The ``inference_duration`` of START_OF_SPEECH and END_OF_SPEECH is all the time from the end of the window that
    decided to the event, the rest of its frame included: LiveKit subtracts it, and the silence, to find the true end of
    speech, from which every delay counts.
    """

    def __init__(self, parent: VAD, silero: SileroVAD, options: VADOptions, prefix: float, max_speech: float) -> None:
        self._silero = silero
        self._options = options
        self._prefix, self._max_speech = prefix, max_speech
        self._buffer = SpeechBuffer(prefix, max_speech)
        self._core: CoreStream | None = None
        self._heard = 0.0
        self._made_up = self._ago = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._complained: set[str] = set()
        super().__init__(parent)

    async def __anext__(self) -> vad.VADEvent:
        event = await super().__anext__()
        taken(event)
        return event

    def update_options(self, **changes: Unpack[VADChanges]) -> None:
        """Other options, for this stream alone, from the next window.

        Raises:
            TypeError: there is no option of that name. Nothing has changed then.
            ValueError: an option is out of range; the message names it. Nothing has changed then.
        """
        self._update(*_updated(self._options, self._prefix, self._max_speech, **changes))

    def _update(self, options: VADOptions, prefix: float, max_speech: float) -> None:
        self._options = options
        self._prefix, self._max_speech = prefix, max_speech
        self._buffer.resize(prefix, max_speech)
        if self._core is not None:
            self._core.options = options

    @log_exceptions(logger=logger)
    async def _main_task(self) -> None:
        loop = asyncio.get_running_loop()
        core = await loop.run_in_executor(vad_threads(), self._silero.stream)
        core.options = self._options
        self._core = core
        behind, rate = 0.0, SAMPLE_RATE
        last_frame_at = time.perf_counter()
        try:
            async for item in self._input_ch:
                self._stop_idle_timer()
                if isinstance(item, _Idle):
                    await self._end_of_audio(core, rate, last_frame_at)
                    continue
                if not isinstance(item, rtc.AudioFrame):
                    core.reset()
                    self._buffer.clear()
                    behind = self._heard = 0.0
                    continue
                try:
                    pcm, rate = mono(item), check_sample_rate(item.sample_rate)
                except (AudioFormatError, AttributeError, TypeError, ValueError) as error:
                    self._complain(f"audio was dropped: {error}")
                    continue
                last_frame_at = time.perf_counter()
                took = await self._hear(core, pcm, rate)
                behind = max(0.0, behind + took - len(pcm) / rate)
                if behind > _SLOW:
                    logger.warning("the VAD is slower than real time", extra={"delay": behind})
                    behind = 0.0
                if core.speaking:
                    self._idle_timer = loop.call_later(_IDLE, self._idle)
        finally:
            self._stop_idle_timer()

    async def _hear(self, core: CoreStream, pcm: PcmArray, rate: int, *, since: float | None = None) -> float:
        """Have a frame scored, and send what follows. Returns how long that took, in seconds.

        ``since``: when the audio really ended, where ``pcm`` is made up; in seconds of ``time.perf_counter``.
        """
        began = time.perf_counter()
        events = await asyncio.get_running_loop().run_in_executor(vad_threads(), core.push, pcm, rate)
        now = time.perf_counter()
        self._heard += len(pcm) / rate
        self._made_up = 0.0 if since is None else self._made_up + len(pcm) / rate
        self._ago = 0.0 if since is None else now - since
        self._buffer.push(pcm, rate)
        windows = sum(isinstance(event, WindowScored) for event in events)
        for event in events:
            # From the end of the event's window to this moment, so that LiveKit finds the true end of speech.
            late = now - began + max(0.0, self._heard - event.at)
            if since is not None and isinstance(event, SpeechEnded):
                late = now - since - event.silence_duration
            self._event_ch.send_nowait(self._translate(event, rate, (now - began) / windows, late))
        return now - began

    async def _end_of_audio(self, core: CoreStream, rate: int, last_frame_at: float) -> None:
        """There is no audio any more: silence, for all that is known."""
        window = np.zeros(round(WINDOW * rate), dtype=np.int16)
        for _ in range(round(_SOON_SILENT / WINDOW)):
            if not core.speaking:
                return
            await self._hear(core, window, rate, since=last_frame_at)

    def _idle(self) -> None:
        if not self._input_ch.closed:
            self._input_ch.send_nowait(_Idle())

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _translate(self, event: VADEvent, rate: int, inference_duration: float, late: float) -> vad.VADEvent:
        match event:
            case WindowScored():
                if not event.speaking and event.raw_accumulated_speech == 0.0:
                    self._buffer.keep_prefix()
                window, overflowed = self._buffer.next_window()
                if overflowed:
                    logger.warning("max_buffered_speech is reached: the rest of this speech is left out of its frames")
                return HeardEvent(
                    type=vad.VADEventType.INFERENCE_DONE,
                    samples_index=_samples(event.at),
                    timestamp=event.at,
                    speech_duration=event.speech_duration,
                    silence_duration=event.silence_duration,
                    frames=[_frame(window, rate)],
                    probability=event.probability,
                    inference_duration=inference_duration,
                    speaking=event.speaking,
                    raw_accumulated_silence=event.raw_accumulated_silence,
                    raw_accumulated_speech=event.raw_accumulated_speech,
                    so_far=event.raw_accumulated_silence + WINDOW + max(0.0, self._heard - event.at),
                    made_up=self._made_up,
                    ago=self._ago,
                )
            case SpeechStarted():
                return HeardEvent(
                    type=vad.VADEventType.START_OF_SPEECH,
                    samples_index=_samples(event.at),
                    timestamp=event.at,
                    speech_duration=event.speech_duration,
                    silence_duration=0.0,
                    frames=[_frame(self._buffer.speech(), rate)],
                    inference_duration=late,
                    speaking=True,
                    so_far=event.speech_duration + max(0.0, self._heard - event.at),
                )
            case SpeechEnded():
                return vad.VADEvent(
                    type=vad.VADEventType.END_OF_SPEECH,
                    samples_index=_samples(event.at),
                    timestamp=event.at,
                    speech_duration=event.speech_duration,
                    silence_duration=event.silence_duration,
                    frames=[_frame(self._buffer.speech(), rate)],
                    inference_duration=late,
                    speaking=False,
                )

    def _complain(self, message: str) -> None:
        if message not in self._complained and len(self._complained) < 16:
            self._complained.add(message)
            logger.error("%s (reported once)", message)


def _updated(
    options: VADOptions, prefix: float, max_speech: float, **changes: Unpack[VADChanges]
) -> tuple[VADOptions, float, float]:
    given: dict[str, Any] = {name: value for name, value in changes.items() if is_given(value)}
    if "prefix_padding_duration" in given:
        prefix = check_seconds(given.pop("prefix_padding_duration"), "prefix_padding_duration")
    if "max_buffered_speech" in given:
        max_speech = check_seconds(given.pop("max_buffered_speech"), "max_buffered_speech", positive=True)
    return replace(options, **given), prefix, max_speech


def _samples(at: float) -> int:
    return round(at / WINDOW) * WINDOW_SAMPLES


def _frame(pcm: PcmArray, rate: int) -> rtc.AudioFrame:
    return rtc.AudioFrame(
        data=np.ascontiguousarray(pcm).tobytes(), sample_rate=rate, num_channels=1, samples_per_channel=len(pcm)
    )
