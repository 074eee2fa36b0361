"""What the libraries below send home by themselves, switched off."""

from __future__ import annotations

import os

ONNXRUNTIME = "ORT_DISABLE_TELEMETRY"
"""What onnxruntime reads when it is imported. Without it, releases with telemetry (1.31 is one, on Linux and macOS too)
start threads of their own, keep a database in the user's cache folder and report to their maker (``Privacy.md`` in the
package)."""


def no_telemetry() -> None:
    """Have onnxruntime send nothing, unless the environment says otherwise, or it was imported before."""
    os.environ.setdefault(ONNXRUNTIME, "1")
