"""Warnings of a process: given once, whatever the number of calls."""

from __future__ import annotations

import logging

import pytest

from eot_core import OperatingPoint, TurnDetector
from eot_core.once import forget, warn_once

logger = logging.getLogger("eot_core.tests")


def test_the_same_warning_is_given_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        warn_once(logger, "%s is missing", "a")
        warn_once(logger, "%s is missing", "b")
        warn_once(logger, "%s is missing now", "a")
    assert [record.getMessage() for record in caplog.records] == ["a is missing", "b is missing", "a is missing now"]
    forget()
    warn_once(logger, "%s is missing", "a")
    assert len(caplog.records) == 4


class TestALanguageWithoutAnOperatingPoint:
    @pytest.fixture
    def detector(self) -> TurnDetector:
        return TurnDetector(model="eot-open-1", operating_point="patient")

    async def test_says_whose_it_takes(self, detector: TurnDetector, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(2):
            stream = detector.stream()
            assert stream.supports_language("de-DE")
            assert stream.unlikely_threshold("de-DE") == OperatingPoint("patient").resolve("eot-open-1").threshold
            await stream.aclose()
        (record,) = caplog.records
        assert record.getMessage() == (
            "no operating point of eot-open-1 was measured for the language 'de': that for 'en' holds. Measure one on "
            "your own calls (eot tune)"
        )

    async def test_not_where_it_was_measured_or_nobody_named_one(
        self, detector: TurnDetector, caplog: pytest.LogCaptureFixture
    ) -> None:
        stream = detector.stream()
        assert stream.supports_language(None)
        assert stream.supports_language("en-GB")
        await stream.aclose()
        other = TurnDetector(model="smart-turn-v3.2", operating_point="patient").stream()
        assert other.supports_language("de")
        await other.aclose()
        assert not caplog.records

    async def test_not_where_the_threshold_is_ones_own(self, caplog: pytest.LogCaptureFixture) -> None:
        stream = TurnDetector(model="eot-open-1", operating_point="patient", unlikely_threshold={"de": 0.4}).stream()
        caplog.clear()
        assert stream.supports_language("de")
        await stream.aclose()
        assert not caplog.records
