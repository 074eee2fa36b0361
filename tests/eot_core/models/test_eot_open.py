from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eot_core.models import eot_open, graph, smart_turn
from eot_core.models.base import Model, ModelIntegrityError, ModelNotInstalledError, ModelSpec
from eot_core.models.eot_open import EOT_OPEN, EOT_OPEN_1, EOT_OPEN_1_FAST, encoder_graph, packaged_head
from eot_core.models.registry import available_models, resolve_model
from eot_core.models.weights import PackagedFile

AUDIO = Path(__file__).parents[4] / "shared" / "audio"
needs_weights = pytest.mark.skipif(
    smart_turn._FILE.locate() is None or importlib.util.find_spec("onnx") is None,
    reason="pipecat-ai or onnx is not installed",
)


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the tests' own, so that none of them depends on what the user has."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("EOT_CACHE_DIR")
    os.environ["EOT_CACHE_DIR"] = str(folder)
    yield folder
    if before is None:
        del os.environ["EOT_CACHE_DIR"]
    else:
        os.environ["EOT_CACHE_DIR"] = before


@pytest.fixture(scope="module", params=EOT_OPEN, ids=lambda spec: spec.name)
def loaded(request: pytest.FixtureRequest) -> tuple[ModelSpec, Model]:
    return request.param, request.param.load()


def test_the_descriptions() -> None:
    names = ("eot-open-1", "eot-open-1-fast", "eot-open-1-fast-6s", "eot-open-1-fast-4s")
    assert tuple(spec.name for spec in EOT_OPEN) == names
    assert tuple(spec.window for spec in EOT_OPEN) == (8.0, 8.0, 6.0, 4.0)
    for spec in EOT_OPEN:
        assert resolve_model(spec.name) is spec
        assert spec.pre_speech == pytest.approx(0.7)
        assert "BSD-2-Clause" in spec.license
        assert spec.thresholds["en"] == spec.default_threshold


@needs_weights
def test_they_are_available() -> None:
    assert set(EOT_OPEN) <= set(available_models())


@needs_weights
def test_a_probability_for_anything(loaded: tuple[ModelSpec, Model]) -> None:
    spec, model = loaded
    rng = np.random.default_rng(1)
    size = round(spec.window * 16_000)
    clips = [
        np.zeros(size, np.int16),
        np.zeros(1, np.int16),
        rng.integers(-32_768, 32_767, size, dtype=np.int16),
        rng.integers(-9, 9, 3_000, dtype=np.int16),
        np.full(500, -32_768, np.int16),
        rng.integers(-8_000, 8_000, size + 16_000, dtype=np.int16),
    ]
    for pcm in clips:
        assert 0.0 <= model.predict(pcm) <= 1.0


@needs_weights
def test_only_the_newest_window_counts(loaded: tuple[ModelSpec, Model]) -> None:
    spec, model = loaded
    pcm = np.random.default_rng(2).integers(-8_000, 8_000, round(spec.window * 16_000) + 5_000, dtype=np.int16)
    assert model.predict(pcm) == model.predict(pcm[5_000:])


@needs_weights
def test_ends_score_above_holds_on_recordings(loaded: tuple[ModelSpec, Model]) -> None:
    """A few recordings that no head was fitted on: the worst that chance would give is far below."""
    _, model = loaded
    soundfile = pytest.importorskip("soundfile", reason="soundfile reads the recordings")
    if not (AUDIO / "turns.jsonl").is_file():
        pytest.skip("there are no recordings beside the checkout")
    import json

    rows = [json.loads(line) for line in (AUDIO / "turns.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "test" and row["source"] == "alphanumeric"][:12]
    ends, holds = [], []
    for row in rows:
        pcm, _ = soundfile.read(AUDIO / row["audio"], dtype="int16")
        *inner, last = row["silence_spans"]
        for span, scores in [*((span, holds) for span in inner), (last, ends)]:
            if span["end"] - span["start"] >= 0.2 and span["start"] > 0:
                scores.append(model.predict(pcm[: round((span["start"] + 0.2) * 16_000)]))
    above = np.mean([[end > hold for hold in holds] for end in ends])
    assert above > 0.8


@needs_weights
def test_the_cache_serves_without_the_onnx_package(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    head = packaged_head("eot-open-1-fast-4s")
    made = encoder_graph(head)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert encoder_graph(head) == made
    monkeypatch.setenv("EOT_CACHE_DIR", str(tmp_path))
    with pytest.raises(ModelNotInstalledError, match=r"pip install 'eot-adapters\[open\]'"):
        encoder_graph(head)


@needs_weights
def test_available_without_onnx_only_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    encoder_graph(packaged_head(EOT_OPEN_1_FAST.name))
    find_spec = importlib.util.find_spec

    def without_onnx(name: str, package: str | None = None) -> object:
        return None if name == "onnx" else find_spec(name, package)

    monkeypatch.setattr(eot_open.importlib.util, "find_spec", without_onnx)
    assert EOT_OPEN_1_FAST.is_available()
    monkeypatch.setenv("EOT_CACHE_DIR", str(tmp_path))
    assert not EOT_OPEN_1_FAST.is_available()


@needs_weights
def test_a_damaged_cache_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EOT_CACHE_DIR", str(tmp_path))
    head = packaged_head("eot-open-1-fast-4s")
    made = encoder_graph(head)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert encoder_graph(head) == made


def test_without_pipecat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackagedFile, "locate", lambda self: None)
    assert not EOT_OPEN_1.is_available()
    with pytest.raises(
        ModelNotInstalledError, match=r"eot-open-1 is not installed: pip install 'eot-adapters\[open\]'"
    ):
        EOT_OPEN_1.load()


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"not smart-turn")
    monkeypatch.setattr(PackagedFile, "locate", lambda self: tmp_path / "other.onnx")
    with pytest.raises(ModelIntegrityError, match="sha256"):
        EOT_OPEN_1.load()


@needs_weights
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_scores_the_same() -> None:
    model = EOT_OPEN_1_FAST.load()
    pcm = np.random.default_rng(3).integers(-8_000, 8_000, 40_000, dtype=np.int16)
    expected = model.predict(pcm)
    child = os.fork()
    if child == 0:
        os._exit(0 if model.predict(pcm) == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_describing_them_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from eot_core.models.registry import available_models\n"
        "available_models()\n"
        "heavy = {'onnx', 'onnxruntime', 'scipy', 'pipecat', 'torch'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@needs_weights
def test_the_graph_of_eot_open_1_gives_both_the_layers_and_the_logit() -> None:
    head = packaged_head("eot-open-1")
    assert graph.LOGIT in head.tensors
    assert head.inputs[-2].tensor == graph.LOGIT
    assert graph.LOGIT not in packaged_head("eot-open-1-fast").tensors
