"""What a folder is named for: a language, or something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from eot_core.evaluation.language_folders import folder_language, language_summary, parse_language, with_languages


@pytest.mark.parametrize(
    ("name", "key"),
    [("de", "de"), ("pt-BR", "pt"), ("zh_Hans", "zh"), ("German", "de"), ("english", "en"), ("uk", "uk")],
)
def test_languages(name: str, key: str) -> None:
    assert folder_language(name) == key


@pytest.mark.parametrize(
    "name",
    ["us", "UK", "DE", "EU", "eu", "site", "in", "iw", "may", "mar", "billing", "2024", "en.old", "auto", "", "xx-1"],
)
def test_other_names(name: str) -> None:
    assert folder_language(name) is None


def languages(*names: str, default: str | None) -> list[str | None]:
    path = Path(__file__).parent
    return [one.language for one in with_languages(path, [path / name / "c.wav" for name in names], default)]


def test_what_is_given_wins_where_a_folder_may_be_a_place() -> None:
    assert languages("uk", "us", default="en") == ["en", "en"]
    assert languages("uk", "us", default=None) == ["uk", None]
    assert languages("uk", "en", default="en") == ["uk", "en"]
    assert languages("de", "us", default="en") == ["de", "en"]


def test_which_folder_is_taken_for_which() -> None:
    path = Path(__file__).parent
    files = [path / name for name in ("de/a.wav", "de/x/b.wav", "us/a.wav", "c.wav")]
    text = "languages by folder: (no folder) unknown (1), de/ de (2), us/ unknown (1)"
    assert language_summary(with_languages(path, files, None)) == text
    assert language_summary(with_languages(path, files[3:], None)) is None


def test_what_is_given() -> None:
    assert [parse_language(tag) for tag in (None, "en-GB", "german", "sw", "yue")] == [None, "en", "de", "sw", "yue"]
    for tag in ("klingon", "multi", "", "x"):
        with pytest.raises(ValueError, match="names no language: use a BCP-47 tag"):
            parse_language(tag)
