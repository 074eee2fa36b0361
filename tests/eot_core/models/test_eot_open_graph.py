from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from eot_core.models import graph, smart_turn
from eot_core.models.base import ModelError, ModelNotInstalledError
from eot_core.models.session import shared_session
from eot_core.models.whisper_features import log_mel

pytest.importorskip("onnx", reason="the onnx package is not installed")


@pytest.fixture(scope="module")
def weights() -> bytes:
    path = smart_turn._FILE.locate()
    if path is None:
        pytest.skip("pipecat-ai is not installed")
    return path.read_bytes()


def _clips() -> list[np.ndarray]:
    """Noise, tones that stop, and a swept hum: log-mel features, each [1, 80, 800]."""
    rng = np.random.default_rng(0)
    times = np.arange(128_000) / 16_000
    clips = [0.1 * rng.standard_normal(128_000)]
    for pitch in (110.0, 190.0):
        voice = sum(np.sin(2 * np.pi * pitch * k * times) / k for k in range(1, 9))
        clips.append(0.1 * voice * (times < 7.6) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * times)))
    clips.append(0.2 * np.sin(2 * np.pi * (80 * times + 20 * times**2)) * (times > 3))
    return [log_mel(clip.astype(np.float32))[np.newaxis] for clip in clips]


def test_the_logit_is_the_shipped_one_up_to_what_int8_costs(weights: bytes) -> None:
    """The shipped graph rounds its logit to steps of about 0.1, and what it rounds within moves the verdict by about 1
    on speech (correlation 0.96 over 1,648 recorded pauses); a wrong edit moves it by its whole range, -8..8."""
    shipped = shared_session(weights)
    edited = shared_session(graph.edited(weights, outputs=(graph.LOGIT,)))
    before, after = [], []
    for features in _clips():
        probability = float(np.asarray(shipped.run(None, {graph.INPUT: features})[0])[0, 0])
        before.append(float(np.log(probability) - np.log1p(-probability)))
        after.append(float(np.asarray(edited.run(None, {graph.INPUT: features})[0])[0, 0]))
    assert np.abs(np.array(before) - np.array(after)).max() < 2.0


def test_what_is_not_edited_is_equal(weights: bytes) -> None:
    """With the same tensors asked for alone or together, cut or whole, the numbers are the same."""
    whole = shared_session(graph.edited(weights, outputs=(*graph.HIDDEN, graph.EMBEDDING, graph.LOGIT)))
    cut = shared_session(graph.edited(weights, outputs=(graph.HIDDEN[1],)))
    features = _clips()[1]
    (alone,) = cut.run(None, {graph.INPUT: features})
    together = whole.run([graph.HIDDEN[1]], {graph.INPUT: features})[0]
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-3)


def test_the_convolutions_are_those_of_the_original(weights: bytes) -> None:
    """Nothing before the first layer was touched but Gelu, which is the same function in one node."""
    import onnx

    def first_layer(model: onnx.ModelProto) -> bytes:
        del model.graph.output[:]
        model.graph.output.append(onnx.helper.make_tensor_value_info("add_20", onnx.TensorProto.FLOAT, None))
        return bytes(model.SerializeToString())

    original = onnx.load_from_string(weights)
    edited = onnx.load_from_string(graph.edited(weights, outputs=(graph.HIDDEN[0],)))
    features = _clips()[2]
    (before,) = shared_session(first_layer(original)).run(["add_20"], {graph.INPUT: features})
    (after,) = shared_session(first_layer(edited)).run(["add_20"], {graph.INPUT: features})
    # onnxruntime may run the int8 convolution's last rounding either way: a step is 0.02 here, on values up to 20.
    assert np.mean(np.abs(np.asarray(before) - np.asarray(after)) > 1e-3) < 0.02


def test_int8_is_taken_out_where_it_costs_and_weights_stay(weights: bytes) -> None:
    import onnx

    before, after = onnx.load_from_string(weights), onnx.load_from_string(graph.edited(weights, outputs=(graph.LOGIT,)))
    stored = {item.name: item.SerializeToString() for item in before.graph.initializer}
    assert all(stored[item.name] == item.SerializeToString() for item in after.graph.initializer)
    quantised = {node.input[0] for node in after.graph.node if node.op_type == "QuantizeLinear"}
    assert not quantised & {"val_68", "val_18", graph.LOGIT, graph.EMBEDDING}
    assert {"val_69", "layer_norm"} <= quantised  # the products themselves stay int8
    kinds = {node.op_type for node in after.graph.node}
    assert "Gelu" in kinds
    assert "Erf" not in kinds


@pytest.mark.parametrize(("window", "frames"), [(8.0, 400), (6.0, 300), (4.0, 200), (0.02, 1)])
def test_a_shorter_window_gives_fewer_frames(weights: bytes, window: float, frames: int) -> None:
    session = shared_session(graph.edited(weights, outputs=(graph.HIDDEN[1],), window=window))
    assert session.get_inputs()[0].shape[2] == 2 * frames
    features = np.zeros((1, 80, 2 * frames), dtype=np.float32)
    (hidden,) = session.run(None, {graph.INPUT: features})
    assert np.asarray(hidden).shape == (1, frames, 384)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize(("window", "newest"), [(8.0, 110), (4.0, 1), (2.0, 100)])
def test_the_newest_frames_of_the_last_layer_are_the_same_alone(
    weights: bytes, layers: int, window: float, newest: int
) -> None:
    names = graph.HIDDEN[:layers]
    whole = shared_session(graph.edited(weights, outputs=names, window=window))
    part = shared_session(graph.edited(weights, outputs=names, window=window, newest=newest))
    features = _clips()[1][:, :, -round(100 * window) :]
    expected = whole.run(list(names), {graph.INPUT: features})
    found = part.run(list(names), {graph.INPUT: features})
    np.testing.assert_array_equal(found[-1], expected[-1][:, -newest:])
    for before, after in zip(expected[:-1], found[:-1], strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    ("outputs", "newest"), [((graph.HIDDEN[1],), 0), ((graph.HIDDEN[1],), 201), ((graph.HIDDEN[3], graph.LOGIT), 100)]
)
def test_frames_that_cannot_be_left_out(weights: bytes, outputs: tuple[str, ...], newest: int) -> None:
    with pytest.raises(ValueError, match="newest must be"):
        graph.edited(weights, outputs=outputs, window=4.0, newest=newest)


def test_a_cut_graph_is_smaller(weights: bytes) -> None:
    assert len(graph.edited(weights, outputs=(graph.HIDDEN[1],))) < 0.65 * len(weights)


@pytest.mark.parametrize("window", [0.0, -1.0, 8.02, 4.01, float("nan"), float("inf")])
def test_a_window_out_of_range(weights: bytes, window: float) -> None:
    with pytest.raises(ValueError, match=r"window must be a multiple of 0\.02 s"):
        graph.edited(weights, outputs=(graph.LOGIT,), window=window)


@pytest.mark.parametrize("outputs", [(), ("logits",), (graph.LOGIT, "add_20")])
def test_unknown_outputs(weights: bytes, outputs: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="outputs must be some of"):
        graph.edited(weights, outputs=outputs)


def test_another_graph_is_refused(tmp_path: Path) -> None:
    from tiny_onnx import write_mean_model

    for content in (write_mean_model(tmp_path / "m.onnx", ["b", "n"]).read_bytes(), b"rubbish"):
        with pytest.raises(ModelError, match=r"not the graph of smart-turn v3\.2"):
            graph.edited(content, outputs=(graph.LOGIT,))


def test_a_gelu_that_is_none_is_refused(weights: bytes) -> None:
    import onnx

    def broken(change: str) -> bytes:
        model = onnx.load_from_string(weights)
        erf = next(node for node in model.graph.node if node.op_type == "Erf")
        if change == "kind":
            erf.op_type = "Tanh"
        else:
            last = next(node for node in model.graph.node if node.output[0] == "gelu")
            last.input[0] = "conv1d"
        return bytes(model.SerializeToString())

    for change in ("kind", "source"):
        with pytest.raises(ModelError, match=r"not Erf|not the end of a Gelu"):
            graph.edited(broken(change), outputs=(graph.LOGIT,))


def test_without_the_onnx_package(weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelNotInstalledError, match=r"pip install 'eot-adapters\[open\]'"):
        graph.edited(weights, outputs=(graph.LOGIT,))
