"""A model that is loaded once per process, when it is first needed, and shared by every stream."""

from __future__ import annotations

import os
import threading

import numpy as np

from .base import SAMPLE_RATE, Model, ModelError, ModelSpec


class ModelHandle:
    """A :class:`ModelSpec` and, once somebody asked for it, its :class:`Model`. Safe to use from several threads."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._model: Model | None = None
        self._lock = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether :meth:`get` returns at once."""
        return self._model is not None

    def get(self, *, timeout: float | None = None) -> Model:
        """The model; the first caller loads it (up to seconds), the others wait. A failed load may be tried again.

        Args:
            timeout: seconds to wait for somebody else's load, so that one that hangs does not hold every thread that
                asks; None waits for as long as it takes. One's own load takes its time in any case.

        Raises:
            ModelError: it cannot be loaded (the message says what to install), or is still being loaded.
        """
        if self._model is not None:
            return self._model
        lock = self._lock
        if not lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            raise ModelError(f"{self.spec.name} is still being loaded")
        try:
            if self._model is None:
                self._model = self.spec.load()
            return self._model
        finally:
            lock.release()

    def warm_up(self) -> None:
        """Load, and score a window of silence, so that the first real pause is not the slow one.

        Raises:
            ModelError: as :meth:`get`; and whatever the model raises on silence.
        """
        silence = np.zeros(max(1, round(self.spec.window * SAMPLE_RATE)), dtype=np.int16)
        self.get().predict(silence)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<ModelHandle {self.spec.name} {'loaded' if self.loaded else 'not loaded'}>"


_handles: dict[ModelSpec, ModelHandle] = {}
_handles_lock = threading.Lock()


def model_handle(spec: ModelSpec) -> ModelHandle:
    """The one handle of this process for ``spec`` (by identity). It lives as long as the process."""
    with _handles_lock:
        handle = _handles.get(spec)
        if handle is None:
            handle = _handles[spec] = ModelHandle(spec)
        return handle


def _renew_locks() -> None:
    """A child forked while another thread was loading would wait for that thread forever. What is loaded stays."""
    global _handles_lock
    _handles_lock = threading.Lock()
    for handle in _handles.values():
        handle._renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
