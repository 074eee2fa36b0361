"""The caller's turns in recordings of two-channel calls that nobody has labelled: who speaks when says which is which.

A pause of the caller is a hold where the caller speaks next, and an end where the other side does; where both speak at
once nothing is counted (:func:`eot_core.evaluation.calls.caller_turns`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..cli.audio_file import AudioFileError
from ..vad import SileroVAD
from .calls import call_items, spoken_over
from .dataset import DatasetError
from .items import Item, Problem
from .language_folders import Named, language_summary, with_languages
from .pauses import SCORE_AT
from .recording import AudioRef
from .tuning_crosstalk import FAINTER, LAG, overheard, powers
from .tuning_speech import SegmentCache, Segments, speech_segments

SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".wave", ".aiff", ".aif", ".au"))
NOT_DECODED = frozenset((".m4a", ".mp4", ".aac", ".webm", ".mkv", ".mka", ".mov", ".3gp", ".amr", ".wma", ".caf"))
"""Recordings too, which libsndfile does not decode."""
MUCH_OVERLAP = 0.5
"""Share of the caller's speech in which the other side speaks too, from which something is wrong with the channels."""
MUCH_SPOKEN_OVER = 1 / 3
"""Share of turns over which both speak, from which it is said: people who talk do so in fewer."""


@dataclass(slots=True)
class Calls:
    """What was found in a folder of calls."""

    items: list[Item] = field(default_factory=list)
    calls: int = 0
    """Recordings with turns in them."""
    seconds: float = 0.0
    at_once: frozenset[str] = frozenset()
    """Turns whose end is left out, because the other side began before the model would have been asked."""
    turns: int = 0
    """That the other side answers, with those of ``spoken_over``."""
    spoken_over: int = 0
    """Turns that are left out, because both speak at once."""
    overheard: int = 0
    """Stretches of speech that count for nothing, because one channel merely hears the other there."""


class _OneFile(AudioRef):
    """The audio of many turns of one call: its checksum is computed once."""

    _sum: str

    def checksum(self) -> str:
        """See :class:`AudioRef`."""
        if not hasattr(self, "_sum"):
            object.__setattr__(self, "_sum", super().checksum())  # frozen: this is a memory, not a field
        return self._sum


def find_recordings(path: Path) -> list[Path]:
    """Recordings at ``path``, or anywhere below it, by name; hidden ones are passed over."""
    if path.is_file():
        return [path] if path.suffix.lower() in SUFFIXES else []
    return _below(path, SUFFIXES)


def _below(path: Path, suffixes: frozenset[str]) -> list[Path]:
    found = (p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(path).parts))


def _others(path: Path) -> str:
    """What is said of recordings that cannot be decoded; "" where there are none."""
    others = [path] if path.is_file() and path.suffix.lower() in NOT_DECODED else _below(path, NOT_DECODED)
    if not others:
        return ""
    kinds = ", ".join(sorted({p.suffix.lower() for p in others}))
    first = others[0]
    return f"{len(others)} recordings ({kinds}) cannot be decoded: ffmpeg -i {first.name} {first.stem}.flac"


def read_calls(
    path: str | Path,
    *,
    language: str | None = None,
    caller: int = 0,
    agent: int | None = None,
    cache: Path | None = None,
    on_problem: Callable[[Problem], None],
    on_progress: Callable[[int, int], None] = lambda done, of: None,
    on_note: Callable[[str], None] = lambda note: None,
    not_kept: Callable[[OSError], None] = lambda error: None,
) -> Calls:
    """Listen to every recording; what was heard is in ``cache`` at once.

    Args:
        path: a recording, or a folder of them. Directly below it, folders named for languages ("de", "pt-BR") say what
            is spoken in theirs (:mod:`.language_folders`). Copies of one recording count once.
        language: key of the language of recordings that are in no such folder; those of other languages are left out.
        caller: the caller's channel, from 0.
        agent: the other side's; None takes 1, or 0 where the caller has 1.
        cache: folder for what was heard; None keeps nothing.
        on_problem: told of every recording that cannot be used, and why.
        on_progress: told how many seconds are listened to, of how many (of both channels, each on its own).
        on_note: told which folder was taken for which language, before anything is listened to.
        not_kept: told why something is not in ``cache``.

    Raises:
        DatasetError: there is no recording, or the language of none of them is known.
        ModelError: the VAD cannot be loaded.
    """
    path = Path(path).expanduser()
    agent = (0 if caller == 1 else 1) if agent is None else agent
    if agent == caller:
        raise DatasetError(f"caller and agent cannot both be on channel {caller}")
    vad = SileroVAD()
    vad.warm_up()
    listener = _Listener(vad, SegmentCache(cache, not_kept), caller, agent, on_problem, on_progress)
    named = with_languages(path, find_recordings(path), language)
    others = _others(path)
    if not named:
        raise DatasetError(f"{path}: " + (others or f"holds no recording ({', '.join(sorted(SUFFIXES))})"))
    if others:
        on_problem(Problem(str(path), others))
    summary = language_summary(named)
    if summary is not None:
        on_note(summary)
    if all(one.language is None for one in named):
        raise DatasetError(
            f"{path}: what language is spoken? Give --language TAG, or put the recordings into folders named for it "
            "(en, pt-BR)"
        )
    usable = [one for one in named if one.language is not None and one.language == (language or one.language)]
    if len(usable) < len(named):
        on_problem(Problem(str(path), f"{len(named) - len(usable)} recordings are in another, or in no known language"))
    listener.listen(usable)
    calls = listener.calls
    if calls.overheard:
        on_note(
            f"{calls.overheard} stretches of speech count for nothing: they are {FAINTER:g} dB and more below the "
            "other channel, and below what else is said on their own: an echo"
        )
    if calls.spoken_over > MUCH_SPOKEN_OVER * calls.turns:
        on_problem(
            Problem(
                str(path),
                f"{calls.spoken_over} of {calls.turns} turns are left out because both speak at once: does the "
                f"caller's channel ({caller}) hear the agent (no headset, no echo cancellation)?",
            )
        )
    return calls


class _Listener:
    def __init__(
        self,
        vad: SileroVAD,
        cache: SegmentCache,
        caller: int,
        agent: int,
        on_problem: Callable[[Problem], None],
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._vad = vad
        self._cache = cache
        self._channels = (caller, agent)
        self._on_problem = on_problem
        self._on_progress = on_progress
        self._heard = 0.0
        self._total = 0.0
        self._names: dict[str, str] = {}
        """Of the recordings that were listened to, by their checksum."""
        self.calls = Calls()

    def listen(self, recordings: list[Named]) -> None:
        ready = [one for one in recordings if self._measure(one.name, one.file)]
        for one in ready:
            try:
                self._call(one.name, one.file, str(one.language))
            except AudioFileError as error:
                self._on_problem(Problem(one.name, str(error)))
        if ready and round(self._heard) < round(self._total):  # what could not be decoded will not come
            self._on_progress(round(self._total), round(self._total))

    def _measure(self, name: str, file: Path) -> bool:
        """Whether the recording can be opened, and has both channels."""
        try:
            recording = AudioRef(path=file).open(self._channels[0])
        except AudioFileError as error:
            self._on_problem(Problem(name, str(error)))
            return False
        recording.close()
        if recording.channels < 2:
            self._on_problem(
                Problem(
                    name,
                    "has one channel: who speaks when cannot be told. Record caller and agent on a channel each, or "
                    "label its silences (JSONL, see docs/tuning.md)",
                )
            )
            return False
        if max(self._channels) >= recording.channels:
            self._on_problem(
                Problem(name, f"has {recording.channels} channels; {max(self._channels)} does not exist (from 0)")
            )
            return False
        self._total += 2 * recording.duration
        return True

    def _call(self, name: str, file: Path, key: str) -> None:
        audio = _OneFile(path=file)
        checksum = audio.checksum()
        if (same := self._names.setdefault(checksum, name)) != name:
            self._on_problem(Problem(name, f"is a copy of {same}, to the last byte: it counts once"))
            return
        caller, agent = (self._segments(audio, checksum, channel) for channel in self._channels)
        for channel, segments in zip(self._channels, (caller, agent), strict=True):
            if not segments:
                self._on_problem(Problem(name, f"no speech is heard on channel {channel}: silent, or not speech"))
        if not caller or not agent:
            return
        caller, agent = self._without_echoes(audio, caller, agent)
        over, turns = spoken_over(caller, agent)
        self.calls.spoken_over += over
        self.calls.turns += turns
        overlap = overlap_share(caller, agent)
        if overlap > MUCH_OVERLAP:
            self._on_problem(
                Problem(
                    name,
                    f"in {overlap:.0%} of the speech on channel {self._channels[0]} the other channel speaks too: is "
                    "one side heard on both, or both on one? Where both speak nothing is counted",
                    left_out=False,
                )
            )
        row = {
            "id": name,
            "language": key,
            "audio": str(file),
            "channels": ["caller", "agent"],
            "speech": {"caller": caller, "agent": agent},
        }
        items = [replace(item, audio=audio, channel=self._channels[0]) for item in call_items(row, file.parent)]
        if not items:
            self._on_problem(Problem(name, "no turn of the caller that the other side answers is in it"))
            return
        self.calls.calls += 1
        self.calls.seconds += max(caller[-1][1], agent[-1][1])
        self.calls.items += items
        self.calls.at_once |= {item.id for item in items if item.spans[-1].duration < SCORE_AT}

    def _without_echoes(self, audio: AudioRef, caller: Segments, agent: Segments) -> tuple[Segments, Segments]:
        if not overlap_share(caller, [(start, end + LAG) for start, end in agent]):
            return caller, agent
        heard = []
        for channel in self._channels:
            recording = audio.open(channel)
            try:
                heard.append(powers(recording))
            finally:
                recording.close()
        echoes = overheard(caller, *heard), overheard(agent, *reversed(heard))
        self.calls.overheard += sum(int(echo.sum()) for echo in echoes)
        one, other = (
            [segment for segment, echo in zip(segments, mask, strict=True) if not echo]
            for segments, mask in zip((caller, agent), echoes, strict=True)
        )
        return one, other

    def _segments(self, audio: AudioRef, checksum: str, channel: int) -> Segments:
        recording = audio.open(channel)
        try:
            known = self._cache.get(checksum, channel)
            if known is not None:
                self._on_heard(recording.duration)
                return known
            segments = speech_segments(recording, self._vad, self._on_heard)
        finally:
            recording.close()
        self._cache.put(checksum, channel, segments)
        return segments

    def _on_heard(self, seconds: float) -> None:
        self._heard += seconds
        self._on_progress(round(min(self._heard, self._total)), round(self._total))


def overlap_share(one: Segments, other: Segments) -> float:
    """Share of ``one``'s speech in which ``other`` speaks too, 0..1."""
    total = sum(end - start for start, end in one)
    both = 0.0
    first = 0
    for start, end in one:
        while first < len(other) and other[first][1] <= start:
            first += 1
        for begin, until in other[first:]:
            if begin >= end:
                break
            both += min(end, until) - max(start, begin)
    return both / total if total else 0.0
