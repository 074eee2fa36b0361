"""The threads in which every VAD stream of this process is scored."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from eot_core.cpu import worker_count

_shared: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def vad_threads() -> ThreadPoolExecutor:
    """The threads of this process for every VAD stream. A stream has one job at a time, so the queue is bounded by the
    number of streams."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = ThreadPoolExecutor(max_workers=worker_count(), thread_name_prefix="eot-vad")
        return _shared


def _forget_threads() -> None:
    """A forked child has none of its parent's threads, and may have inherited a lock that nobody will release."""
    global _shared, _lock
    _shared, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
