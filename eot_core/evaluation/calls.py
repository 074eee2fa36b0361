"""Turns of two-channel calls, from who speaks when: nobody has to label anything.

A row has ``id``, ``language``, ``audio``, ``channels`` (the speakers' names, in the order of the channels) and
``speech``: for each name a list of [start, end] in seconds. The first channel is the caller's.

A pause of the caller is a hold where the caller speaks next, and an end where the other side does. Where both speak at
once nothing can be told: the pause after that speech is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .items import Item, ItemError, Span, parse_item

MIN_GAP = 0.1
"""Seconds; a shorter gap in the caller's speech is no silence (eot-bench's datasets list those of 0.1 s and more)."""
LEAD = 1.0
"""Seconds before a turn that belong to it; models that look back take what they need of it."""


def is_call(row: Mapping[str, Any]) -> bool:
    """Whether a row is of this form."""
    return "speech" in row and "channels" in row and row.get("silence_spans") is None


def call_items(row: Mapping[str, Any], folder: Path, default_split: str | None = None) -> list[Item]:
    """The caller's turns as items; their cluster is the call.

    Raises:
        ItemError: a field is missing or makes no sense.
    """
    speech, channels = row["speech"], row["channels"]
    if not isinstance(channels, list | tuple) or len(channels) < 2 or not all(isinstance(c, str) for c in channels):
        raise ItemError(f"channels must name the two speakers, caller first, got {channels!r}")
    missing = [c for c in channels[:2] if not isinstance(speech, Mapping) or c not in speech]
    if missing:
        raise ItemError(f"speech has nothing for {', '.join(map(str, missing))}")
    caller, other = (_segments(speech[c], str(c)) for c in channels[:2])
    items: list[Item] = []
    for number, (begin, spans) in enumerate(caller_turns(caller, other)):
        rows = {
            **row,
            "id": f"{row.get('id')}-{number:03d}",
            "call": row.get("call") or row.get("id"),
            "silence_spans": [{"start": s.start, "end": s.end} for s in spans],
            "turn_start": begin,
            "channel": 0,
        }
        items.append(parse_item(rows, folder, default_split))
    return items


def caller_turns(
    caller: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]
) -> list[tuple[float, tuple[Span, ...]]]:
    """Beginning and silences of every turn of the caller that ends because the other side speaks.

    Args:
        caller: the caller's speech, in order, seconds.
        other: the same for the other side.
    """
    return [turn for turn, clean in _answered(caller, other) if clean and turn[1][-1].duration >= MIN_GAP]


def spoken_over(caller: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> tuple[int, int]:
    """How many turns are no turns because both speak at once, and how many there are with them."""
    clean = [clean for _, clean in _answered(caller, other)]
    return clean.count(False), len(clean)


def _answered(
    caller: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]
) -> Iterator[tuple[tuple[float, tuple[Span, ...]], bool]]:
    """Each turn that the other side answers, and whether nobody speaks over it."""
    spans: list[Span] = []
    begin: float | None = None
    clean = True
    for number, (start, end) in enumerate(caller):
        if begin is None:
            said_before = max((o[1] for o in other if o[0] < start), default=0.0)
            begin = max(min(said_before, start), start - LEAD)
        following = caller[number + 1][0] if number + 1 < len(caller) else None
        answer = next((o for o in other if o[1] > end), None)
        if any(o[0] < end and o[1] > start for o in other):
            clean = False  # both at once: neither this pause nor the turn it may end can be told
        if answer is not None and (following is None or answer[0] < following):
            yield (begin, (*spans, Span(end, answer[0]))), clean
            spans, begin, clean = [], None, True
        elif following is not None and following - end >= MIN_GAP and clean:
            spans.append(Span(end, following))


def _segments(value: Any, name: str) -> list[tuple[float, float]]:
    segments: list[tuple[float, float]] = []
    try:
        for start, end in value:
            segments.append((float(start), float(end)))
    except (TypeError, ValueError, OverflowError) as error:
        raise ItemError(f"speech of {name} is no list of [start, end]: {error}") from error
    for number, (start, end) in enumerate(segments):
        if not 0 <= start < end or (number and start < segments[number - 1][1]):
            raise ItemError(f"speech of {name}: [{start}, {end}] is empty, or out of order")
    return segments
