"""A microphone that sends nothing for a while."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from pipecat.audio.vad.vad_analyzer import VADState
from pipecat_speech import RATE, silence, word

from adapters.pipecat import EOTVADAnalyzer, vad


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(monotonic=lambda: 1000.0)
    monkeypatch.setattr(vad, "time", clock)
    return clock


async def _hear(analyzer: EOTVADAnalyzer, pcm: np.ndarray) -> list[VADState]:
    step = RATE // 50
    return [
        await analyzer.analyze_audio(pcm[start : start + step].tobytes()) for start in range(0, len(pcm) - step, step)
    ]


async def test_sound_after_a_gap_is_no_speech(now: SimpleNamespace) -> None:
    analyzer = EOTVADAnalyzer()
    analyzer.set_sample_rate(RATE)
    # Pipecat's controller ends the speech by itself while nothing comes, and believes the analyzer thereafter.
    assert (await _hear(analyzer, np.concatenate((silence(0.3), word()[: RATE // 2]))))[-1] is VADState.SPEAKING
    now.monotonic = lambda: 1001.05
    assert set(await _hear(analyzer, silence(0.5))) == {VADState.QUIET}
    assert VADState.SPEAKING in await _hear(analyzer, word())


async def test_a_shorter_gap_changes_nothing(now: SimpleNamespace) -> None:
    analyzer = EOTVADAnalyzer()
    analyzer.set_sample_rate(RATE)
    await _hear(analyzer, np.concatenate((silence(0.3), word()[: RATE // 2])))
    now.monotonic = lambda: 1000.05
    assert (await _hear(analyzer, word()[RATE // 2 :]))[0] is VADState.SPEAKING
