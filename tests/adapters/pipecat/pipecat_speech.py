"""A little real speech that comes with pipecat itself."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pipecat
from pipecat.frames.frames import InputAudioRawFrame

from eot_core.cli.audio_file import read_audio

RATE = 16_000
SPOKEN = 0.384
"""Seconds between the first and the last window that Silero takes for speech."""


def word() -> np.ndarray:
    """ "Ready", 0.73 s at 16 kHz."""
    path = Path(os.path.dirname(pipecat.__file__), "services/aws/nova_sonic/ready.wav")
    pcm, rate = read_audio(path)
    assert rate == RATE
    return pcm


def silence(seconds: float) -> np.ndarray:
    """Noise at -70 dB: digital silence is nothing that a microphone gives."""
    return np.random.default_rng(3).normal(0, 10, round(seconds * RATE)).astype(np.int16)


def frames(*parts: np.ndarray) -> list[InputAudioRawFrame]:
    """Frames of 20 ms."""
    pcm = np.concatenate(parts)
    step = RATE // 50
    return [
        InputAudioRawFrame(audio=pcm[start : start + step].tobytes(), sample_rate=RATE, num_channels=1)
        for start in range(0, len(pcm) - step + 1, step)
    ]
