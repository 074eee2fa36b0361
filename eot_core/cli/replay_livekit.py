"""``eot replay --framework livekit``: a recording through a real AgentSession, over LiveKit's TCP console."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ..cloud import CLOUD_MODEL
from ..data import demo_recording, demo_transcript
from .audio_file import Pcm, read_audio
from .broker import (
    AgentError,
    BrokerError,
    ConsoleBroker,
    Event,
    ModelUsage,
    StopReason,
    UsageUpdated,
    console_command,
)
from .local_gateway import LocalGateway
from .replay_rows import RowBuilder, Speech
from .rows import Row

DEFAULT_MODEL: Final = "turn-detector-v1-mini"
"""What a LiveKit agent runs on this machine unless told otherwise."""
_REPORT: Final = "eot-prediction"
_AGENT_FILE: Final = ("livekit", "demo_agent.py")
"""Within the package ``adapters``."""


class ReplayError(Exception):
    """The replay could not be held. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What came of a replay."""

    rows: tuple[Row, ...]
    """A row for each pause and each turn, in order."""
    reason: StopReason
    """Why the session ended; ANSWERED when all went well."""
    duration: float
    """Seconds of the recording."""
    usage: tuple[ModelUsage, ...]
    """What the session says it used, the turn detector included."""
    errors: tuple[str, ...]
    """Errors that the agent reported of itself."""


async def replay_livekit(
    recording: tuple[Pcm, int] | None = None,
    *,
    model: str | None = None,
    language: str | None = None,
    transcript: str | Path | None = None,
    gateway: LocalGateway | None = None,
    operating_point: str | None = None,
    calibration: str | Path | None = None,
    on_row: Callable[[Row], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
    on_agent_output: Callable[[str], None] | None = None,
) -> ReplayResult:
    """Play a recording, in real time, to a LiveKit agent with our turn detector and our VAD.

    Args:
        recording: int16 mono samples of shape (n,), and their rate in Hz; None for the bundled one.
        model: the turn detector's model by its full name; None for :data:`DEFAULT_MODEL`.
        language: BCP-47 tag of the speech; None for English.
        transcript: a UTF-8 file with what is said, a line for each stretch of speech; None where it is not known.
        gateway: through which the detector's cloud model is reached; None: the model runs in the agent's process.
        operating_point: for the detector, as :func:`~eot_core.cli.detector_arguments.parse_point` takes it.
        calibration: for the detector: a file that ``eot tune`` wrote.
        on_row: called on the event loop with each row as soon as it is certain.
        on_warning: called with each warning of the detector.
        on_agent_output: called with each line that the agent writes.

    Raises:
        ReplayError: the session could not be held.
    """
    if recording is None:
        transcript = transcript or demo_transcript()
    if transcript is not None and not await asyncio.to_thread(Path(transcript).is_file):
        raise ReplayError(f"transcript {transcript}: no such file")
    pcm, rate = await asyncio.to_thread(read_audio, demo_recording()) if recording is None else recording
    agent = agent_file()
    speech = await asyncio.to_thread(speech_in, pcm, rate)
    model = model or (CLOUD_MODEL if gateway is not None else DEFAULT_MODEL)
    builder = RowBuilder(speech, model)
    rows: list[Row] = []
    usage: tuple[ModelUsage, ...] = ()
    errors: list[str] = []
    refused: list[str] = []

    def take(new: list[Row]) -> None:
        for row in new:
            rows.append(row)
            if on_row is not None:
                on_row(row)

    def observe(event: Event) -> None:
        nonlocal usage
        if isinstance(event, UsageUpdated):
            usage = event.models
        elif isinstance(event, AgentError):
            errors.append(event.message)
        take(builder.observe(event))

    def listen(line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == _REPORT:
            match json.loads(rest):
                case {"error": str(error)}:
                    refused.append(error)
                case str(warning):
                    if on_warning is not None:
                        on_warning(warning)
                case told:
                    builder.answered(**told)
        elif on_agent_output is not None:
            on_agent_output(line)

    broker = ConsoleBroker(
        console_command(agent),
        pcm,
        rate,
        on_event=observe,
        on_agent_output=listen,
        env={
            **_environment(model, language, transcript, operating_point, calibration),
            **({} if gateway is None else gateway.environment),
        },
    )
    try:
        result = await broker.run()
    except BrokerError as e:
        raise ReplayError(refused[0] if refused else str(e)) from e
    take(builder.finish())
    return ReplayResult(tuple(rows), result.reason, pcm.size / rate, usage, tuple(errors))


def speech_in(pcm: Pcm, sample_rate: int) -> list[Speech]:
    """The stretches of speech in a recording, by the core's own VAD: every delay counts from where one ends.

    Args:
        pcm: int16 mono, shape (n,).
        sample_rate: in Hz.

    Raises:
        ReplayError: the VAD's weights are not on this machine.
    """
    from ..models.base import SAMPLE_RATE, ModelError
    from ..vad import SileroVAD, SpeechEnded, SpeechStarted

    try:
        stream = SileroVAD().stream()
    except ModelError as e:
        raise ReplayError(str(e)) from e
    if sample_rate != SAMPLE_RATE:
        import soxr

        pcm = soxr.resample(pcm, sample_rate, SAMPLE_RATE)
    # Silence after it, so that speech which lasts to the very end ends as well.
    silence = np.zeros(SAMPLE_RATE, np.int16)
    speech: list[Speech] = []
    started = 0.0
    for event in stream.push(np.concatenate((pcm, silence)), SAMPLE_RATE):
        match event:
            case SpeechStarted():
                started = event.speech_started_at
            case SpeechEnded():
                speech.append(Speech(started, event.speech_ended_at))
            case _:
                pass
    return speech


def can_run() -> bool:
    """Whether LiveKit Agents and :data:`DEFAULT_MODEL`, which comes with it, are installed. Imports neither."""
    return not _missing("livekit.agents") and not _missing("livekit.local_inference")


def agent_file() -> Path:
    """The agent's file, found without importing it: it needs LiveKit, which this process does not.

    Raises:
        ReplayError: LiveKit Agents or the adapters are not installed.
    """
    if _missing("livekit.agents"):
        raise ReplayError("LiveKit Agents is not installed: pip install 'eot-adapters[livekit]'")
    spec = importlib.util.find_spec("adapters")
    for folder in () if spec is None else spec.submodule_search_locations or ():
        path = Path(folder, *_AGENT_FILE)
        if path.is_file():
            return path
    raise ReplayError("the package 'adapters' is not installed beside 'eot_core': install eot-adapters again")


def _missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ImportError:  # its parent is not there either
        return True


def _environment(
    model: str,
    language: str | None,
    transcript: str | Path | None,
    operating_point: str | None,
    calibration: str | Path | None,
) -> dict[str, str]:
    return {
        "EOT_MODEL": model,
        "EOT_PARENT": str(os.getpid()),
        "EOT_OPERATING_POINT": operating_point or "",
        "EOT_CALIBRATION": "" if calibration is None else str(Path(calibration).expanduser().resolve()),
        "EOT_REPORT_PREDICTIONS": _REPORT,
        "EOT_LANGUAGE": language or "en",
        "EOT_TRANSCRIPT": "" if transcript is None else str(Path(transcript).resolve()),
        # LiveKit would load the weights of its own detector beside ours.
        "LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE": "0",
    }
