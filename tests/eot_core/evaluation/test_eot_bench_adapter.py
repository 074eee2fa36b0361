from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from known_set import Problems, row, write_rows, write_wav
from models.tiny_onnx import write_mean_model
from vad_speech import recordings

from eot_core.audio import AudioFormatError
from eot_core.evaluation.dataset import read_dataset
from eot_core.evaluation.eot_bench import MODEL_VARIABLE, EotBenchAdapter
from eot_core.evaluation.scorers import ModelScorer
from eot_core.models.base import ModelError, ModelLicenseError
from eot_core.models.onnx_file import onnx_file

RATE = 16_000


@pytest.fixture
def adapter(tmp_path: Path) -> EotBenchAdapter:
    path = write_mean_model(tmp_path / "level.onnx", ["batch", "samples"], ends_in="Identity")
    return EotBenchAdapter(onnx_file(path, window=0.5))


class TestContract:
    """As livekit/eot-bench checks and uses an adapter (eot_harness/adapters.py, cli.py, languages.py)."""

    def test_attributes(self, adapter: EotBenchAdapter) -> None:
        assert adapter.adapter_id == "eot-adapters-level"
        assert adapter.display_name == "level"
        assert adapter.score_point == 0.2
        assert adapter.max_audio_sec == 0.5
        assert adapter.supports_language("sw")  # a user's model names no languages

    def test_batch(self, adapter: EotBenchAdapter) -> None:
        def item(level: float, rate: int = RATE, seconds: float = 1.0) -> dict[str, object]:
            audio = {"array": np.full(round(seconds * rate), level, dtype=np.float32), "sampling_rate": rate}
            return {"language": "en", "audio": audio, "messages": []}

        scores = adapter.predict_batch([item(0.25), item(0.5, 8000), item(0.75, 48_000), item(0.5, seconds=0.25)])
        assert scores == pytest.approx([0.25, 0.5, 0.75, 0.25], abs=0.02)
        assert all(isinstance(score, float) for score in scores)
        assert adapter.predict_batch([item(0.5, seconds=0.0)]) == [0.0]
        assert adapter.predict_batch([]) == []
        with pytest.raises(AudioFormatError, match="sample_rate"):
            adapter.predict_batch([item(0.5) | {"audio": {"array": np.ones(100), "sampling_rate": 0}}])

    def test_only_the_newest_audio_counts(self, adapter: EotBenchAdapter) -> None:
        array = np.concatenate((np.full(RATE, 0.9), np.full(RATE // 2, 0.1))).astype(np.float32)
        (score,) = adapter.predict_batch([{"audio": {"array": array, "sampling_rate": RATE}}])
        assert score == pytest.approx(0.1, abs=1e-3)


def test_made_by_the_harness_without_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mean_model(tmp_path / "named.onnx", ["batch", "samples"])
    monkeypatch.setenv(MODEL_VARIABLE, str(path))
    assert EotBenchAdapter().adapter_id == "eot-adapters-named"
    monkeypatch.setenv(MODEL_VARIABLE, "turn-detector-v1-mini")
    with pytest.raises(ModelLicenseError, match="LiveKit Model License"):
        EotBenchAdapter()


def test_smart_turn_names_its_languages() -> None:
    pytest.importorskip("pipecat")
    adapter = EotBenchAdapter("smart-turn-v3.2")
    assert adapter.supports_language("pt-BR")
    assert not adapter.supports_language("sw")
    assert adapter.adapter_id == "eot-adapters-smart-turn-v3.2-2bb026316b14"


class Spy:
    """A model that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[np.ndarray] = []

    def predict(self, pcm: np.ndarray) -> float:
        self.heard.append(pcm)
        return 0.5


@pytest.mark.parametrize("leading", [[], [{"start": 0.0, "end": 1.2}]], ids=["", "silence before the first word"])
def test_a_model_that_scores_turns_hears_what_eot_bench_gives_it(
    tmp_path: Path, leading: list[dict[str, float]]
) -> None:
    """The leaderboard's figures and those of ``eot bench`` are of the same audio: from a little before the onset."""
    (spoken,) = recordings(1)  # 1.25 s of hush before the recording of a speaker
    path = write_mean_model(tmp_path / "level.onnx", ["batch", "samples"])
    spec = onnx_file(path, window=4.0, pre_speech=0.5)
    spy = Spy()
    heard = spy.heard
    adapter = EotBenchAdapter(spec)
    scorer = ModelScorer(spec)
    scorer.prepare()
    adapter._model = scorer._model = spy  # type: ignore[assignment]
    write_wav(tmp_path / "x.wav", spoken)
    spans = [*leading, {"start": 4.5, "end": 4.9}, {"start": 7.0, "end": 8.0}]
    (item,) = read_dataset(write_rows(tmp_path / "r.jsonl", [row("x", "x.wav", spans)]), on_problem=Problems())
    for at in [s["start"] + 0.2 for s in spans]:
        heard.clear()
        scorer.score(item, item.audio.open(), at)
        adapter.predict_batch([{"audio": {"array": spoken[: round(at * RATE)], "sampling_rate": RATE}, "messages": []}])
        assert np.array_equal(heard[0], heard[1])
    assert len(heard[0]) == 4 * RATE
    # Nothing but silence: all of it.
    heard.clear()
    adapter.predict_batch([{"audio": {"array": np.zeros(RATE, dtype=np.float32), "sampling_rate": RATE}}])
    assert len(heard[0]) == RATE


def test_the_harness_cuts_off_no_beginning_of_a_turn(tmp_path: Path) -> None:
    """It cuts what it gives to ``max_audio_sec``: where that began in a pause, what was said before it was lost."""
    (spoken,) = recordings(1)
    said = spoken[20_000:120_000]
    long = np.concatenate((said, np.zeros(2 * RATE, dtype=np.int16), said, np.zeros(RATE, dtype=np.int16)))
    spec = onnx_file(write_mean_model(tmp_path / "level.onnx", ["batch", "samples"]), window=8.0, pre_speech=0.7)
    spy = Spy()
    heard = spy.heard
    adapter = EotBenchAdapter(spec)
    adapter._model = spy  # type: ignore[assignment]
    at = len(long) - round(0.8 * RATE)
    assert at - 8 * RATE > len(said)  # in the pause
    longest = adapter.max_audio_sec
    array = long[0 if longest is None else at - math.ceil(longest * RATE) : at]
    adapter.predict_batch([{"audio": {"array": array, "sampling_rate": RATE}, "messages": []}])
    assert np.array_equal(heard[0], long[at - 8 * RATE : at])


def test_what_is_no_probability(tmp_path: Path) -> None:
    adapter = EotBenchAdapter(onnx_file(write_mean_model(tmp_path / "level.onnx", ["batch", "samples"])))
    adapter._model = type("Nan", (), {"predict": lambda self, pcm: float("nan")})()
    with pytest.raises(ModelError, match="level said nan, which is no probability"):
        adapter.predict_batch([{"audio": {"array": np.zeros(100, dtype=np.float32), "sampling_rate": RATE}}])
