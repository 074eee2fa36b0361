"""The core's Silero as a Pipecat VAD: pauses begin and end where they do on LiveKit."""

# Parts of pipecat carry no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

from loguru import logger
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState

from eot_core.audio import AudioFormatError
from eot_core.vad import SileroVAD, SpeechEnded, SpeechStarted, VADOptions
from eot_core.vad.events import WindowScored
from eot_core.vad.hysteresis import WINDOW_SAMPLES

from .logs import forward_core_log

_GAP = 1.0
"""Seconds without audio after which speech is over: Pipecat's ``audio_idle_timeout``, with which its controller reports
the end by itself. It does not tell the analyzer, and would take the first sound thereafter for new speech."""
_SOON_SILENT = 94
"""Windows of digital silence, 3 s, in which Silero, whatever it has heard, hears none; it takes some ten."""


class EOTVADAnalyzer(VADAnalyzer):
    """Silero with a threshold to start and a lower one to stop, and no volume threshold.

    Defaults: speech starts after 0.05 s at 0.5, and ends after 0.25 s below 0.35, as LiveKit's VAD. Pipecat's own
    defaults are 0.2 s both, at 0.7, with a volume threshold.

    :attr:`params` tell, after each start and end, how long the speech or the silence really was when it was noticed (a
    multiple of 32 ms, and the part of the audio frame that came after). Pipecat copies that into its VAD frames, so
    that ``timestamp - stop_secs`` is the true end of speech.
    """

    def __init__(
        self,
        options: VADOptions | None = None,
        *,
        sample_rate: int | None = None,
        weights: str | os.PathLike[str] | None = None,
    ) -> None:
        """
        Args:
            options: thresholds and durations; None: LiveKit's.
            sample_rate: of the audio in Hz, 8,000 to 48,000; None: the pipeline's.
            weights: path of silero_vad.onnx; None: from an installed package.

        Raises:
            ModelError: the weights cannot be loaded; the message says what to install.
            TypeError: ``options`` are no :class:`VADOptions`.
        """
        forward_core_log()
        self._silero = SileroVAD(options, weights=weights)
        self._stream = self._silero.stream()
        self._heard = 0.0
        self._heard_at = 0.0
        self._reported = False
        super().__init__(sample_rate=sample_rate, params=_params(self._silero.options))

    @property
    def options(self) -> VADOptions:
        """Thresholds and durations in force."""
        return self._stream.options

    def set_params(self, params: VADParams) -> None:
        """Take thresholds and durations from Pipecat's parameters, at run time. ``min_volume`` has no effect.

        The lower threshold follows at its distance of 0.15.
        """
        if params is self._params:  # nothing new: this is how the base class says that the sample rate is known
            return
        try:
            self._stream.options = VADOptions(
                activation_threshold=params.confidence,
                min_speech_duration=params.start_secs,
                min_silence_duration=params.stop_secs,
            )
        except ValueError as error:
            logger.error(f"VAD parameters were not taken: {error}")
        else:
            self._params = params.model_copy()

    def num_frames_required(self) -> int:
        """Samples in a window of 32 ms, at the rate of the audio."""
        return round(WINDOW_SAMPLES * self.sample_rate / 16_000)

    def voice_confidence(self, buffer: bytes) -> float:
        """Probability of speech, 0..1, in the newest window of ``buffer``, heard on its own; 0.0 for less."""
        events = self._silero.stream().push(buffer, self.sample_rate)
        scores = [event.probability for event in events if isinstance(event, WindowScored)]
        return scores[-1] if scores else 0.0

    async def cleanup(self) -> None:
        """Release the thread and forget what was heard. The analyzer may be used again."""
        await super().cleanup()
        self._executor = ThreadPoolExecutor(max_workers=1)  # starts no thread before it is used
        self._stream.reset()
        self._heard = 0.0

    def _run_analyzer(self, buffer: bytes) -> VADState:
        now = time.monotonic()
        if now - self._heard_at >= _GAP:
            self._hear_silence()
        self._heard_at = now
        try:
            events = self._stream.push(buffer, self.sample_rate)
            self._heard += len(buffer) // 2 / self.sample_rate
        except AudioFormatError as error:
            if not self._reported:
                self._reported = True
                logger.error(f"audio was dropped: {error} (reported once)")
            events = []
        for event in events:
            if isinstance(event, SpeechStarted):
                spoken = self._heard - event.speech_started_at
                self._params = self._params.model_copy(update={"start_secs": spoken})
            elif isinstance(event, SpeechEnded):
                silent = self._heard - event.speech_ended_at
                self._params = self._params.model_copy(update={"stop_secs": silent})
        return VADState.SPEAKING if self._stream.speaking else VADState.QUIET

    def _hear_silence(self) -> None:
        """What was not there was silence."""
        window = bytes(2 * self.num_frames_required())
        for _ in range(_SOON_SILENT):
            if not self._stream.speaking:
                return
            self._stream.push(window, self.sample_rate)
            self._heard += self.num_frames_required() / self.sample_rate


def _params(options: VADOptions) -> VADParams:
    return VADParams(
        confidence=options.activation_threshold,
        start_secs=options.min_speech_duration,
        stop_secs=options.min_silence_duration,
        min_volume=0.0,
    )
