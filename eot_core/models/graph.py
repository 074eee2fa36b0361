"""Edits to the graph of smart-turn's encoder: cut it, shorten its window, and take quantising out where it costs.

The graph is that of smart-turn v3.2 (checked by its sha256 before it comes here), so tensors are known by name. Weights
are untouched; what changes is what is computed, and in which precision:

- int8 is taken out between each product of the encoder and what follows it, before and after the softmax's input, and
  in the small layers behind the encoder. onnxruntime runs an int8 softmax element by element through a table (30 % of
  the time of the graph as shipped); the other places cost accuracy and gain nothing, the products themselves stay int8.
- Gelu, written out as five nodes, becomes one.
- A shorter window keeps the newest frames and their positions, and drops the oldest.
- The outputs asked for decide which layers are left, and how many of the newest frames the last of them works out:
  each frame looks at all frames of the layer before, and at none of its own.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .base import ModelError, ModelNotInstalledError

if TYPE_CHECKING:
    import onnx

HIDDEN = ("add_146", "add_268", "add_390", "add_512")
"""Hidden states after each of the four layers: float32 [batch, frames, 384], 50 frames a second, the newest last."""
EMBEDDING = "sum_1"
"""What attention pools out of the last layer: float32 [batch, 384]."""
LOGIT = "linear_28"
"""smart-turn's own verdict before its sigmoid: float32 [batch, 1]."""
INPUT = "input_features"
"""Log-mel features: float32 [batch, 80, 100 * window]."""
FRAMES_PER_SECOND = 50
"""Of the hidden states; the features have twice as many."""
FULL_WINDOW = 8.0
"""Seconds; the positions of the encoder reach no further."""
REVISION = 1
"""Raise it with every change to what :func:`edited` makes, so that graphs in a cache are made anew."""
INSTALL = "pip install 'eot-adapters[open]'"
NO_ONNX = f"the onnx package, which cuts the encoder out of smart-turn, is not installed: {INSTALL}"

_POSITIONS = "inner.encoder.embed_positions.weight"
_FRAMES = "val_21"
_QUANTIZED = "_QuantizeLinear_Output"
_DEQUANTIZED = "_DequantizeLinear_Output"
_TAIL = frozenset(
    ("layer_norm_8", "tanh", "sum_1", "linear_26", "gelu_6", "linear_27", "gelu_7", "linear_28")  # behind the encoder
)


def edited(weights: bytes, *, outputs: Sequence[str], window: float = FULL_WINDOW, newest: int | None = None) -> bytes:
    """The graph of smart-turn v3.2, edited.

    Args:
        weights: smart-turn-v3.2-cpu.onnx; the caller has checked its sha256.
        outputs: tensors to give, of :data:`HIDDEN`, :data:`EMBEDDING` and :data:`LOGIT`; what they do not need is cut.
        window: seconds of audio, more than 0, at most 8, in steps of 20 ms.
        newest: so many frames of the last layer are enough, and its tensor then has only these; None: all. Where
            something behind the layers is asked for, it needs them all.

    Raises:
        ModelNotInstalledError: the ``onnx`` package is missing.
        ModelError: this is not the graph that was expected.
        ValueError: an argument is out of range.
    """
    frames = round(window * FRAMES_PER_SECOND) if math.isfinite(window) else 0
    if not 0 < frames <= FULL_WINDOW * FRAMES_PER_SECOND or abs(frames - window * FRAMES_PER_SECOND) > 1e-6:
        raise ValueError(f"window must be a multiple of 0.02 s from 0.02 to {FULL_WINDOW:g}, got {window!r}")
    unknown = [name for name in outputs if name not in (*HIDDEN, EMBEDDING, LOGIT)]
    if unknown or not outputs:
        raise ValueError(f"outputs must be some of HIDDEN, EMBEDDING and LOGIT, got {list(outputs)!r}")
    if newest is not None:
        if not set(outputs) <= set(HIDDEN):
            raise ValueError(f"newest must be None where outputs has more than layers, got {newest!r}")
        if not 0 < newest <= frames:
            raise ValueError(f"newest must be from 1 to {frames} frames, got {newest!r}")
    try:
        import onnx
    except ImportError as error:
        raise ModelNotInstalledError(NO_ONNX) from error
    try:
        model = onnx.load_from_string(weights)
        graph = model.graph
        if not {INPUT} == {value.name for value in graph.input} or not _produced(graph) >= set(outputs):
            raise ValueError("its tensors have other names")
        _shorten(graph, frames)
        _take_out_quantizing(graph, {*_products(graph), *_softmax_inputs(graph), *_TAIL})
        _fuse_gelu(graph)
        if newest is not None and newest < frames:
            _only_newest(graph, max(HIDDEN.index(name) for name in outputs), newest)
        _cut(graph, outputs)
        return bytes(model.SerializeToString())
    except Exception as error:  # whatever onnx and protobuf raise on a graph of another form
        raise ModelError(f"the weights are not the graph of smart-turn v3.2 that can be edited: {error}") from error


def _produced(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in node.output}


def _shorten(graph: onnx.GraphProto, frames: int) -> None:
    """The length is written down in two places: the positions, and the shape into which attention is folded."""
    from onnx import numpy_helper

    for initializer in graph.initializer:
        if initializer.name == _POSITIONS:
            newest = np.ascontiguousarray(numpy_helper.to_array(initializer)[-frames:])
            initializer.CopyFrom(numpy_helper.from_array(newest, _POSITIONS))
        elif initializer.name == _FRAMES:
            initializer.CopyFrom(numpy_helper.from_array(np.array([frames], dtype=np.int64), _FRAMES))
    graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2 * frames


def _products(graph: onnx.GraphProto) -> set[str]:
    """Results of the products with weights (not those of attention, which are followed by int8 products)."""
    constants = {initializer.name for initializer in graph.initializer}
    weights = {
        node.output[0] for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    return {node.output[0] for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights}


def _softmax_inputs(graph: onnx.GraphProto) -> set[str]:
    return {node.input[0].removesuffix(_DEQUANTIZED) for node in graph.node if node.op_type == "Softmax"}


def _take_out_quantizing(graph: onnx.GraphProto, tensors: Collection[str]) -> None:
    """Remove the pair of nodes that takes each of ``tensors`` to int8 and back."""
    pairs = [
        node
        for node in graph.node
        if (node.op_type == "QuantizeLinear" and node.input[0] in tensors)
        or (node.op_type == "DequantizeLinear" and node.input[0].removesuffix(_QUANTIZED) in tensors)
    ]
    for node in pairs:
        graph.node.remove(node)
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name.endswith(_DEQUANTIZED) and name.removesuffix(_DEQUANTIZED) in tensors:
                node.input[index] = name.removesuffix(_DEQUANTIZED)


def _fuse_gelu(graph: onnx.GraphProto) -> None:
    """``x * (0.5 * (erf(x / sqrt 2) + 1))``, five nodes, becomes onnxruntime's Gelu."""
    from onnx import helper

    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for divide in [node for node in graph.node if node.op_type == "Div"]:
        chain = [divide]
        for expected in ("Erf", "Add", "Mul", "Mul"):
            (following,) = users[chain[-1].output[0]]
            if following.op_type != expected:
                raise ValueError(f"{following.name} is {following.op_type}, not {expected}")
            chain.append(following)
        source, last = divide.input[0], chain[-1]
        if source not in last.input:
            raise ValueError(f"{last.name} is not the end of a Gelu")
        fused = helper.make_node(
            "Gelu", [source], [last.output[0]], name=f"gelu_of_{last.output[0]}", domain="com.microsoft"
        )
        graph.node.insert(list(graph.node).index(last), fused)
        for node in chain:
            graph.node.remove(node)


def _only_newest(graph: onnx.GraphProto, layer: int, frames: int) -> None:
    """Let a layer, the last that is left, ask for its newest frames only: queries, what is added to, and two shapes."""
    from onnx import helper, numpy_helper

    producers = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def only(kind: str, name: str) -> onnx.NodeProto:
        (found,) = (node for node in users[name] if node.op_type == kind)
        return found

    def constant(name: str, value: int) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array([value], dtype=np.int64), name))
        return name

    first, last, along = constant("newest_from", -frames), constant("newest_to", 2**31 - 1), constant("newest_axis", 1)
    count = constant("newest_frames", frames)

    def add(before: onnx.NodeProto, node: onnx.NodeProto) -> str:
        graph.node.insert(list(graph.node).index(before), node)
        output: str = node.output[0]
        return output

    def cut_off(name: str, output: str) -> onnx.NodeProto:
        return helper.make_node("Slice", [name, first, last, along], [output])

    def shortened(reshape: onnx.NodeProto, output: str) -> None:
        shape = producers[reshape.input[1]]
        parts = [count if part == _FRAMES else part for part in shape.input]
        if shape.op_type != "Concat" or list(shape.input) == parts:
            raise ValueError(f"{reshape.name} does not fold {_FRAMES} frames")
        reshape.input[1] = add(reshape, helper.make_node("Concat", parts, [output], axis=0))

    # The queries: sliced as int8, so that the product stays one of int8.
    bias = f"inner.encoder.layers.{layer}.self_attn.q_proj.bias"
    (biased,) = users[bias]
    product = producers[next(name for name in biased.input if name != bias)]
    to_float = producers[product.input[0]]
    newest = add(product, cut_off(to_float.input[0], "newest_queries_int8"))
    dequantized = helper.make_node("DequantizeLinear", [newest, *to_float.input[1:]], ["newest_queries"])
    product.input[0] = add(product, dequantized)
    shortened(only("Reshape", biased.output[0]), "newest_queries_shape")
    # What attention gives is folded back, and added to what came into the layer.
    out_bias = f"inner.encoder.layers.{layer}.self_attn.out_proj.bias"
    (out,) = users[out_bias]
    projected = producers[next(name for name in out.input if name != out_bias)]
    folded = projected.input[0].removesuffix(_DEQUANTIZED)
    shortened(producers[folded], "newest_attention_shape")
    (summed,) = users[out.output[0]]
    for index, name in enumerate(summed.input):
        if name != out.output[0]:
            summed.input[index] = add(summed, cut_off(name, "newest_of_the_layer_before"))


def _cut(graph: onnx.GraphProto, outputs: Sequence[str]) -> None:
    """Keep what ``outputs`` need, and nothing else."""
    from onnx import TensorProto, helper

    producers = {name: node for node in graph.node for name in node.output}
    needed: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            if name in producers:
                waiting.extend(producers[name].input)
    for node in [node for node in graph.node if needed.isdisjoint(node.output)]:
        graph.node.remove(node)
    for initializer in [item for item in graph.initializer if item.name not in needed]:
        graph.initializer.remove(initializer)
    del graph.output[:]
    del graph.value_info[:]
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
