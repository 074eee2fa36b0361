"""Pipecat's audio frames as the core takes audio: mono."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pipecat.frames.frames import AudioRawFrame


def mono(frame: AudioRawFrame) -> bytes | npt.NDArray[np.int16]:
    """The frame's audio, int16 mono; several channels become their mean. An incomplete last sample is dropped."""
    channels = frame.num_channels
    if channels <= 1:
        return frame.audio
    whole = len(frame.audio) - len(frame.audio) % (2 * channels)
    samples = np.frombuffer(frame.audio[:whole], dtype="<i2").reshape(-1, channels)
    mixed: npt.NDArray[np.int16] = np.round(samples.mean(axis=1)).astype(np.int16)
    return mixed
