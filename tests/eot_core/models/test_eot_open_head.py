from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eot_core.models import graph, smart_turn
from eot_core.models.base import ModelError, ModelIntegrityError
from eot_core.models.eot_open_head import FORMAT, SPOKEN, encode_vector, read_head

ENCODER = "ab" * 32
SIZE = 384 + 384 + 1


def _raw() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {
        "format": FORMAT,
        "model": "toy",
        "licence": "Apache-2.0",
        "encoder": {
            "sha256": ENCODER,
            "window": 4.0,
            "inputs": [
                {"tensor": graph.HIDDEN[1], "newest": 5, "oldest": 10},
                {"tensor": graph.EMBEDDING},
                {"tensor": graph.LOGIT},
            ],
        },
        "bias": 0.25,
        "calibration": {"slope": 2.0, "offset": -1.0},
        "default_threshold": 0.6,
        "thresholds": {"en": 0.6, "de": 0.5},
        "provenance": {"seed": 0},
        "mean": encode_vector(rng.normal(size=SIZE)),
        "scale": encode_vector(rng.uniform(0.5, 2.0, SIZE)),
        "weights": encode_vector(rng.normal(size=SIZE) / 20),
    }


def _write(path: Path, raw: Any) -> Path:
    path.write_text(json.dumps(raw))
    return path


def _numbers(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<f2").astype(float)


def test_the_probability_is_what_the_file_says(tmp_path: Path) -> None:
    raw = _raw()
    head = read_head(_write(tmp_path / "h.json", raw), encoder_sha256=ENCODER)
    assert (head.model, head.window, head.default_threshold, head.thresholds["de"]) == ("toy", 4.0, 0.6, 0.5)
    assert head.tensors == (graph.HIDDEN[1], graph.EMBEDDING, graph.LOGIT)
    rng = np.random.default_rng(4)
    hidden = rng.normal(size=(200, 384)).astype(np.float32)
    embedding = rng.normal(size=384).astype(np.float32)
    outputs = {graph.HIDDEN[1]: hidden, graph.EMBEDDING: embedding, graph.LOGIT: np.array([1.5], dtype=np.float32)}
    newest_first = hidden[::-1]
    features = np.concatenate([newest_first[5:10].mean(axis=0), embedding, [1.5]])
    standardised = (features - _numbers(raw["mean"])) / _numbers(raw["scale"])
    logit = 2.0 * (_numbers(raw["weights"]) @ standardised + 0.25) - 1.0
    assert head.probability(outputs) == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)


def test_the_newest_frame_counts(tmp_path: Path) -> None:
    raw = _raw()
    raw["encoder"]["inputs"][0] = {"tensor": graph.HIDDEN[1], "newest": 0, "oldest": 200}
    head = read_head(_write(tmp_path / "h.json", raw), encoder_sha256=ENCODER)
    hidden = np.zeros((200, 384), dtype=np.float32)
    before = head.inputs[0].of(hidden)
    hidden[-1] = 200.0
    np.testing.assert_allclose(head.inputs[0].of(hidden) - before, 1.0, rtol=1e-6)


def test_nan_and_huge_values(tmp_path: Path) -> None:
    head = read_head(_write(tmp_path / "h.json", _raw()), encoder_sha256=ENCODER)
    zeros = {graph.HIDDEN[1]: np.zeros((200, 384), np.float32), graph.EMBEDDING: np.zeros(384, np.float32)}
    assert math.isnan(head.probability({**zeros, graph.LOGIT: np.array([np.nan], dtype=np.float32)}))
    for value in (1e6, -1e6):
        assert head.probability({**zeros, graph.LOGIT: np.array([value], dtype=np.float32)}) in (0.0, 1.0)


def test_another_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelIntegrityError, match=r"h\.json was fitted on an encoder with sha256 abab.*not cdcd"):
        read_head(_write(tmp_path / "h.json", _raw()), encoder_sha256="cd" * 32)


def _change(path: str, value: Any) -> dict[str, Any]:
    raw = _raw()
    *parents, last = path.split(".")
    target: Any = raw
    for key in parents:
        target = target[int(key)] if isinstance(target, list) else target[key]
    if value is KeyError:
        del target[last]
    else:
        target[last] = value
    return raw


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "eot-open-head/9", "format must be"),
        ("weights", encode_vector(np.zeros(SIZE - 1)), f"weights must hold {SIZE} numbers, it holds {SIZE - 1}"),
        ("mean", encode_vector(np.zeros(0)), "mean must be a non-empty string"),
        ("mean", "***", "base64|padding|Only"),
        ("mean", base64.b64encode(b"odd").decode(), "mean must hold 769 numbers, it holds 1.5"),
        ("mean", 3, "mean must be a non-empty string"),
        ("weights", encode_vector(np.full(SIZE, np.inf)), "weights must be finite"),
        ("scale", encode_vector(np.zeros(SIZE)), "scale must be positive"),
        ("bias", "much", "bias must be a number"),
        ("bias", float("nan"), "bias must be a number"),
        ("calibration.slope", -1.0, r"calibration\.slope must be a number"),
        ("calibration", KeyError, "'calibration' is missing"),
        ("default_threshold", 1.5, "default_threshold must be a number from 0 to 1"),
        ("default_threshold", True, "default_threshold must be a number"),
        ("thresholds.en", 7, r"thresholds\.en must be a number"),
        ("thresholds", [], "thresholds must be an object"),
        ("encoder.window", 9.0, r"encoder\.window must be a number"),
        ("encoder.inputs", [], "must not be empty"),
        ("encoder.inputs", [{"tensor": "softmax"}], "unknown tensor 'softmax'"),
        ("encoder.inputs", [{"tensor": "add_268", "newest": 10, "oldest": 10}], "is no stretch of 200 frames"),
        ("encoder.inputs", [{"tensor": "add_268", "newest": 0, "oldest": 201}], "is no stretch of 200 frames"),
        ("encoder.inputs", [{"tensor": "add_268", "newest": 0.5, "oldest": 3}], "is no stretch"),
        ("model", "", "model must be a non-empty string"),
        ("licence", KeyError, "'licence' is missing"),
        ("provenance", None, "is not valid"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, path: str, value: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_head(_write(tmp_path / "h.json", _change(path, value)), encoder_sha256=ENCODER)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read the head"):
        read_head(tmp_path / "none.json", encoder_sha256=ENCODER)
    (tmp_path / "h.json").write_text("{")
    with pytest.raises(ModelError, match="cannot read the head"):
        read_head(tmp_path / "h.json", encoder_sha256=ENCODER)
    with pytest.raises(ModelError, match="format must be"):
        read_head(_write(tmp_path / "h.json", [1]), encoder_sha256=ENCODER)


def test_the_packaged_heads_say_where_they_come_from() -> None:
    from eot_core.models.eot_open import EOT_OPEN, packaged_head

    for spec in EOT_OPEN:
        head = packaged_head(spec.name)
        assert head.model == spec.name
        assert head.encoder_sha256 == smart_turn.SHA256
        assert head.license == "Apache-2.0"
        assert {"turns_sha256", "seed", "pauses", "speakers"} <= set(head.provenance)
        assert head.provenance["graph_revision"] == graph.REVISION
        assert 0.05 < head.default_threshold < 0.95


def test_how_short_the_turn_has_been(tmp_path: Path) -> None:
    raw = _raw()
    raw["encoder"]["inputs"].append({"tensor": SPOKEN, "full": 0.5, "none": 1.5})
    for key, value in (("mean", 0.0), ("scale", 1.0), ("weights", 1.5)):
        raw[key] = encode_vector(np.append(_numbers(raw[key]), value))
    head = read_head(_write(tmp_path / "h.json", raw), encoder_sha256=ENCODER)
    assert SPOKEN not in head.tensors  # the encoder does not give it
    zeros = {
        graph.HIDDEN[1]: np.zeros((200, 384), dtype=np.float32),
        graph.EMBEDDING: np.zeros(384, dtype=np.float32),
        graph.LOGIT: np.zeros(1, dtype=np.float32),
    }

    def logit(seconds: float) -> float:
        p = head.probability({**zeros, SPOKEN: np.float32(seconds)})
        return math.log(p / (1 - p))

    long = logit(2.0)
    assert logit(0.3) - long == pytest.approx(2.0 * 1.5, abs=1e-4)  # slope times weight
    assert logit(1.0) - long == pytest.approx(2.0 * 0.75, abs=1e-4)


@pytest.mark.parametrize(("full", "none"), [(1.5, 0.5), (1.0, 1.0), (-1.0, 1.0), (0.5, 9.0), ("a", 1.0)])
def test_a_ramp_without_sense_is_refused(tmp_path: Path, full: Any, none: Any) -> None:
    raw = _raw()
    raw["encoder"]["inputs"] = [{"tensor": SPOKEN, "full": full, "none": none}]
    with pytest.raises(ModelError, match=r"encoder\.inputs"):
        read_head(_write(tmp_path / "h.json", raw), encoder_sha256=ENCODER)


def test_how_many_frames_of_the_last_layer_it_needs(tmp_path: Path) -> None:
    raw = _raw()
    head = read_head(_write(tmp_path / "h.json", raw), encoder_sha256=ENCODER)
    assert head.newest is None  # what is behind the layers needs them all
    raw["encoder"]["inputs"] = [
        {"tensor": graph.HIDDEN[0], "newest": 0, "oldest": 200},
        {"tensor": graph.HIDDEN[1], "newest": 5, "oldest": 10},
        {"tensor": SPOKEN, "full": 0.5, "none": 1.5},
    ]
    for key in ("mean", "scale", "weights"):
        raw[key] = encode_vector(np.ones(SIZE))
    assert read_head(_write(tmp_path / "h.json", raw), encoder_sha256=ENCODER).newest == 10
