"""The calls."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from eot_core import EndpointingOptions, OperatingPoint

from . import speech
from .trace import HANG, Cloud, Said, Trace


def say(*parts: str | float) -> Any:
    """The audio of a trace: see :func:`speech.spoken`."""
    return partial(speech.spoken, *parts)


def _then_zeros(seconds: float) -> Any:
    return lambda: np.concatenate((speech.burst("short"), np.zeros(round(seconds * speech.RATE), np.int16)))


def _at(point: OperatingPoint) -> dict[str, object]:
    return {"operating_point": point}


def _words(pause: int = 0, after: float = 0.15, language: str | None = "en", final: bool = True) -> Said:
    return Said(f"these are the words number {pause}", pause, after, final, language)


_SHORT = say("short")
_TWO = say("short", 2.0, "middle")
_LANGUAGES = {"en": 0.6, "de": 0.3}

_PAUSES = (
    Trace("likely", "synthetic pause", _SHORT, turns=1),
    Trace("unlikely", "synthetic pause", _SHORT, (0.1,), turns=1),
    Trace("just at the threshold", "synthetic pause", _SHORT, (0.5,), turns=1),
    Trace(
        "two pauses in the turn", "synthetic pause", say("short", 0.8, "middle", 0.6, "long"), (0.1, 0.2, 0.9), turns=1
    ),
    Trace("a pause of 0.35 s", "synthetic pause", say("short", 0.35, "middle"), (0.1, 0.9), turns=1),
    Trace("delays of 0.5 and 1.2 s, likely", "synthetic pause", _SHORT, delays=(0.5, 1.2), turns=1),
    Trace("delays of 0.5 and 1.2 s, unlikely", "synthetic pause", _SHORT, (0.2,), delays=(0.5, 1.2), turns=1),
    Trace("a model of 0.25 s", "slow model", _SHORT, latencies=(0.25,), turns=1),
    Trace("a model of 0.8 s, unlikely", "slow model", _SHORT, (0.1,), latencies=(0.8,), turns=1),
)

_RESUMED = (
    Trace("before the prediction", "resumed speech", say("short", 0.4, "middle"), latencies=(0.4, 0.03), turns=1),
    Trace("after the prediction", "resumed speech", say("short", 0.5, "middle"), (0.1, 0.9), turns=1),
    Trace("just before min_delay", "resumed speech", say("short", 0.4, "middle"), delays=(0.6, 2.5), turns=1),
    Trace("just after min_delay", "resumed speech", say("short", 0.6, "middle"), delays=(0.6, 2.5), turns=2),
    Trace("just before max_delay", "resumed speech", say("short", 2.25, "middle"), (0.1, 0.9), turns=1),
    Trace("just after max_delay", "resumed speech", say("short", 2.6, "middle"), (0.1, 0.9), turns=2),
)

_TRANSCRIPTS = (
    Trace("late", "transcripts", _SHORT, said=(_words(after=1.0),), turns=1),
    Trace("late, unlikely", "transcripts", _SHORT, (0.1,), said=(_words(after=1.0),), turns=1),
    Trace("later than max_delay", "transcripts", _SHORT, (0.1,), said=(_words(after=3.0),), turns=1),
    Trace("missing", "transcripts", _SHORT, said=(), tail=7.0, turns=0),
    Trace("missing at first", "transcripts", _TWO, said=(_words(1),), turns=1),
    Trace(
        "the first while the user speaks on",
        "transcripts",
        say("short", 0.6, "middle"),
        (0.1, 0.9),
        said=(_words(0, after=1.4), _words(1)),
        turns=1,
    ),
    Trace(
        "the second before the first",
        "transcripts",
        say("short", 0.6, "middle"),
        (0.1, 0.9),
        said=(_words(1, after=0.1), Said("and the first at last", 1, 0.2)),
        turns=1,
    ),
    Trace(
        "interim, then final",
        "transcripts",
        _SHORT,
        said=(_words(after=-0.6, final=False), _words(after=0.1, final=False), _words(after=0.5)),
        turns=1,
    ),
    Trace("interim alone", "transcripts", _SHORT, said=(_words(after=0.1, final=False),), turns=0),
    Trace(
        "several in one pause",
        "transcripts",
        _SHORT,
        (0.1,),
        said=(_words(after=0.1), Said("and more", 0, 0.7), Said("and more still", 0, 1.9)),
        turns=1,
    ),
    Trace("before the end of speech", "transcripts", _SHORT, said=(_words(after=-0.5),), turns=1),
    Trace("another after the turn", "transcripts", _SHORT, said=(_words(), Said("oh and this", 0, 1.2)), turns=2),
    Trace("an empty one", "transcripts", _SHORT, said=(Said("", 0, 0.1), _words(after=0.8)), turns=1),
)

_SPOKEN_LANGUAGES = (
    Trace(
        "multi alone: English",
        "languages",
        _SHORT,
        (0.5,),
        thresholds=_LANGUAGES,
        said=(_words(language="multi"),),
        turns=1,
    ),
    Trace(
        "multi after German",
        "languages",
        _TWO,
        (0.4,),
        thresholds=_LANGUAGES,
        said=(_words(language="de"), _words(1, language="multi")),
        turns=2,
    ),
    Trace(
        "English, then German",
        "languages",
        say("short", 2.9, "middle"),
        (0.4,),
        thresholds=_LANGUAGES,
        said=(_words(), _words(1, language="de")),
        turns=2,
    ),
    Trace(
        "told after the prediction",
        "languages",
        _SHORT,
        (0.4,),
        thresholds=_LANGUAGES,
        said=(_words(after=0.6, language="de"),),
        turns=1,
    ),
    Trace(
        "told after the prediction, stricter",
        "languages",
        _TWO,
        (0.4,),
        thresholds=_LANGUAGES,
        said=(_words(language="de"), _words(1, after=0.6, language="en")),
        turns=2,
    ),
    Trace(
        "one the model was not made for",
        "languages",
        _SHORT,
        (0.1,),
        thresholds=_LANGUAGES,
        said=(_words(language="sv"),),
        turns=1,
    ),
    Trace("none named", "languages", _SHORT, (0.5,), thresholds=_LANGUAGES, said=(_words(language=None),), turns=1),
    Trace(
        "a threshold for each",
        "languages",
        _TWO,
        (0.4,),
        override={"en": 0.8, "de": 0.2},
        thresholds=_LANGUAGES,
        said=(_words(language="de-AT"), _words(1, language="en-GB")),
        turns=2,
    ),
    Trace("one threshold for all", "languages", _SHORT, (0.9,), override=0.95, turns=1),
    Trace(
        "a short word in another",
        "languages",
        _TWO,
        (0.4,),
        thresholds=_LANGUAGES,
        said=(_words(language="de"), Said("Okay", 1, 0.1, True, "en")),
        turns=2,
    ),
)

_MODELS = (
    Trace("hangs", "hanging model", _SHORT, (0.1,), latencies=(HANG,), turns=1),
    Trace("hangs once", "hanging model", say("short", 1.8, "middle"), (0.9,), latencies=(HANG, 0.03), turns=2),
    Trace(
        "hangs, and the user speaks on", "hanging model", say("short", 0.7, "middle"), latencies=(HANG, 0.03), turns=1
    ),
    Trace("raises", "throwing model", _SHORT, (0.1,), raises=(0,), turns=1),
    Trace("raises once", "throwing model", _TWO, (0.9,), raises=(0,), turns=2),
)

_CLOUD = (
    Trace("answers", "cloud", _SHORT, (0.1,), cloud=Cloud(), turns=1),
    Trace("answers: unlikely", "cloud", _SHORT, (0.9,), cloud=Cloud((0.5,)), turns=1),
    Trace("refuses (401)", "fallback", _SHORT, (0.9,), cloud=Cloud((0.1,), refuses="http_401"), turns=1),
    Trace("breaks between two turns", "fallback", _TWO, (0.1, 0.45), cloud=Cloud((0.9,), fails_at=2.6), turns=2),
    Trace("breaks while the user speaks", "fallback", _TWO, (0.9,), cloud=Cloud((0.1,), fails_at=1.0), turns=2),
    Trace("breaks instead of an answer", "fallback", _TWO, (0.9,), cloud=Cloud((0.1,), fails_in_request=0), turns=2),
    Trace("does not answer", "fallback", _SHORT, (0.1,), cloud=Cloud(latency=HANG), turns=1),
    Trace(
        "breaks, and no local model may take over",
        "fallback",
        _TWO,
        (0.1,),
        cloud=Cloud((0.1,), fails_in_request=0, local_fallback=False),
        turns=2,
    ),
    Trace(
        "breaks, and comes back",
        "fallback",
        say("short", 2.0, "middle", 2.0, "long"),
        (0.6,),
        cloud=Cloud((0.9,), fails_at=2.6, recover_after=0.5),
        turns=3,
    ),
    Trace(
        "an override, rescaled",
        "fallback",
        say("short", 2.9, "middle"),
        (0.6,),
        cloud=Cloud((0.6,), fails_at=4.3),
        override=0.7,
        turns=2,
    ),
)

_MICROPHONE = (
    Trace("muted in the pause: no frames", "muted", _SHORT, (0.1,), muted=((1.9, 5.0),), turns=1),
    Trace("muted in the pause: zeros", "muted", _then_zeros(3.0), (0.1,), turns=1),
    Trace("muted for 0.6 s in speech", "muted", say("long"), muted=((1.0, 1.6),), turns=1),
    Trace("muted at the end of speech", "muted", _SHORT, muted=((1.62, 4.6),), turns=1),
    Trace("muted at the end of speech, unlikely", "muted", _SHORT, (0.1,), muted=((1.62, 4.6),), turns=1),
    Trace(
        "sound again while the agent speaks", "muted", _SHORT, muted=((1.62, 4.6),), agent_speaks=(3.0, 3.0), turns=1
    ),
    Trace("muted for 1.5 s in speech", "muted", say("long"), (0.1, 0.9), muted=((1.0, 2.5),), turns=1),
)

_AGENT = (
    Trace("interrupted", "agent speaks", say(1.0, "middle"), agent_speaks=(0.2, 8.0), turns=1),
    Trace("interrupted, unlikely", "agent speaks", say(1.0, "middle"), (0.1,), agent_speaks=(0.2, 8.0), turns=1),
    Trace(
        "interrupted, with a pause",
        "agent speaks",
        say(1.0, "short", 0.7, "middle"),
        (0.1, 0.9),
        agent_speaks=(0.2, 8.0),
        turns=1,
    ),
)

_REALTIME = (
    Trace("likely", "realtime, no STT", _SHORT, stt=False, turns=1),
    Trace("unlikely", "realtime, no STT", _SHORT, (0.1,), stt=False, turns=1),
    Trace("resumed", "realtime, no STT", say("short", 0.7, "middle"), (0.1, 0.9), stt=False, turns=1),
    Trace("the model hangs", "realtime, no STT", _SHORT, stt=False, latencies=(HANG,), turns=1),
)

_SHAPES = (
    Trace("one word", "very short", say("word"), turns=1),
    Trace("word by word", "very short", say("word", 0.5, "word", 0.5, "word"), (0.1, 0.1, 0.9), turns=1),
    Trace("8 kHz", "sample rate", _SHORT, rate=8_000, turns=1),
    Trace("24 kHz", "sample rate", _SHORT, rate=24_000, turns=1),
    Trace("48 kHz", "sample rate", _SHORT, rate=48_000, turns=1),
    Trace("44.1 kHz, unlikely", "sample rate", _SHORT, (0.1,), rate=44_100, turns=1),
    Trace("frames of 10 ms", "frames", _SHORT, frame=0.01, turns=1),
    Trace("frames of 50 ms", "frames", say("short", 2.0, "middle", 2.0, "long"), frame=0.05, turns=3),
    Trace("three turns", "several turns", say("short", 1.5, "middle", 3.0, "long"), (0.9, 0.1, 0.6), turns=3),
)

_RECORDED = (
    Trace("the bundled recording", "recorded", partial(speech.recording, None), None),
    *(
        Trace(name, "recorded", partial(speech.recording, name), None, needs=name)
        for name in (
            "alphanumeric/numbers-R_15Rh8IA5GvyzCIF.flac",
            "alphanumeric/addresses-R_1bhWwiBjHlA1GcF.flac",
            "alphanumeric/names-R_1VaNGgPhYxnUTbC.flac",
            "fleurs/packages_cuttledoc_fixtures_fleurs-en-003.flac",
            "fleurs/packages_cuttledoc_fixtures_fleurs-fr-002.flac",
            "home-commands/en_set a timer for 3 hours and 10 minutes.flac",
        )
    ),
)

_REAL_TIME = (
    Trace("likely", "real time", _SHORT, real_time=True, tail=1.0, turns=1),
    Trace("unlikely, resumed", "real time", say("short", 0.7, "middle"), (0.1, 0.9), real_time=True, tail=1.0, turns=1),
    Trace("the model hangs", "real time", _SHORT, latencies=(HANG,), real_time=True, tail=2.0, turns=1),
)

_FALLING = EndpointingOptions(0.4, 2.2, exponent=2.0)
_FALLING_RESCORED = EndpointingOptions(0.4, 2.2, exponent=1.0, rescore_every=0.4)
_POINT = OperatingPoint(max_cutoff_rate=0.05)

_DECIDED_HERE = (
    *(
        Trace(f"the step, p = {p}", "own delays", _SHORT, (p,), decides={"endpointing": EndpointingOptions(0.7, 1.4)})
        for p in (0.1, 0.5, 0.9)
    ),
    *(
        Trace(f"falling with p = {p}", "own delays", _SHORT, (p,), decides={"endpointing": _FALLING}, turns=1)
        for p in (0.05, 0.4, 0.8)
    ),
    *(
        Trace(f"falling, scored again, p = {p}", "own delays", _SHORT, (p,), decides={"endpointing": _FALLING_RESCORED})
        for p in (0.2, 0.6)
    ),
    Trace(
        "falling, the user speaks on",
        "own delays",
        say("short", 0.8, "middle"),
        (0.3, 0.9),
        decides={"endpointing": _FALLING},
        turns=1,
    ),
    Trace("the published table", "operating point", _SHORT, (0.8,), cloud=Cloud((0.8,)), decides=_at(_POINT), turns=1),
    Trace("unlikely", "operating point", _SHORT, (0.8,), cloud=Cloud((0.5,)), decides=_at(_POINT), turns=1),
    Trace(
        "in German",
        "operating point",
        _TWO,
        (0.8,),
        said=(_words(language="de"), _words(1, language="de")),
        cloud=Cloud((0.5,)),
        decides=_at(_POINT),
        turns=2,
    ),
    Trace(
        "after a fallback, the other model's",
        "operating point",
        say("short", 3.4, "middle"),
        (0.05,),
        cloud=Cloud((0.6,), fails_at=4.8),
        local="smart-turn-v3.2",
        decides=_at(_POINT),
        tail=5.0,
        turns=2,
    ),
    Trace(
        "after a fallback to a model that was not measured",
        "operating point",
        say("short", 3.4, "middle"),
        (0.1,),
        cloud=Cloud((0.6,), fails_at=4.8),
        decides=_at(_POINT),
        turns=2,
    ),
    Trace("realtime, no STT", "operating point", _SHORT, stt=False, cloud=Cloud((0.8,)), decides=_at(_POINT), turns=1),
)

TRACES: tuple[Trace, ...] = (
    *_PAUSES,
    *_RESUMED,
    *_TRANSCRIPTS,
    *_SPOKEN_LANGUAGES,
    *_MODELS,
    *_CLOUD,
    *_MICROPHONE,
    *_AGENT,
    *_REALTIME,
    *_SHAPES,
    *_DECIDED_HERE,
    *_RECORDED,
    *_REAL_TIME,
)
"""Every one of them, in the order of the table."""
