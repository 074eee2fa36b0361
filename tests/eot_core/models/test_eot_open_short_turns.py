"""One word is a turn. Read speech has no such turns: what is fitted on it must not take "yes" for a beginning."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from eot_core import ModelSpec
from eot_core.models.base import Model, PcmArray
from eot_core.models.eot_open import EOT_OPEN
from eot_core.models.smart_turn import SMART_TURN_V3_2

RATE = 16_000
AUDIO = Path(__file__).parents[4] / "shared" / "audio"
ANSWERS = ("Yes.", "No.", "Yeah.", "Sure.", "Stop.", "Thank you.", "That's all.", "Goodbye.", "Yes please.", "Correct.")
UNFINISHED = ("um", "uh", "and then", "because", "so", "well", "for", "the", "and I", "if")

soundfile = pytest.importorskip("soundfile", reason="soundfile reads what was synthesised")
soxr = pytest.importorskip("soxr")
pytestmark = pytest.mark.skipif(
    not all(spec.is_available() for spec in (*EOT_OPEN, SMART_TURN_V3_2)), reason="pipecat-ai or onnx is not installed"
)


@cache
def loaded(spec: ModelSpec) -> Model:
    return spec.load()


def spoken(command: list[str], text: str) -> PcmArray:
    """``text`` as a whole turn: 0.7 s of quiet, the words, 0.2 s of quiet."""
    done = subprocess.run([*command, text], capture_output=True, check=True)
    wave, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    wave = soxr.resample(wave, rate, RATE)
    loud = np.flatnonzero(np.abs(wave) > 0.01)
    turn = np.concatenate([np.zeros(11_200), 0.7 * wave[loud[0] : loud[-1] + 1], np.zeros(3200)])
    turn += 1e-3 * np.random.default_rng(0).standard_normal(len(turn))
    return (32767 * turn).astype(np.int16)


def fired(spec: ModelSpec, turns: list[PcmArray]) -> float:
    """Share that ends with the default threshold."""
    return float(np.mean([loaded(spec).predict(turn) >= spec.default_threshold for turn in turns]))


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng speaks the answers")
@pytest.mark.parametrize("spec", EOT_OPEN, ids=lambda spec: spec.name)
def test_synthesised_answers(spec: ModelSpec) -> None:
    command = ["espeak-ng", "-v", "en-us", "--stdout"]
    answers = fired(spec, [spoken(command, text) for text in ANSWERS])
    assert answers >= 0.7
    assert fired(spec, [spoken(command, text + ",") for text in UNFINISHED]) < answers


@pytest.mark.skipif(not (AUDIO / "turns.jsonl").is_file(), reason="no recorded speech at ../shared/audio")
@pytest.mark.parametrize("spec", EOT_OPEN, ids=lambda spec: spec.name)
def test_recorded_last_words(spec: ModelSpec) -> None:
    """Nearly as many short turns are found as by smart-turn, and fewer pauses after a first word are taken for one."""
    ends, holds = ([turn for turn, is_end in recorded() if is_end is which] for which in (True, False))
    assert fired(spec, ends) >= fired(SMART_TURN_V3_2, ends) - 0.15
    assert fired(spec, holds) <= fired(SMART_TURN_V3_2, holds) - 0.1


@cache
def recorded() -> tuple[tuple[PcmArray, bool], ...]:
    return tuple(_recorded())


def _recorded() -> Iterator[tuple[PcmArray, bool]]:
    pytest.importorskip("scipy", reason="training needs scipy")
    if (root := str(Path(__file__).parents[3])) not in sys.path:
        sys.path.append(root)
    from training.data import load, read
    from training.features import shortly

    rng = np.random.default_rng(0)
    for pause in read(AUDIO):
        if pause.split == "test" and pause.source in ("alphanumeric", "fleurs"):
            heard, _, _ = shortly(load(pause.audio, pause.channel), pause, rng)
            yield np.clip(np.round(heard * 32767.0), -32768, 32767).astype(np.int16), pause.is_end
