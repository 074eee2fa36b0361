"""Spoken words: what a model hears of a file, which files are left out, and what is counted."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
soundfile = pytest.importorskip("soundfile", reason="soundfile reads the recordings")
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from eot_core.models.smart_turn import SMART_TURN_V3_2  # noqa: E402
from eot_core.vad import SileroVAD, SpeechEnded, SpeechStarted  # noqa: E402
from training import words  # noqa: E402

RATE = 16_000


@pytest.fixture(scope="module")
def demo() -> words.Wave:
    wave, rate = soundfile.read(ROOT / "eot_core" / "data" / "demo.wav", dtype="float32")
    assert rate == RATE
    return np.asarray(wave, dtype=np.float32)


@pytest.fixture(scope="module")
def stretches(demo: words.Wave) -> list[tuple[float, float]]:
    events = SileroVAD().stream().push(demo, RATE)
    starts = [e.speech_started_at for e in events if isinstance(e, SpeechStarted)]
    return list(zip(starts, [e.speech_ended_at for e in events if isinstance(e, SpeechEnded)], strict=False))


def only(demo: words.Wave, stretch: tuple[float, float]) -> words.Wave:
    """A file with nothing but this stretch of speech."""
    return demo[round(stretch[0] * RATE) : round(stretch[1] * RATE)]


def test_a_model_hears_the_speech_its_lead_and_a_fifth_of_a_second(
    demo: words.Wave, stretches: list[tuple[float, float]]
) -> None:
    word = only(demo, stretches[0])
    quiet = words.with_quiet(word, np.random.default_rng(0))
    heard = words.word_in(quiet, SileroVAD())
    assert len(quiet) == len(word) + round((words._BEFORE + words._AFTER) * RATE)
    assert heard is not None
    spoken = stretches[0][1] - stretches[0][0]
    assert len(heard) / RATE == pytest.approx(0.7 + spoken + 0.2, abs=0.1)


def test_a_file_with_two_words_or_none_is_left_out(demo: words.Wave) -> None:
    assert words.word_in(demo, SileroVAD()) is None
    assert words.word_in(np.zeros(RATE, dtype=np.float32), SileroVAD()) is None


def test_words_are_taken_from_each_folder_up_to_the_number(
    demo: words.Wave, stretches: list[tuple[float, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "MODELS", (SMART_TURN_V3_2.name,))
    for language, count in (("en", 3), ("fr", 1)):
        (tmp_path / language).mkdir()
        for number in range(count):
            soundfile.write(tmp_path / language / f"{number}.wav", only(demo, stretches[number % 2]), RATE)
        soundfile.write(tmp_path / language / "silence.wav", np.zeros(RATE), RATE)
    found = list(words.words(tmp_path, 2))
    assert sorted(word.language for word in found) == ["en", "en", "fr"]
    assert all(len(word.probabilities) == 1 and 0.0 <= word.probabilities[0] <= 1.0 for word in found)
    assert found == list(words.words(tmp_path, 2))


def test_a_row_counts_what_reaches_each_threshold() -> None:
    some = [words.Word("en", 0.4, (0.5, 0.9, 0.1)), words.Word("en", 0.4, (0.49, 0.5, 0.5))]
    assert words.row("en", some) == "| en | 2 | 0.50 (1) | 1.00 (2) | 0.50 (1) |"
