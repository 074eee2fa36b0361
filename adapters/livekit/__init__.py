"""End-of-turn detection for LiveKit Agents: pass ``TurnDetector()`` as ``AgentSession(turn_detection=...)``."""

from .detector import TurnDetector
from .stream import TurnDetectorStream
from .vad import VAD

__all__ = ["VAD", "TurnDetector", "TurnDetectorStream"]
