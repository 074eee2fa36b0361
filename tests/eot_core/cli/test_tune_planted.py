"""``eot tune`` on calls in which the right answer was planted: a threshold elsewhere, and a sound that tells."""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eot_core.cli import tune

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from known_set import row, write_rows, write_wav
from two_channel import RATE, Pcm, voices

from eot_core import TurnDetector
from eot_core.evaluation import tuning_features
from eot_core.models.eot_open import EotOpen, packaged_head
from eot_core.models.own_head import checksum
from eot_core.models.registry import resolve_model
from eot_core.operating_points import OperatingPoint

MODEL = "eot-open-1-fast-4s"
"""The cheapest of those that take a head."""

Tuned = tuple[tuple[int, str, str], Path, Path]
"""What the command said, its file, and the folder of the turns."""

pytest.importorskip("pipecat")
onnx = pytest.importorskip("onnx")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def run(*argv: object) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    tune.add_parser(parser.add_subparsers())
    out, err = io.StringIO(), io.StringIO()
    args = parser.parse_args(["tune", *map(str, argv)])
    return tune.run(args, out=out, err=err), out.getvalue(), err.getvalue()


def language_row(path: Path, model: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())["models"][model]["languages"]["en"]
    return found


class TestShift:
    def test_a_logit_that_is_moved_moves_the_threshold_as_far(self, tmp_path: Path) -> None:
        """smart-turn's graph, and the same with 1.5 added before its sigmoid, as two models on the same recordings."""
        models = [_moved(tmp_path / f"{name}.onnx", by) for name, by in (("there", 0.0), ("moved", 1.5))]
        (tmp_path / "turns").mkdir()
        write_turns(tmp_path / "turns", 10, shuffled=False)
        path = tmp_path / "c.json"
        code, _, _ = run(
            tmp_path / "turns", "--model", ",".join(map(str, models)), "--curve", "step", "--resamples", 0,
            "--budget", "latency=0.6", "-o", path, "--no-check",
        )  # fmt: skip
        assert code == 0
        one, other = (language_row(path, model)["points"] for model in ("there", "moved"))
        assert len(one) == len(other) > 3
        apart = []
        for before, after in zip(one, other, strict=True):
            for name in ("budget", "value", "min_delay", "max_delay"):
                assert before[name] == after[name]
            for name in ("cutoff_rate", "latency"):
                assert before[name] == pytest.approx(after[name], abs=0.03)
            if 0.001 < before["threshold"] < 0.999:
                apart.append(_logit(after["threshold"]) - _logit(before["threshold"]))
        # A threshold lies half-way between two scores, which is not quite half-way between two logits.
        assert apart == pytest.approx([1.5] * len(apart), abs=0.1)
        assert len(apart) > 3


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    folder = tmp_path_factory.mktemp("tone")
    write_turns(folder, 24, shuffled=False)
    return run(*_arguments(folder)), folder / "c.json", folder


class TestSound:
    """A tone ends each turn. The shipped head hears the same words before holds and ends, and knows no tones."""

    def test_a_head_is_written_and_says_what_it_gains(self, tuned: Tuned) -> None:
        (code, out, _), path, _ = tuned
        assert code == 0
        assert "a head of your own: AUC " in out
        assert "It is written; what follows is with it" in out
        assert "with the head against without it: cutoffs " in out
        assert out.endswith(f"written for {MODEL} (en, with a head of your own)\n")
        found = language_row(path, MODEL)
        trial = found["head_trial"]
        assert trial["written"]
        assert trial["gain_interval"][0] > 0.05
        assert trial["auc"] - trial["shipped_auc"] == pytest.approx(trial["gain"], abs=2e-4)
        assert found["head"]["auc"] > found["auc"] + 0.05
        assert found["head"]["document"]["provenance"]["calls"] == 24
        assert {p["budget"] for p in found["points"]} == {p["budget"] for p in found["head"]["points"]}

    def test_it_gains_on_calls_that_were_never_tuned_on(self, tuned: Tuned, tmp_path: Path) -> None:
        _, path, _ = tuned
        turns = write_turns(tmp_path, 6, shuffled=False, first=100)
        own = TurnDetector(model=MODEL, calibration=path).local_model
        assert own is not None
        model = own.load()
        scores: list[dict[str | None, float]] = []
        labels: list[bool] = []
        for pcm, spans in turns:
            for number, span in enumerate(spans):
                until = round((span["start"] + 0.2) * RATE)
                scores.append(model.predict_each(pcm[max(0, until - 4 * RATE) : until]))  # type: ignore[attr-defined]
                labels.append(number == len(spans) - 1)
        from eot_core.evaluation.metrics import auc

        is_end = np.array(labels)
        with_it, without = (auc(np.array([s[key] for s in scores]), is_end) for key in ("en", None))
        assert with_it > max(0.9, without + 0.05)

    def test_the_head_in_the_file_is_the_shipped_one_and_a_little(self, tuned: Tuned) -> None:
        document = language_row(tuned[1], MODEL)["head"]["document"]
        assert document["encoder"]["sha256"] == packaged_head(MODEL).encoder_sha256
        own = TurnDetector(model=MODEL, calibration=tuned[1]).local_model
        assert own is not None
        assert own.heads == {"en": checksum(document)}
        assert json.loads(tuned[1].read_text())["models"][MODEL]["sha256"] == resolve_model(MODEL).sha256
        assert tuned[1].stat().st_size < 100_000

    def test_nothing_is_computed_twice(self, tuned: Tuned, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (_, out, _), path, folder = tuned
        asked: list[int] = []
        features = EotOpen.features
        monkeypatch.setattr(EotOpen, "features", lambda self, pcm: (asked.append(1), features(self, pcm))[1])
        argv = _arguments(folder)
        argv[argv.index("-o") + 1] = tmp_path / "again.json"
        _, again, _ = run(*argv)
        assert not asked
        assert again.replace("again.json", "c.json").replace(str(tmp_path), str(folder)) == out
        assert (tmp_path / "again.json").read_text() == path.read_text()

    def test_a_head_costs_no_further_predictions(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        asked: list[int] = []
        features = EotOpen.features
        monkeypatch.setattr(EotOpen, "features", lambda self, pcm: (asked.append(1), features(self, pcm))[1])
        write_turns(tmp_path, 6, shuffled=False)
        _, out, _ = run(*_arguments(tmp_path))
        assert len(asked) == 6 * 5 * 2  # a pause, a pass of the encoder
        assert "a head of your own: too little data: 6 calls or speakers, needs 20; 30 ends of turns, needs 100" in out

    def test_no_head_where_none_is_wanted(self, tuned: Tuned, tmp_path: Path) -> None:
        _, _, folder = tuned
        argv = _arguments(folder)
        argv[argv.index("-o") + 1] = tmp_path / "c.json"
        code, out, _ = run(*argv, "--no-head")
        assert code == 0
        assert "a head of your own" not in out
        found = language_row(tmp_path / "c.json", MODEL)
        assert "head" not in found
        assert "head_trial" not in found

    def test_a_tone_that_tells_nothing_gives_no_head(self, tmp_path: Path) -> None:
        write_turns(tmp_path, 24, shuffled=True)
        code, out, _ = run(*_arguments(tmp_path))
        assert code == 0
        assert "That is no clear gain: none is written" in out
        found = language_row(tmp_path / "c.json", MODEL)
        assert not found["head_trial"]["written"]
        assert "head" not in found
        assert not OperatingPoint("balanced", calibration=tmp_path / "c.json").heads(MODEL)

    async def test_the_same_on_both_frameworks(self, tuned: Tuned, tmp_path: Path) -> None:
        """Scores, thresholds and delays: what a turn's end is made of. The moments are for the parity traces."""
        pytest.importorskip("livekit.agents")
        import adapters.livekit
        import adapters.pipecat

        _, path, _ = tuned
        said = []
        (pcm, spans), *_ = write_turns(tmp_path, 1, shuffled=False, first=200)
        streams = (
            adapters.livekit.TurnDetector(model=MODEL, calibration=path).stream()._core,
            adapters.pipecat.TurnDetector(model=MODEL, calibration=path).stream(),
        )
        for stream in streams:
            scores = []
            for until in (span["start"] + 0.2 for span in spans):
                stream.push_audio(pcm[: round(until * RATE)])
                prediction = await stream.predict()
                scores.append((prediction.probability, prediction.model))
                scores.append((stream.unlikely_threshold("en-US"), stream.endpointing("en-US")))
                stream.flush()
            said.append(scores)
            await stream.aclose()
        assert said[0] == said[1]
        wanted = OperatingPoint("balanced", calibration=path).resolve(MODEL, "en", head="en")
        assert said[0][0][1].startswith(f"{MODEL}+en-")
        assert said[0][1] == (wanted.threshold, wanted.options)


def test_what_was_cut_short_is_done_again(tmp_path: Path) -> None:
    """A record that a crash left half written does not count, and those before it do."""
    store = tuning_features.FeatureStore(tmp_path, "a model", 3)
    for number in range(4):
        assert store.put(f"{number}", 0.5, 0.1 * number, np.full(3, number, dtype=np.float32)) == number
    store.close()
    store.close()
    with store.path.open("ab") as file:
        file.write(b"half a record")
    again = tuning_features.FeatureStore(tmp_path, "a model", 3)
    assert [again.row(f"{n}", 0.5) for n in range(5)] == [0, 1, 2, 3, None]
    assert again.row("0", 0.6) is None
    assert again.score(2) == pytest.approx(0.2)
    assert again.put("new", 1.0, 0.9, np.full(3, 9.0, dtype=np.float32)) == 4
    assert again.features(np.array([4, 1])).tolist() == [[9.0] * 3, [1.0] * 3]
    assert again.features(np.zeros(0, dtype=np.intp)).shape == (0, 3)
    again.close()
    other = tuning_features.FeatureStore(tmp_path, "another", 3)
    assert other.row("0", 0.5) is None
    kept_nowhere = tuning_features.FeatureStore(None, "a model", 3)
    kept_nowhere.put("0", 0.5, 0.5, np.zeros(3, dtype=np.float32))
    assert kept_nowhere.score(0) == 0.5
    kept_nowhere.close()
    assert not kept_nowhere.path.exists()


def _arguments(folder: Path) -> list[object]:
    return [
        folder, "--model", MODEL, "--curve", "step", "--resamples", 200, "--no-check", "--budget", "latency=0.6",
        "--cache", folder / "cache", "-o", folder / "c.json",
    ]  # fmt: skip


def write_turns(
    folder: Path, calls: int, *, shuffled: bool, first: int = 0
) -> list[tuple[Pcm, list[dict[str, float]]]]:
    """Labelled turns, five a call: words, a pause, the same words again, the end. The words last as long as the model's
    window, so that nothing else is heard. A tone is in the last 0.3 s before an end; ``shuffled``: before half of all
    pauses, whichever."""
    rows, turns = [], []
    for call in range(first, first + calls):
        rng = np.random.default_rng([call, shuffled])
        said = np.tile(voices(0.85 + 0.3 * rng.random())[0][: round(1.5 * RATE)], 4)[-round(4.2 * RATE) :]
        for number in range(5):
            tones = tuple(rng.random(2) < 0.5) if shuffled else (False, True)
            parts, spans, at = [], [], 0.0
            for tone, pause in zip(tones, (rng.uniform(0.4, 1.2), 1.0), strict=True):
                words = _with_tone(said, rng) if tone else said
                hush = rng.integers(-8, 9, round(pause * RATE))
                parts += [words + rng.integers(-8, 9, len(words)), hush]
                spans.append({"start": round(at + len(words) / RATE, 6)})
                at += (len(words) + len(hush)) / RATE
                spans[-1]["end"] = round(at, 6)
            pcm = np.concatenate(parts).clip(-32768, 32767).astype(np.int16)
            name = f"{call:03d}-{number}"
            write_wav(folder / f"{name}.wav", pcm)
            rows.append(row(name, f"{name}.wav", spans))
            turns.append((pcm, spans))
    write_rows(folder / "turns.jsonl", rows)
    return turns


def _with_tone(said: Pcm, rng: np.random.Generator) -> Pcm:
    n = round(0.3 * RATE)
    tone = 1500 * np.sin(2 * math.pi * rng.uniform(900, 1100) * np.arange(n) / RATE)
    return np.concatenate((said[:-n], said[-n:] + tone)).astype(np.int16)


def _moved(path: Path, by: float) -> Path:
    """smart-turn's graph with ``by`` added before its sigmoid."""
    from eot_core.models import smart_turn

    source = smart_turn._FILE.locate()
    assert source is not None
    model = onnx.load(str(source))
    graph = model.graph
    output = graph.output[0].name
    sigmoid = next(node for node in graph.node if output in node.output)
    assert sigmoid.op_type == "Sigmoid"
    graph.initializer.append(onnx.numpy_helper.from_array(np.float32(by), "planted"))
    add = onnx.helper.make_node("Add", [sigmoid.input[0], "planted"], ["moved"])
    graph.node.insert(list(graph.node).index(sigmoid), add)
    sigmoid.input[0] = "moved"
    onnx.save(model, str(path))
    return path


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
