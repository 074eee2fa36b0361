"""LiveKit's audio frames as the core takes them."""

from __future__ import annotations

import numpy as np
from livekit import rtc

from eot_core.models.base import PcmArray


def mono(frame: rtc.AudioFrame) -> PcmArray:
    """The samples of a frame, int16, shape (n,): a view where it is mono, else the mean of its channels."""
    samples: PcmArray = np.frombuffer(frame.data, dtype=np.int16)
    channels = frame.num_channels
    if channels <= 1:
        return samples
    whole = len(samples) - len(samples) % channels
    return np.asarray(samples[:whole].reshape(-1, channels).mean(axis=1, dtype=np.float32), dtype=np.int16)
