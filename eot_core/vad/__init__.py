"""Voice activity: Silero, with hysteresis, streaming and free of any framework."""

from .events import SpeechEnded, SpeechStarted, VADEvent, WindowScored
from .options import VADOptions
from .silero import SileroVAD
from .stream import VADStream

__all__ = ["SileroVAD", "SpeechEnded", "SpeechStarted", "VADEvent", "VADOptions", "VADStream", "WindowScored"]
