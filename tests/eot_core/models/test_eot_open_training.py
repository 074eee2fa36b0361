"""What the fitting script writes is what the model reads."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
pytest.importorskip("scipy", reason="scipy fits the heads")
pytest.importorskip("soundfile", reason="soundfile reads the recordings")
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from eot_core.models import graph, smart_turn  # noqa: E402
from eot_core.models.eot_open_head import SPOKEN, HeadInput, read_head  # noqa: E402
from training.data import Pause, read  # noqa: E402
from training.fit import DEFAULT_THRESHOLD, Fitted, by_speaker, design, document  # noqa: E402
from training.logistic import calibrate, fit  # noqa: E402
from training.recipes import RECIPES, SHORT_FULL, SHORT_NONE, Recipe  # noqa: E402


def _pauses(count: int) -> list[Pause]:
    return [
        Pause(
            turn=f"t{n}", source="toy", split="train", language="en", speaker=f"s{n % 7}", audio=Path("x"), channel=0,
            turn_start=0.0, speech_start=0.0, onsets=(0.0,), start=1.0, duration=1.0, is_end=n % 2 == 0,
        )
        for n in range(count)
    ]  # fmt: skip


def test_the_fit_finds_the_direction_and_calibration_gives_probabilities() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([1.5, -1.0, 0.0, 0.5])
    features = rng.normal(size=(20_000, 4)).astype(np.float32)
    label = (rng.random(20_000) < 1 / (1 + np.exp(-(features @ truth + 0.3)))).astype(float)
    line = fit(features, label, np.ones(20_000), 1e-6)
    np.testing.assert_allclose(line.weights / line.scale, truth, atol=0.08)
    slope, offset = calibrate(line(features) * 4.0 + 2.0, label, np.ones(20_000))
    assert slope == pytest.approx(0.25, abs=0.02)
    assert offset == pytest.approx(-0.5, abs=0.08)


def test_speakers_are_never_on_both_sides() -> None:
    pauses = _pauses(40)
    for inside in by_speaker(pauses, 3, seed=1):
        speakers = np.array([pause.speaker for pause in pauses])
        assert inside.any()
        assert not set(speakers[inside]) & set(speakers[~inside])


def test_the_file_gives_what_was_fitted(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pauses = _pauses(120)
    shift = np.where([pause.is_end for pause in pauses], 0.3, -0.3)
    hidden = (rng.normal(size=(120, 400, 384)) * 0.1 + shift[:, None, None]).astype(np.float32)
    embedding = rng.normal(size=(120, 384)).astype(np.float32)
    raw = rng.normal(size=120)
    recipe = Recipe(
        "toy",
        8.0,
        (HeadInput(graph.HIDDEN[1], 0, 10), HeadInput(graph.HIDDEN[1], 10, 400), HeadInput(graph.EMBEDDING)),
        penalty=1.0,
        raw_share=0.3,
        emphasis=1.0,
        teacher_share=0.1,
        source_penalty=0.01,
        short_turns=2.0,
    )
    from training.features import stretches

    columns = {"hidden": np.stack([stretches(item)[np.newaxis] for item in hidden]), "embedding": embedding}
    features = design(columns, recipe.inputs, (graph.HIDDEN[1],))
    fitted = Fitted(recipe, pauses, features, raw, folds=3, seed=0)
    (tmp_path / "turns.jsonl").write_text("{}\n")
    (tmp_path / "toy.json").write_text(json.dumps(document(fitted, pauses, tmp_path, seed=0)))
    head = read_head(tmp_path / "toy.json", encoder_sha256=smart_turn.SHA256)
    logits = fitted.slope * (fitted.line(features) + 0.3 * raw) + fitted.offset
    for n in range(5):
        outputs = {
            graph.HIDDEN[1]: hidden[n],
            graph.EMBEDDING: embedding[n],
            graph.LOGIT: np.array([raw[n]], dtype=np.float32),
        }
        # The fit saw means rounded to float16.
        for spoken, added in ((0.3, 2.0), (0.9, 1.0), (4.0, 0.0)):
            expected = 1 / (1 + np.exp(-(logits[n] + added)))
            assert head.probability({**outputs, SPOKEN: np.float32(spoken)}) == pytest.approx(expected, abs=5e-3)


def test_every_recipe_has_its_head() -> None:
    from eot_core.models.eot_open import packaged_head

    for recipe in RECIPES:
        head = packaged_head(recipe.name)
        raw = (HeadInput(graph.LOGIT),) if recipe.raw_share else ()
        assert head.inputs == (*recipe.inputs, *raw, HeadInput(SPOKEN, full=SHORT_FULL, none=SHORT_NONE))
        assert head.window == recipe.window
        for name in ("penalty", "raw_share", "teacher_share", "emphasis", "source_penalty", "short_turns"):
            assert head.provenance[name] == getattr(recipe, name)
        assert head.provenance["copies"] == list(recipe.copies)
        assert head.default_threshold == DEFAULT_THRESHOLD
        assert set(head.thresholds.values()) == {DEFAULT_THRESHOLD}


def test_reading_turns_and_calls(tmp_path: Path) -> None:
    turn = {
        "id": "a", "language": "en", "audio": "a.flac", "split": "train", "source": "s", "speaker": "p",
        "silence_spans": [{"start": 0.0, "end": 0.5}, {"start": 1.0, "end": 1.15}, {"start": 2.0, "end": 2.4},
                          {"start": 3.0, "end": 3.6}],
    }  # fmt: skip
    call = {
        "id": "c", "language": "en", "audio": "c.flac", "channels": ["caller", "agent"], "duration": 20,
        "speech": {"caller": [[1, 2], [2.5, 3], [8, 9]], "agent": [[4, 5], [8.5, 9.5], [12, 13]]},
    }  # fmt: skip
    (tmp_path / "turns.jsonl").write_text(json.dumps(turn) + "\n\n")
    (tmp_path / "calls.jsonl").write_text(json.dumps(call) + "\n")
    pauses = read(tmp_path)
    turns = [pause for pause in pauses if pause.source == "s"]
    assert [(p.start, p.is_end) for p in turns] == [(2.0, False), (3.0, True)]  # 0.15 s is too short, 0-0.5 s leads in
    assert turns[0].speech_start == 0.5
    caller = [pause for pause in pauses if pause.source == "calls"]
    assert [(p.start, round(p.duration, 2), p.is_end) for p in caller] == [(2, 0.5, False), (3, 1, True)]
    assert caller[1].turn_start == pytest.approx(0.3)
    agent = [pause for pause in pauses if pause.source == "calls-agent"]
    assert [(p.start, p.is_end) for p in agent] == [(5, True), (9.5, False)]
