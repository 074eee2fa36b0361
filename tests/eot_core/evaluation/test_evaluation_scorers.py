"""From names and paths to what scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from known_set import Problems, scored, toy_model, write_known
from models.tiny_onnx import write_mean_model

from eot_core.evaluation.benchmark import from_scored
from eot_core.evaluation.dataset import read_dataset
from eot_core.evaluation.scorers import ModelScorer, make_scorers
from eot_core.models.base import ModelError, ModelLicenseError


class TestMakeScorers:
    def test_names(self, tmp_path: Path) -> None:
        path = write_mean_model(tmp_path / "mine.onnx", ["batch", "samples"])
        scorers = make_scorers(["smart-turn", "vad", "elapsed", str(path)])
        assert [s.name for s in scorers] == ["smart-turn-v3.2", "vad", "elapsed", "mine"]
        assert scorers[0].fingerprint is not None
        assert "2bb026316b14" in scorers[0].fingerprint
        first = scorers[3].fingerprint
        write_mean_model(path, ["batch", "samples"], ends_in="Identity")
        assert make_scorers([str(path)])[0].fingerprint != first  # the checksum of the file is in it

    def test_files_of_one_name(self, tmp_path: Path) -> None:
        """As training writes them: a folder for each run."""
        paths = []
        for folder, ending in (("run1", "Sigmoid"), ("run2", "Identity")):
            (tmp_path / folder).mkdir()
            paths.append(str(write_mean_model(tmp_path / folder / "model.onnx", ["batch", "s"], ends_in=ending)))
        both = make_scorers(paths)
        assert [s.name for s in both] == ["run1-model", "run2-model"]
        # Scores that were kept under one name are found under the other.
        assert [s.fingerprint for s in both] == [make_scorers([path])[0].fingerprint for path in paths]
        assert make_scorers(paths[:1])[0].name == "model"
        with pytest.raises(ValueError, match=r"run1/model\.onnx' is given twice"):
            make_scorers([paths[0], str(tmp_path / "run2" / ".." / "run1" / "model.onnx")])

    @pytest.mark.parametrize("name", ["vad", "elapsed", "smart-turn-v3.2"])
    def test_a_file_that_is_called_as_something_else_is(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "mine").mkdir()
        path = write_mean_model(tmp_path / "mine" / f"{name}.onnx", ["batch", "samples"])
        file, other = make_scorers([str(path), name])
        assert (file.name, other.name) == (f"mine-{name}", name)
        if name in ("vad", "elapsed"):
            assert make_scorers([str(path)])[0].name == f"mine-{name}"
            result, _ = scored(write_known(tmp_path), file)
            assert not np.isnan(from_scored("known", result, resamples=0).overall[f"mine-{name}"].auc)

    @pytest.mark.parametrize(
        ("shape", "window"),
        [(["batch", 16_000], 1.0), (["batch", "samples"], 8.0), ([1, 80, 400], 4.0), (["batch", 80, "frames"], 8.0)],
    )
    def test_a_file_that_fixes_its_window(self, tmp_path: Path, shape: list[int | str], window: float) -> None:
        (scorer,) = make_scorers([str(write_mean_model(tmp_path / "mine.onnx", shape))])
        assert isinstance(scorer, ModelScorer)
        assert scorer.spec.window == window
        assert str(scorer.fingerprint).endswith(f"-{window:g}")
        result, problems = scored(write_known(tmp_path), scorer)
        assert (problems, result.failed, len(result.pauses)) == ([], {}, 8)

    def test_a_file_whose_window_cannot_be(self, tmp_path: Path) -> None:
        """It is one of those that cannot be loaded."""
        for name, shape in (("odd", ["batch", 16_001]), ("long", ["batch", 640_000]), ("none", ["batch", 0])):
            (scorer,) = make_scorers([str(write_mean_model(tmp_path / f"{name}.onnx", shape))])
            with pytest.raises(ModelError, match=f"{name}.onnx: the graph takes {shape[1]} samples"):
                scorer.prepare()

    def test_v1_mini_is_refused_with_its_licence(self) -> None:
        with pytest.raises(ModelLicenseError, match=r"may run only inside LiveKit Agents \(LiveKit Model License\)"):
            make_scorers(["turn-detector-v1-mini", "vad"])

    def test_mistakes(self) -> None:
        with pytest.raises(ValueError, match="model 'vad' is given twice"):
            make_scorers(["vad", "vad"])
        with pytest.raises(ValueError, match="no model is given"):
            make_scorers([])
        with pytest.raises(ValueError, match="model 'gpt' is unknown"):
            make_scorers(["gpt"])

    def test_must_be_prepared(self, tmp_path: Path) -> None:
        item = read_dataset(write_known(tmp_path), on_problem=Problems())[0]
        with pytest.raises(ModelError, match=r"call prepare\(\) first"):
            toy_model(tmp_path).score(item, item.audio.open(), 0.5)
