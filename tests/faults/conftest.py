"""Nothing of the machine's own configuration may choose a model here."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("fault_cell")


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "LIVEKIT_API_KEY",
        "LIVEKIT_API_SECRET",
        "LIVEKIT_INFERENCE_API_KEY",
        "LIVEKIT_INFERENCE_API_SECRET",
        "LIVEKIT_INFERENCE_URL",
        "LIVEKIT_REMOTE_EOT_URL",
        "LIVEKIT_DEV_MODE",
        "LIVEKIT_URL",
    ):
        monkeypatch.delenv(name, raising=False)
