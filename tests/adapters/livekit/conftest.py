"""Fixtures of the LiveKit tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from livekit_kit import Gateway


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


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with Gateway().running() as running:
        yield running
