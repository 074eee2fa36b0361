from __future__ import annotations

import logging

import pytest

from eot_core.languages import LanguageTracker, language_key


class Tag(str):
    """As livekit-agents' LanguageCode: a string of its own type."""


@pytest.mark.parametrize(
    ("tag", "key"),
    [
        ("en", "en"),
        ("EN-us", "en"),
        ("pt-BR", "pt"),
        ("pt_PT", "pt"),
        ("zh-Hans", "zh"),
        ("zh-Hant-TW", "zh"),
        ("cmn-Hans-CN", "zh"),
        ("eng", "en"),
        ("English", "en"),
        ("deu", "de"),
        ("nb-NO", "no"),
        ("iw", "he"),
        (" fr ", "fr"),
        ("sv-SE", "sv"),
        ("tlh", "tlh"),
        (Tag("es-419"), "es"),
    ],
)
def test_key(tag: str, key: str) -> None:
    assert language_key(tag) == key


@pytest.mark.parametrize("tag", [None, "", "multi", "MULTI", "auto", "und", "und-Latn", "mul", "unknown", "12", "?", 7])
def test_no_single_language(tag: object) -> None:
    assert language_key(tag) is None  # type: ignore[arg-type]


def test_tracker_falls_back_to_the_last_known_then_to_english(caplog: pytest.LogCaptureFixture) -> None:
    tracker = LanguageTracker()
    with caplog.at_level(logging.INFO, "eot_core"):
        assert tracker.resolve("multi") == "en"
        assert tracker.resolve("multi") == "en"
    assert len(caplog.records) == 1
    assert "names no single language" in caplog.text
    assert tracker.last is None
    assert tracker.resolve("de-AT") == "de"
    assert tracker.resolve(None) == "de"
    assert tracker.resolve("multi") == "de"
    assert tracker.last == "de"


def test_tracker_is_silent_about_none(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "eot_core"):
        assert LanguageTracker().resolve(None) == "en"
    assert not caplog.records
