"""A microphone that sends nothing for a while."""

from __future__ import annotations

import asyncio

import numpy as np
from pipecat.audio.vad.vad_analyzer import VADState
from pipecat_speech import RATE, silence, word

from adapters.pipecat import EOTVADAnalyzer


async def _hear(analyzer: EOTVADAnalyzer, pcm: np.ndarray) -> list[VADState]:
    step = RATE // 50
    return [
        await analyzer.analyze_audio(pcm[start : start + step].tobytes()) for start in range(0, len(pcm) - step, step)
    ]


async def test_sound_after_a_gap_is_no_speech() -> None:
    analyzer = EOTVADAnalyzer()
    analyzer.set_sample_rate(RATE)
    # Pipecat's controller ends the speech by itself while nothing comes, and believes the analyzer thereafter.
    assert (await _hear(analyzer, np.concatenate((silence(0.3), word()[: RATE // 2]))))[-1] is VADState.SPEAKING
    await asyncio.sleep(1.05)
    assert set(await _hear(analyzer, silence(0.5))) == {VADState.QUIET}
    assert VADState.SPEAKING in await _hear(analyzer, word())


async def test_a_shorter_gap_changes_nothing() -> None:
    analyzer = EOTVADAnalyzer()
    analyzer.set_sample_rate(RATE)
    await _hear(analyzer, np.concatenate((silence(0.3), word()[: RATE // 2])))
    await asyncio.sleep(0.05)
    assert (await _hear(analyzer, word()[RATE // 2 :]))[0] is VADState.SPEAKING
