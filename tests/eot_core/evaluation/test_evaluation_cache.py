"""What was computed is not lost: not to an interrupt, a kill, a full disk, or a folder that cannot be written."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from known_set import Problems, row, turn, write_known, write_rows, write_wav

from eot_core.evaluation.cache import ScoreCache
from eot_core.evaluation.dataset import read_dataset
from eot_core.evaluation.items import Item
from eot_core.evaluation.recording import Recording
from eot_core.evaluation.scorers import ElapsedScorer
from eot_core.evaluation.scoring import ScoredSet, ScoringOptions, score_items
from eot_core.models.base import ModelError


class Counting(ElapsedScorer):
    """Counts what it is asked, and stops or fails after so many."""

    def __init__(self, *, stops_after: int | None = None, fails_after: int | None = None) -> None:
        self.name = "counting"
        self.fingerprint = "counting-1"
        self.asked = 0
        self._stops_after = stops_after
        self._fails_after = fails_after

    def score(self, item: Item, recording: Recording, at: float) -> float:
        if self.asked == self._stops_after:
            raise KeyboardInterrupt
        if self.asked == self._fails_after:
            raise ModelError("counting: cannot")
        self.asked += 1
        return super().score(item, recording, at)


def scored(path: Path, scorer: Counting, cache: Path) -> tuple[ScoredSet, Problems]:
    problems = Problems()
    items = read_dataset(path, on_problem=problems)
    return score_items(items, [scorer], ScoringOptions(check_speech=False), cache=cache, on_problem=problems), problems


def one_long(folder: Path, pauses: int) -> Path:
    """One recording with many pauses."""
    pcm, spans = turn([(0.3, 0.3, 0.5)] * pauses)
    write_wav(folder / "x.wav", pcm)
    return write_rows(folder / "r.jsonl", [row("x", "x.wav", spans)])


class TestInTheMiddleOfOneRecording:
    def test_interrupted(self, tmp_path: Path) -> None:
        path, cache = one_long(tmp_path, 10), tmp_path / "cache"
        with pytest.raises(KeyboardInterrupt):
            scored(path, Counting(stops_after=7), cache)
        again = Counting()
        result, _ = scored(path, again, cache)
        assert (again.asked, len(result.pauses)) == (3, 10)

    def test_a_model_that_fails(self, tmp_path: Path) -> None:
        path, cache = one_long(tmp_path, 10), tmp_path / "cache"
        scored(path, Counting(fails_after=7), cache)
        again = Counting()
        scored(path, again, cache)
        assert again.asked == 3

    def test_killed(self, tmp_path: Path) -> None:
        """As SIGKILL does it, with a model that takes its time."""
        path, cache = one_long(tmp_path, 250), tmp_path / "cache"
        script = f"""
            import os, signal, sys
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            sys.path.insert(0, {str(Path(__file__).parents[1])!r})
            from pathlib import Path
            from test_evaluation_cache import Counting, scored
            class Killed(Counting):
                def score(self, item, recording, at):
                    if self.asked == 230:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return super().score(item, recording, at)
            scored(Path({str(path)!r}), Killed(), Path({str(cache)!r}))
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
        assert done.returncode == -signal.SIGKILL
        again = Counting()
        result, _ = scored(path, again, cache)
        assert (again.asked, len(result.pauses)) == (50, 250)


class TestCacheThatCannotBeWritten:
    @pytest.mark.parametrize("blocked", ["file", "in a file"])
    def test_from_the_beginning(self, tmp_path: Path, blocked: str) -> None:
        (tmp_path / "file").write_text("")
        cache = tmp_path / "file" if blocked == "file" else tmp_path / "file" / "cache"
        result, problems = scored(write_known(tmp_path), Counting(), cache)
        assert len(result.pauses) == 8
        assert len(problems) == 1
        assert "scores are not kept" in problems.messages("cache")[0]
        assert "choose another folder (--cache)" in problems.messages("cache")[0]
        assert not problems[0].left_out

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_full_disk(self, tmp_path: Path) -> None:
        path, cache = write_known(tmp_path), tmp_path / "cache"
        scored(path, Counting(), cache)
        (kept,) = cache.glob("counting-*.jsonl")
        kept.unlink()
        kept.symlink_to("/dev/full")
        result, problems = scored(path, Counting(), cache)
        assert len(result.pauses) == 8
        assert len(problems) == 1
        assert os.strerror(errno.ENOSPC) in problems.messages("cache")[0]

    def test_a_disk_that_fills_up_within_a_line(self, tmp_path: Path) -> None:
        """In a process of its own: the limit holds for every file it writes."""
        cache = ScoreCache(tmp_path, "m")
        cache.put("one", "x", {0.5: 0.25})
        cache.close()
        (file,) = tmp_path.glob("*.jsonl")
        script = f"""
            import resource, signal
            from pathlib import Path
            from eot_core.evaluation.cache import ScoreCache
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, ({file.stat().st_size + 10}, resource.RLIM_INFINITY))
            cache = ScoreCache(Path({str(tmp_path)!r}), "m")
            try:
                cache.put("two", "x", {{0.5: 0.75}})
            except OSError as error:
                print(error.strerror)
            cache.forget()
            cache.put("three", "x", {{0.5: 1.0}})
            print(cache.get("three", [0.5]))
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True, text=True
        )
        assert done.stdout.splitlines() == [os.strerror(errno.ENOSPC), "[1.0]"]
        assert file.stat().st_size > len(file.read_text().splitlines()[0]) + 1
        again = ScoreCache(tmp_path, "m")
        again.put("four", "x", {0.5: 0.5})
        again.close()
        last = ScoreCache(tmp_path, "m")
        assert [last.get(key, [0.5]) for key in ("one", "two", "three", "four")] == [[0.25], [None], [None], [0.5]]


def test_lines_that_are_not_ours(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path, "m")
    cache.put("good", "x", {0.5: 0.25})
    cache.close()
    (file,) = tmp_path.glob("*.jsonl")
    with file.open("ab") as more:
        more.write(b"\xff\xfe\n[]\n7\n{}\n" + b"[" * 100_000 + b"\n")
        for scores in ([float("nan")], [1.5], [-0.1], ["x"], [None], [0.1, 0.2], [10**400]):
            more.write(json.dumps({"key": "bad", "item": "x", "at": [0.5], "scores": scores}).encode() + b"\n")
    again = ScoreCache(tmp_path, "m")
    assert again.get("good", [0.5]) == [0.25]
    assert again.get("bad", [0.5]) == [None]


def test_a_cache_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ScoreCache(tmp_path, "m")
    cache.put("key", "x", {0.5: 0.25})
    cache.close()
    monkeypatch.setattr("eot_core.evaluation.cache.VERSION", 999)
    assert ScoreCache(tmp_path, "m").get("key", [0.5]) == [None]
