"""From whatever a speech-to-text says about language to the key that thresholds are looked up by.

A key is the ISO 639-1 code where there is one ("en", "pt", "zh"), else the primary subtag in lower case.
"""

from __future__ import annotations

import logging

DEFAULT_LANGUAGE = "en"
"""Used where no language is known, as livekit-agents does (``inference/eot/languages.py``)."""

_UNKNOWN = frozenset(("", "multi", "multilingual", "auto", "detect", "und", "unknown", "none", "mul", "mis", "zxx"))
"""What speech-to-text services say when they do not name one language (BCP-47's own: und, mul, mis, zxx)."""

# ISO 639-2/3 codes and English names of the languages that the models here are made for, and their neighbours.
_TO_ISO_639_1 = {
    "ara": "ar", "arb": "ar", "arabic": "ar",
    "ben": "bn", "bengali": "bn",
    "bul": "bg", "bulgarian": "bg",
    "cat": "ca", "catalan": "ca",
    "ces": "cs", "cze": "cs", "czech": "cs",
    "cmn": "zh", "zho": "zh", "chi": "zh", "chinese": "zh", "mandarin": "zh",
    "dan": "da", "danish": "da",
    "deu": "de", "ger": "de", "german": "de",
    "ell": "el", "gre": "el", "greek": "el",
    "eng": "en", "english": "en",
    "est": "et", "estonian": "et",
    "fin": "fi", "finnish": "fi",
    "fra": "fr", "fre": "fr", "french": "fr",
    "heb": "he", "iw": "he", "hebrew": "he",
    "hin": "hi", "hindi": "hi",
    "hrv": "hr", "croatian": "hr",
    "hun": "hu", "hungarian": "hu",
    "ind": "id", "in": "id", "indonesian": "id",
    "ita": "it", "italian": "it",
    "jpn": "ja", "japanese": "ja",
    "kor": "ko", "korean": "ko",
    "lav": "lv", "latvian": "lv",
    "lit": "lt", "lithuanian": "lt",
    "mar": "mr", "marathi": "mr",
    "msa": "ms", "may": "ms", "malay": "ms",
    "nld": "nl", "dut": "nl", "dutch": "nl",
    "nob": "no", "nno": "no", "nor": "no", "nb": "no", "nn": "no", "norwegian": "no",
    "pol": "pl", "polish": "pl",
    "por": "pt", "portuguese": "pt",
    "ron": "ro", "rum": "ro", "romanian": "ro",
    "rus": "ru", "russian": "ru",
    "slk": "sk", "slo": "sk", "slovak": "sk",
    "slv": "sl", "slovenian": "sl",
    "spa": "es", "spanish": "es", "castilian": "es",
    "swe": "sv", "swedish": "sv",
    "tam": "ta", "tamil": "ta",
    "tel": "te", "telugu": "te",
    "tgl": "tl", "fil": "tl", "tagalog": "tl", "filipino": "tl",
    "tha": "th", "thai": "th",
    "tur": "tr", "turkish": "tr",
    "ukr": "uk", "ukrainian": "uk",
    "urd": "ur", "urdu": "ur",
    "vie": "vi", "vietnamese": "vi",
}  # fmt: skip


_KEYS = frozenset(_TO_ISO_639_1.values())


def language_key(tag: str | None) -> str | None:
    """The look-up key of a language tag.

    Args:
        tag: a BCP-47 tag in any case and with "-" or "_" ("pt-BR", "zh_Hans_CN"), an ISO 639-2/3 code ("eng"), an
            English name ("english"), a subclass of ``str`` such as livekit-agents' ``LanguageCode``, or None.

    Returns:
        The key, or None where the tag names no single language ("multi", "auto", "und", "", None).
    """
    if not isinstance(tag, str):
        return None
    primary = tag.strip().lower().replace("_", "-").split("-", 1)[0]
    if primary in _UNKNOWN or not primary.isalpha():
        return None
    return _TO_ISO_639_1.get(primary, primary)


def is_known_language(key: str) -> bool:
    """Whether ``key`` (:func:`language_key`) is that of a language in the table here, and not just any word."""
    return key in _KEYS


class LanguageTracker:
    """Remembers the last language that was named, for the moments in which none is.

    "multi" and other tags that name no language resolve to the last known one, then to :data:`DEFAULT_LANGUAGE`.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._last: str | None = None
        self._logged = False
        self._logger = logger or logging.getLogger("eot_core")

    @property
    def last(self) -> str | None:
        """Key of the last language that was named, or None."""
        return self._last

    def resolve(self, tag: str | None) -> str:
        """The key to look up: that of ``tag``, else the last known, else the default. Remembers what it sees."""
        key = language_key(tag)
        if key is not None:
            self._last = key
            return key
        resolved = self._last or DEFAULT_LANGUAGE
        if tag and not self._logged:
            self._logged = True
            self._logger.info(
                "language %r names no single language; using %r (%s)",
                str(tag),
                resolved,
                "the last known" if self._last else "the default",
            )
        return resolved
