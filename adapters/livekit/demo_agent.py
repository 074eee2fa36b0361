"""The agent behind ``eot replay --framework livekit``: a real AgentSession with scripted STT, LLM and TTS.

Run by ``python -m livekit.agents console`` in a process of its own; what it should do comes through the environment:

- ``EOT_MODEL``: the turn detector's model; "turn-detector-v1-mini", which needs no network, when unset.
- ``EOT_CALIBRATION``, ``EOT_OPERATING_POINT``: for the detector, as ``eot replay`` takes them; may be unset.
- ``EOT_LANGUAGE``: BCP-47 tag of the speech, "en" when unset.
- ``EOT_TRANSCRIPT``: a UTF-8 file with what is said, a line for each stretch of speech; may be unset.
- ``EOT_REPORT_PREDICTIONS``: when set, a line is written for each prediction: this word, then a JSON object with the
  probability, the threshold, the model that answered, and where it runs. LiveKit's console tells only the first two,
  and nothing of an answer that is held until the user speaks on. What the detector warns of is written the same way,
  as a JSON string, and why there can be none as ``{"error": ...}``.
- ``EOT_PARENT``: process id of who started this process, which ends with it. LiveKit's console would stay for good when
  the other side of its connection is gone. Nobody is watched when unset.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from livekit.agents import (
    NOT_GIVEN,
    Agent,
    AgentServer,
    AgentSession,
    APIConnectOptions,
    JobContext,
    NotGivenOr,
    TurnHandlingOptions,
)

from adapters.livekit import VAD, TurnDetector, TurnDetectorStream
from adapters.livekit.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS
from eot_core import Prediction
from eot_core.cli.detector_arguments import parse_point
from eot_core.cli.replay_child import end_with
from eot_core.models.base import ModelError

if _PARENT := os.environ.get("EOT_PARENT"):
    end_with(int(_PARENT))
_LANGUAGE = os.environ.get("EOT_LANGUAGE") or "en"
_TRANSCRIPT = os.environ.get("EOT_TRANSCRIPT")
_REPORT = os.environ.get("EOT_REPORT_PREDICTIONS")
_POINT = os.environ.get("EOT_OPERATING_POINT")


class _Warnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(_REPORT, json.dumps(record.getMessage()), flush=True)


if _REPORT:
    logging.getLogger("eot_core").addHandler(_Warnings(logging.WARNING))


class _Detector(TurnDetector):
    """Knows its newest stream, and with it the threshold of the moment."""

    newest: TurnDetectorStream | None = None

    def stream(  # type: ignore[override]  # as its base class
        self, *, conn_options: NotGivenOr[APIConnectOptions | None] = NOT_GIVEN
    ) -> TurnDetectorStream:
        self.newest = super().stream(conn_options=conn_options)
        return self.newest


try:
    # Made here and not in the job, so that a model which cannot be had ends the process at once, and says why.
    _DETECTOR = _Detector(
        model=os.environ.get("EOT_MODEL") or "turn-detector-v1-mini",
        operating_point=parse_point(_POINT) if _POINT else None,
        calibration=os.environ.get("EOT_CALIBRATION") or None,
    )
except (ValueError, ModelError) as error:
    if _REPORT:
        print(_REPORT, json.dumps({"error": str(error)}), flush=True)
    raise SystemExit(str(error)) from None


def report(prediction: Prediction) -> None:
    assert _DETECTOR.newest is not None
    fields = {
        "probability": prediction.probability,
        "threshold": _DETECTOR.newest._core.unlikely_threshold(),
        "model": prediction.model,
        "source": prediction.source,
    }
    print(_REPORT, json.dumps(fields), flush=True)


if _REPORT:
    _DETECTOR.on("prediction", report)
_LINES = Path(_TRANSCRIPT).read_text(encoding="utf-8").splitlines() if _TRANSCRIPT else []

server = AgentServer()


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    vad = VAD()
    session: AgentSession[None] = AgentSession(
        vad=vad,
        stt=ScriptedSTT(_LINES, vad=vad, language=_LANGUAGE),
        llm=ScriptedLLM(),
        tts=ScriptedTTS(),
        # No loudspeaker, no echo: with a warm-up, LiveKit keeps from the STT what is said in the first 3 s of a reply.
        aec_warmup_duration=None,
        turn_handling=TurnHandlingOptions(turn_detection=_DETECTOR),
    )
    await session.start(agent=Agent(instructions="Repeat what you are told."), room=ctx.room)
