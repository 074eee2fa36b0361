"""End-of-turn detection for LiveKit Agents.

In place of LiveKit's own detector::

    from adapters.livekit import VAD, TurnDetector

    session = AgentSession(
        vad=VAD(),  # or any other VAD with 0.25 s of silence
        stt=..., llm=..., tts=...,
        turn_handling={"turn_detection": TurnDetector()},
    )

``TurnDetector()`` runs v1-mini in the job's process, or LiveKit Inference where LiveKit's own would (and falls back to
v1-mini). ``TurnDetector(model="eot-open-1")`` runs another model. LiveKit's endpointing delays hold as they are:
0.3 and 2.5 s unless ``turn_handling["endpointing"]`` says otherwise. To load models once for all jobs of a worker, see
:mod:`adapters.livekit.plugin`.
"""

try:
    import livekit.agents  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("livekit", "livekit.agents"):
        raise
    raise ModuleNotFoundError(
        "LiveKit Agents is not installed: pip install 'eot-adapters[livekit]'", name="livekit.agents"
    ) from None

from .detector import TurnDetector
from .stream import TurnDetectorStream
from .vad import VAD

__all__ = ["VAD", "TurnDetector", "TurnDetectorStream"]
