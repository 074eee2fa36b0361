"""Heads of a calibration file on LiveKit: which one judges a pause, and what LiveKit is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from livekit.agents import LanguageCode
from livekit.agents.metrics import EOTInferenceMetrics
from livekit_kit import frame, noise
from own_head_files import WITH_HEAD, WITHOUT_HEAD, write_own_heads

from adapters.livekit import TurnDetector
from eot_core import Prediction

pytest.importorskip("pipecat")  # has the encoder
pytest.importorskip("onnx")
MODEL = "eot-open-1-fast-4s"


@pytest.mark.parametrize(("language", "judges"), [(None, "en"), ("de-CH", "de"), ("fr", None)])
async def test_the_language_that_livekit_names_in_the_pause_picks_its_head(
    language: str | None, judges: str | None, tmp_path: Path
) -> None:
    """LiveKit asks whether the language is supported right after it has asked for a prediction."""
    path = write_own_heads(tmp_path / "c.json", {"en": 0.5, "de": -0.5}, MODEL, languages=("fr",))
    detector = TurnDetector(model=MODEL, calibration=path)
    detector._core.warm_up()
    predictions: list[Prediction] = []
    metrics: list[EOTInferenceMetrics] = []
    detector.on("prediction", predictions.append)
    detector.on("metrics_collected", metrics.append)
    stream = detector.stream()
    stream.push_audio(frame(noise(1.5)))
    future = stream.predict()
    tag = None if language is None else LanguageCode(language)
    assert await stream.supports_language(tag)
    event = await future
    (prediction,) = predictions
    assert event.end_of_turn_probability == prediction.probability
    assert prediction.model.startswith(MODEL if judges is None else f"{MODEL}+{judges}-")
    assert ("+" in prediction.model) == (judges is not None)
    wanted = WITHOUT_HEAD if judges is None else WITH_HEAD
    assert stream._core.unlikely_threshold(language) == wanted["threshold"]
    assert metrics[0].metadata is not None
    assert metrics[0].metadata.model_name == prediction.model
    await stream.aclose()
