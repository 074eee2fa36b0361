"""One ONNX session per process for each file of weights (or graph in memory), however many streams use it.

A session is made for one thread of its own work (``intra_op_num_threads=1``): the scheduler decides how many run at a
time. It owns no threads, so a child that is forked after loading uses the same pages copy-on-write.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .base import ModelError, ModelNotInstalledError
from .weights import sha256_of

_ERRORS_ONLY = 3
"""onnxruntime's severity level that leaves out warnings."""


class OnnxSession(Protocol):
    """What is used of ``onnxruntime.InferenceSession``; ``run`` may be called from several threads."""

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> Sequence[Any]:
        """Outputs in the order of ``output_names`` (None: all)."""
        ...

    def get_inputs(self) -> Sequence[Any]:
        """Descriptions with ``name``, ``shape`` and ``type``."""
        ...

    def get_outputs(self) -> Sequence[Any]:
        """Descriptions with ``name``, ``shape`` and ``type``."""
        ...

    def get_modelmeta(self) -> Any:
        """Metadata; ``custom_metadata_map`` is a dict of str."""
        ...


_sessions: dict[tuple[str, str], OnnxSession] = {}
_lock = threading.Lock()


def _renew_lock() -> None:
    """A child forked while another thread held the lock would wait for it forever; the sessions stay."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def shared_session(source: Path | bytes) -> OnnxSession:
    """The session for the file at ``source``, or for the graph that it holds; loaded by the first caller, the others
    wait for it.

    A failed load is not remembered: the next call tries again.

    Raises:
        ModelNotInstalledError: the file or onnxruntime is missing.
        ModelError: onnxruntime cannot load the file.
    """
    if isinstance(source, bytes):
        key = ("", hashlib.sha256(source).hexdigest())
    else:
        try:
            key = (str(source.resolve()), sha256_of(source))
        except OSError as error:
            raise ModelNotInstalledError(f"cannot read the weights at {source}: {error.strerror}") from error
    with _lock:
        session = _sessions.get(key)
        if session is None:
            session = _sessions[key] = _load(source)
        return session


def _load(source: Path | bytes) -> OnnxSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelNotInstalledError("onnxruntime is not installed: pip install onnxruntime") from error

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    model = source if isinstance(source, bytes) else str(source)
    try:
        session: OnnxSession = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no public base class
        name = "the graph in memory" if isinstance(source, bytes) else source
        raise ModelError(f"onnxruntime cannot load {name}: {_first_line(error)}") from error
    return session


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__
