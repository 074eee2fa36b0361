"""Turns from two-channel recordings, and what is said of recordings that give none."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_set import Problems
from two_channel import demo_calls, recorded_calls, voices

from eot_core.evaluation import tuning_calls
from eot_core.evaluation.dataset import DatasetError
from eot_core.evaluation.recording import AudioRef
from eot_core.evaluation.tuning_calls import Calls, find_recordings, overlap_share, read_calls
from eot_core.evaluation.tuning_speech import SegmentCache, speech_segments
from eot_core.vad import SileroVAD


def write(path: Path, *channels: Any, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    longest = max(len(c) for c in channels)
    sound = np.stack([np.pad(c, (0, longest - len(c))) for c in channels], axis=1).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((len(channels), 2, rate, 0, "NONE", ""))
        file.writeframes(sound.tobytes())
    return path


def read(path: Path, problems: Problems | None = None, **more: Any) -> Calls:
    return read_calls(path, on_problem=Problems() if problems is None else problems, **{"language": "en", **more})


def holds(calls: Calls) -> int:
    return sum(0.25 <= span.duration <= 4.9 for item in calls.items for span in item.spans[:-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calls")
    demo_calls(path, 2, 4)
    return path


class TestTurns:
    @pytest.mark.parametrize("rate", [8_000, 16_000])
    def test_what_was_put_in_is_found(self, tmp_path: Path, rate: int) -> None:
        truth = demo_calls(tmp_path, 2, 12, rate=rate)  # 140 s each: read in pieces
        problems = Problems()
        calls = read(tmp_path, problems)
        assert not problems
        assert (calls.calls, len(calls.items), holds(calls)) == (2, truth.ends, truth.holds)
        assert calls.seconds == pytest.approx(truth.seconds, rel=0.05)
        assert {item.cluster for item in calls.items} == {"call-00.wav", "call-01.wav"}
        assert all(0.4 <= item.spans[-1].duration <= 1.3 for item in calls.items)
        assert all((item.channel, item.language) == (0, "en") for item in calls.items)

    def test_recorded_speech(self, tmp_path: Path) -> None:
        truth = recorded_calls(tmp_path, 2, 8)
        calls = read(tmp_path)
        assert len(calls.items) == pytest.approx(truth.ends, abs=1)
        assert holds(calls) == pytest.approx(truth.holds, rel=0.15)

    def test_channels_the_other_way_round(self, folder: Path, tmp_path: Path) -> None:
        with wave.open(str(folder / "call-00.wav")) as file:
            both = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, 2)
        write(tmp_path / "swapped.wav", both[:, 1], both[:, 0])
        mine, other = read(folder / "call-00.wav"), read(tmp_path, caller=1)
        assert [i.spans for i in other.items] == [i.spans for i in mine.items]
        assert {i.channel for i in other.items} == {1}

    def test_more_than_48_khz(self, folder: Path, tmp_path: Path) -> None:
        recording = AudioRef(path=folder / "call-00.wav").open(0)
        before = speech_segments(recording, SileroVAD())
        pcm = recording.read(0, 20)
        path = write(tmp_path / "high.wav", np.repeat(pcm, 6), rate=96_000)
        after = speech_segments(AudioRef(path=path).open(), SileroVAD())
        assert len(after) >= sum(end < 20 for _, end in before) - 1

    def test_speech_to_the_very_end(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.wav", voices(1.0)[2][: 16_000 * 2])
        segments = speech_segments(AudioRef(path=path).open(), SileroVAD())
        assert segments[-1][1] == 2.0

    def test_an_answer_that_comes_at_once(self, tmp_path: Path) -> None:
        hello, table, friday = voices(1.0)
        alone = speech_segments(AudioRef(path=write(tmp_path / "f.wav", friday)).open(), SileroVAD())
        friday = friday[: round(alone[-1][1] * 16_000)]
        quiet = np.zeros(16_000, dtype=np.int16)
        caller = np.concatenate((quiet, friday, np.zeros(len(table), dtype=np.int16)))
        agent = np.concatenate((hello[:16_000], np.zeros(len(friday), dtype=np.int16), table))
        calls = read(write(tmp_path / "quick.wav", caller, agent))  # the other side begins 0.1 s after the caller
        assert len(calls.items) == len(calls.at_once) == 1


class TestLanguages:
    def test_by_folder(self, folder: Path, tmp_path: Path) -> None:
        for number, name in enumerate(("de", "pt-BR", "billing")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "c.wav").symlink_to(folder / f"call-0{number % 2}.wav")
        (tmp_path / ".hidden").mkdir()
        (tmp_path / ".hidden" / "c.wav").symlink_to(folder / "call-00.wav")
        problems = Problems()
        calls = read(tmp_path, problems, language=None)
        assert {(i.cluster, i.language) for i in calls.items} == {("de/c.wav", "de"), ("pt-BR/c.wav", "pt")}
        assert problems[0].message == "1 recordings are in another, or in no known language"
        assert {i.language for i in read(tmp_path, language="pt").items} == {"pt"}

    def test_places_are_no_languages(self, folder: Path, tmp_path: Path) -> None:
        for number, name in enumerate(("us", "UK")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "c.wav").symlink_to(folder / f"call-0{number}.wav")
        problems, notes = Problems(), []
        calls = read(tmp_path, problems, on_note=notes.append)
        assert not problems
        assert {i.language for i in calls.items} == {"en"}
        assert notes == ["languages by folder: UK/ en (1), us/ en (1)"]

    def test_nobody_knows(self, folder: Path) -> None:
        with pytest.raises(DatasetError, match="what language is spoken"):
            read(folder, language=None)

    def test_no_recordings(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("")
        with pytest.raises(DatasetError, match="holds no recording"):
            read(tmp_path)
        assert find_recordings(tmp_path / "notes.txt") == []

    def test_one_channel_for_both(self, folder: Path) -> None:
        with pytest.raises(DatasetError, match="cannot both be on channel 1"):
            read(folder, caller=1, agent=1)


class TestWhatCannotBeUsed:
    @pytest.fixture
    def problems(self, folder: Path, tmp_path: Path) -> Problems:
        """A good call, and one of each kind of bad one."""
        noise = np.random.default_rng(0).integers(-3_000, 3_000, 48_000)
        speech = voices(1.0)[2]
        (tmp_path / "good.wav").symlink_to(folder / "call-00.wav")
        write(tmp_path / "mono.wav", speech)
        (tmp_path / "empty.wav").write_bytes(b"")
        (tmp_path / "corrupt.flac").write_bytes(b"fLaC" + bytes(500))
        write(tmp_path / "noise.wav", noise, speech)
        write(tmp_path / "silent-agent.wav", speech, noise * 0)
        write(tmp_path / "twice.wav", speech, speech)
        with wave.open(str(tmp_path / "no-frames.wav"), "wb") as file:
            file.setparams((2, 2, 16_000, 0, "NONE", ""))
        whole = (folder / "call-01.wav").read_bytes()
        (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
        found = Problems()
        seen: list[tuple[int, int]] = []
        calls = read(tmp_path, found, on_progress=lambda done, of: seen.append((done, of)))
        assert calls.calls == 2  # the one that was cut short says less, and what it says counts
        assert {i.cluster for i in calls.items} == {"good.wav", "cut.wav"}
        assert seen[-1][0] == seen[-1][1]
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        return found

    def test_each_is_told(self, problems: Problems) -> None:
        def one(item: str) -> str:
            return " / ".join(problems.messages(item))

        assert "has one channel: who speaks when cannot be told" in one("mono.wav")
        assert "is empty" in one("empty.wav")
        assert "not a recording that can be read" in one("corrupt.flac")
        assert one("noise.wav") == "no speech is heard on channel 0: silent, or not speech"
        assert one("silent-agent.wav") == "no speech is heard on channel 1: silent, or not speech"
        assert one("twice.wav").startswith("in 100% of the speech on channel 0 the other channel speaks too")
        assert one("twice.wav").endswith("no turn of the caller that the other side answers is in it")
        assert "holds no audio" in one("no-frames.wav")
        assert problems.messages("good.wav") == []

    def test_a_long_one_that_is_cut_short(self, tmp_path: Path) -> None:
        soundfile = pytest.importorskip("soundfile")
        noise = np.random.default_rng(0).integers(-9, 9, (8_000 * 130, 2)).astype(np.int16)
        soundfile.write(tmp_path / "long.flac", noise, 8_000)
        whole = (tmp_path / "long.flac").read_bytes()
        (tmp_path / "long.flac").write_bytes(whole[: len(whole) // 2])
        problems = Problems()
        assert read(tmp_path, problems).items == []
        assert len(problems) == 1
        assert "long.flac: " in problems[0].message

    def test_formats_that_are_not_decoded_are_told(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "good.wav").symlink_to(folder / "call-00.wav")
        for name in ("a.m4a", "b.MP4", ".c.m4a", "notes.txt"):
            (tmp_path / name).write_bytes(b"\0")
        problems = Problems()
        assert read(tmp_path, problems).calls == 1
        (said,) = problems.messages(str(tmp_path))
        assert said == "2 recordings (.m4a, .mp4) cannot be decoded: ffmpeg -i a.m4a a.flac"
        with pytest.raises(DatasetError, match=r"1 recordings \(\.mp4\) cannot be decoded"):
            read(tmp_path / "b.MP4")

    def test_a_channel_that_is_not_there(self, folder: Path) -> None:
        problems = Problems()
        assert read(folder, problems, caller=2).items == []
        assert "channel 2 does not exist" in problems[0].message
        problems.clear()
        assert read(folder, problems, agent=4).items == []
        assert problems[0].message == "has 2 channels; 4 does not exist (from 0)"


def test_copies_count_once(folder: Path, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes((folder / "call-00.wav").read_bytes())
    problems = Problems()
    calls = read(tmp_path, problems)
    assert (calls.calls, {i.cluster for i in calls.items}) == (1, {"a.wav"})
    assert problems.messages("b.wav") == ["is a copy of a.wav, to the last byte: it counts once"]


def test_the_agent_on_the_caller_s_channel(folder: Path, tmp_path: Path) -> None:
    """Fainter than on its own: the share of the caller's speech over which both speak says nothing yet."""
    with wave.open(str(folder / "call-00.wav")) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, 2)
    write(tmp_path / "echo.wav", both[:, 0] + both[:, 1] // 4, both[:, 1])
    problems = Problems()
    calls = read(tmp_path, problems)
    assert calls.spoken_over > calls.turns / 3
    (said,) = problems.messages(str(tmp_path))
    assert said.startswith(f"{calls.spoken_over} of {calls.turns} turns are left out because both speak at once: does")
    clean = read(folder, problems := Problems())
    assert (clean.spoken_over, clean.turns, problems) == (0, 8, [])


@pytest.mark.parametrize(("decibels", "later"), [(-20, 0.06), (-28, 0.2)])
def test_a_faint_echo_of_the_agent_is_no_speech(folder: Path, tmp_path: Path, decibels: float, later: float) -> None:
    """Faint, but speech: without more ado both sides would speak at once in every turn."""
    with wave.open(str(folder / "call-00.wav")) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, 2)
    by = round(later * 16_000)
    echo = np.pad(both[:-by, 1], (by, 0)) * 10 ** (decibels / 20)
    write(tmp_path / "call-00.wav", both[:, 0] + echo, both[:, 1])
    problems, notes = Problems(), []
    calls = read(tmp_path, problems, on_note=notes.append)
    clean = read(folder / "call-00.wav")
    assert (calls.spoken_over, problems) == (0, [])
    assert len(calls.items) == len(clean.items) == 4
    for heard, said in zip(calls.items, clean.items, strict=True):
        # What is about 0.1 s is a matter of one window.
        found, wanted = ([(s.start, s.end) for s in item.spans if s.duration > 0.25] for item in (heard, said))
        assert np.array(found) == pytest.approx(np.array(wanted), abs=0.1)
    (note,) = notes
    assert note.startswith(f"{calls.overheard} stretches of speech count for nothing: they are 12 dB and more below")
    assert calls.overheard >= 4
    assert clean.overheard == 0


def test_who_speaks_into_what_the_other_says_is_no_echo(folder: Path, tmp_path: Path) -> None:
    with wave.open(str(folder / "call-00.wav")) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, 2).astype(np.int32)
    first = read(folder / "call-00.wav").items[0].spans[-1]
    mhm = voices(1.1)[0][: round(0.5 * 16_000)] // 2  # 6 dB below what the caller says else
    at = round((first.end + 0.5) * 16_000)
    both[at : at + len(mhm), 0] += mhm
    write(tmp_path / "mhm.wav", both[:, 0], both[:, 1])
    calls = read(tmp_path)
    assert (calls.overheard, calls.spoken_over, len(calls.items)) == (0, 1, 4)


class TestCache:
    def test_what_was_heard_is_kept(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = read(folder, cache=tmp_path)
        heard: list[str] = []

        def listen(*args: Any) -> Any:
            heard.append("again")
            return speech_segments(*args)

        monkeypatch.setattr(tuning_calls, "speech_segments", listen)
        after = read(folder, cache=tmp_path)
        assert heard == []
        assert [i.spans for i in after.items] == [i.spans for i in before.items]
        # One that a crash, or a full disk, has left in pieces is heard again; the others are not.
        kept = sorted(tmp_path.glob("speech-*/*.json"))
        assert len(kept) == 4
        kept[0].write_text('[[0.1, "')
        assert [i.spans for i in read(folder, cache=tmp_path).items] == [i.spans for i in before.items]
        assert heard == ["again"]

    def test_without_a_folder(self) -> None:
        cache = SegmentCache(None)
        cache.put("a", 0, [(0.0, 1.0)])
        assert cache.get("a", 0) is None

    def test_the_checksum_of_a_call_is_computed_once(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = read(folder / "call-00.wav")
        monkeypatch.setattr(AudioRef, "checksum", lambda self: pytest.fail("computed again"))
        assert len({item.audio.checksum() for item in calls.items}) == 1


def test_overlap() -> None:
    assert overlap_share([(0, 2), (4, 6)], [(1, 5)]) == 0.5
    assert overlap_share([(0, 1), (2, 3)], [(5, 6)]) == 0.0
    assert overlap_share([], [(0, 1)]) == 0.0
    assert overlap_share([(3, 4)], [(0, 1), (3.5, 3.75)]) == 0.25
