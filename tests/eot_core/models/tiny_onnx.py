"""Writes ONNX graphs of a node or two, byte by byte, so that the tests need no onnx package.

Field numbers are those of onnx.proto (ONNX IR version 8, opset 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Dim = int | str
FLOAT, INT64 = 1, 7


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _value_info(name: str, shape: Sequence[Dim], element: int) -> bytes:
    dims = b"".join(_bytes(1, _number(1, dim) if isinstance(dim, int) else _bytes(2, dim)) for dim in shape)
    tensor = _number(1, element) + _bytes(2, dims)
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


def _node(operator: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> bytes:
    encoded = b"".join(_bytes(1, name) for name in inputs) + _bytes(2, output) + _bytes(4, operator)
    for name, value in attributes.items():
        if isinstance(value, int):
            body = _bytes(1, name) + _number(3, value) + _number(20, 2)
        else:
            body = _bytes(1, name) + b"".join(_number(8, item) for item in value) + _number(20, 7)
        encoded += _bytes(5, body)
    return encoded


def write_mean_model(
    path: Path,
    shape: Sequence[Dim],
    *,
    ends_in: str = "Sigmoid",
    axes: Sequence[int] | None = None,
    element: int = FLOAT,
    metadata: dict[str, str] | None = None,
    second_input: bool = False,
) -> Path:
    """A graph that averages ``x`` over all but its batch axis and applies ``ends_in`` (Sigmoid, Identity, Sqrt...)."""
    over = list(axes) if axes is not None else list(range(1, len(shape)))
    nodes = [_node("Cast", ["x"], "cast", to=FLOAT), _node("ReduceMean", ["cast"], "mean", axes=over, keepdims=0)]
    nodes.append(_node(ends_in, ["mean"], "p"))
    graph = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, "tiny")
    graph += _bytes(11, _value_info("x", shape, element))
    if second_input:
        graph += _bytes(11, _value_info("y", [1], FLOAT))
    graph += _bytes(12, _value_info("p", [dim for i, dim in enumerate(shape) if i not in over], FLOAT))
    model = _number(1, 8) + _bytes(7, graph) + _bytes(8, _number(2, 13))
    for key, value in (metadata or {}).items():
        model += _bytes(14, _bytes(1, key) + _bytes(2, value))
    path.write_bytes(model)
    return path
