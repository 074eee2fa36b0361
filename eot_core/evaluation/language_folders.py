"""Which language is spoken in a recording, by the folder that it is in: of those that name a language, and no others.

A folder of calls may be called for a customer, a month or a country as well. It names a language where it is

- a two-letter code in lower case that :mod:`eot_core.languages` knows ("de"), also with a region ("pt-BR", "zh_Hans");
- a language's English name in any case ("German").

"us", "UK" and "DE" are places. "ar", "ca" and "uk" may be either: with ``--language`` they are places, unless another
folder is named for that very language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..languages import is_known_language, language_key

_CODE = re.compile(r"(?P<code>[a-z]{2})([-_][A-Za-z0-9]{2,4})*")
_PLACES = frozenset(("ar", "ca", "uk"))
"""Argentina, Canada and the United Kingdom, where other languages are spoken than Arabic, Catalan and Ukrainian."""


def parse_language(tag: str | None) -> str | None:
    """The key of what was given for ``--language``; None for None.

    Raises:
        ValueError: it names no language.
    """
    if tag is None:
        return None
    key = language_key(tag)
    if key is None or not 2 <= len(key) <= 3:  # names that are not known come back as they are
        raise ValueError(f"--language {tag!r} names no language: use a BCP-47 tag such as 'en' or 'pt-BR'")
    return key


def folder_language(name: str) -> str | None:
    """Key of the language that a folder is named for; None where it is named for something else."""
    key = language_key(name)
    if key is None or not is_known_language(key):
        return None
    code = _CODE.fullmatch(name)
    if code is not None:
        return key if code["code"] == key else None  # not "in" and "iw", which are codes no more
    return key if len(name) > 3 and name.isalpha() else None  # of three letters: "may", "mar", "fin", "tel"


@dataclass(frozen=True, slots=True)
class Named:
    """A recording, and what is spoken in it."""

    name: str
    """Its path below what was given."""
    file: Path
    language: str | None
    """Key; None: nobody says."""


def with_languages(path: Path, files: Iterable[Path], default: str | None) -> list[Named]:
    """Say it of each recording.

    Args:
        path: the recording, or the folder that holds them.
        files: the recordings.
        default: key of the language of those whose folder names none.
    """
    below = [(file.relative_to(path) if path.is_dir() else Path(file.name), file) for file in files]
    tops = {name.parts[0] for name, _ in below if len(name.parts) > 1}
    languages = {top: folder_language(top) for top in tops}
    if default is not None and default not in languages.values():
        languages = {top: None if top in _PLACES else key for top, key in languages.items()}
    found = []
    for name, file in below:
        key = languages[name.parts[0]] if len(name.parts) > 1 else None
        found.append(Named(name.as_posix(), file, key or default))
    return found


def language_summary(recordings: Iterable[Named]) -> str | None:
    """Which folder is taken for which language, in one line; None where there is no folder."""
    counted = Counter((n.name.split("/")[0] + "/" if "/" in n.name else "(no folder)", n.language) for n in recordings)
    if all(top == "(no folder)" for top, _ in counted):
        return None
    return "languages by folder: " + ", ".join(
        f"{top} {key or 'unknown'} ({count})" for (top, key), count in sorted(counted.items(), key=lambda c: c[0][0])
    )
