"""Rows that nobody means to write. Each is named with the reason, and the rows around it are used all the same."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_set import TURNS, Problems, row, turn, write_wav

from eot_core.evaluation.dataset import DatasetError, read_dataset
from eot_core.evaluation.items import parse_item
from eot_core.evaluation.recording import AudioRef
from eot_core.evaluation.scorers import ElapsedScorer
from eot_core.evaluation.scoring import ScoringOptions, score_items

SPANS = [[0.5, 0.8], [1.3, 2.3]]
HUGE = 10**400
DEEP = "[" * 100_000


def read_around(folder: Path, line: bytes) -> tuple[list[str], Problems]:
    """Ids that were scored of three rows, ``line`` between two good ones, and what was said of it."""
    write_wav(folder / "good.wav", turn(TURNS["a-1"])[0])
    good = [json.dumps(row(name, "good.wav", SPANS)).encode() for name in ("a-good", "b-good")]
    (folder / "r.jsonl").write_bytes(b"\n".join([good[0], line, good[1], b""]))
    problems = Problems()
    items = read_dataset(folder / "r.jsonl", on_problem=problems)
    scored = score_items(items, [ElapsedScorer()], ScoringOptions(check_speech=False), on_problem=problems)
    return sorted({p.item.id for p in scored.pauses}), problems


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("audio", "UklGR" * 2000, "no such file, and too long for a path"),
        ("audio", "https://example.org/a.wav", "audio is a URL: download it, and give its path"),
        ("audio", {"bytes": "UklGRg==", "path": None}, "audio.bytes must be bytes, got str"),
        ("audio", {"bytes": [82, 73], "path": None}, "audio.bytes must be bytes, got list"),
        ("audio", {"bytes": 10**12}, "audio.bytes must be bytes, got int"),
        ("audio", {"array": [[1], [2, 3]], "sampling_rate": 16_000}, "audio cannot be understood"),
        ("audio", {"array": [[], []], "sampling_rate": 16_000}, "audio holds no samples"),
        ("audio", {"array": [], "sampling_rate": 16_000}, "audio holds no samples"),
        ("silence_spans", {"start": 1.5, "end": 2.0}, "silence_spans must be a list of"),
        ("silence_spans", {"start": [0.5, 1.5], "end": [1.0]}, "has 2 starts and 1 ends"),
        ("silence_spans", 7, "silence_spans must be a list of"),
        ("silence_spans", DEEP, "silence_spans is no JSON"),
        ("silence_spans", [[0.5, HUGE]], "silence_spans[0] is no"),
        ("turn_start", HUGE, "turn_start must be seconds"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_field_that_makes_no_sense(tmp_path: Path, field: str, value: Any, message: str) -> None:
    bad = {**row("x", "good.wav", SPANS), field: value}
    scored, problems = read_around(tmp_path, json.dumps(bad).encode())
    assert scored == ["a-good", "b-good"]
    assert message in problems.messages("x")[0]
    assert len(problems) == 1
    assert len(str(problems[0])) < 400


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "\xff\xfe"}', "is no JSON: it is not UTF-8"),
        (DEEP.encode(), "is no JSON: it is nested too deeply"),
        (b"\0\0", "is no JSON"),
    ],
    ids=["bytes", "nested", "nul"],
)
def test_a_line_that_is_none(tmp_path: Path, line: bytes, message: str) -> None:
    scored, problems = read_around(tmp_path, line)
    assert scored == ["a-good", "b-good"]
    assert message in problems.messages("r.jsonl line 2")[0]


def test_an_id_that_writes_on_the_terminal(tmp_path: Path) -> None:
    """A message is one line, and colours nothing."""
    _, problems = read_around(tmp_path, json.dumps(row("\x1b[31mred\n\r\u202e" + "x" * 5000, "good.wav", [])).encode())
    (text,) = (str(problem) for problem in problems)
    assert text.startswith("\\x1b[31mred\\n\\r\\u202exxx")
    assert text.isprintable()
    assert len(text) < 300


@pytest.mark.parametrize("value", [7, "hello there", None, [], ["a", {"word": "b"}], {"word": ["a"]}])
def test_words_and_messages_in_other_forms_cost_no_item(value: Any) -> None:
    """No model here reads them."""
    item = parse_item(row("x", "a.wav", SPANS, words=value, messages=value), Path())
    assert all(isinstance(word, dict) for word in (*item.words, *item.messages))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"channels": [["c"], "a"], "speech": {"a": []}}, "channels must name the two speakers"),
        ({"channels": ["c", "a"], "speech": {"c": [[0, HUGE]], "a": []}}, "speech of c is no list of"),
        ({"channels": ["c", "a"], "speech": 5}, "speech has nothing for c, a"),
    ],
)
def test_a_call_that_makes_no_sense(tmp_path: Path, call: dict[str, Any], message: str) -> None:
    bad = {"id": "x", "language": "en", "audio": "good.wav", **call}
    scored, problems = read_around(tmp_path, json.dumps(bad).encode())
    assert scored == ["a-good", "b-good"]
    assert message in problems.messages("x")[0]


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """As editors on Windows write it."""
    (tmp_path / "r.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(row("x", "a.wav", SPANS)).encode())
    problems = Problems()
    assert [i.id for i in read_dataset(tmp_path / "r.jsonl", on_problem=problems)] == ["x"]
    assert problems == []


@pytest.mark.parametrize("name", ["ünï 文.wav", 'it\'s "50%" #1.wav', "a&b<c>.wav"])
def test_names_of_recordings(tmp_path: Path, name: str) -> None:
    write_wav(tmp_path / name, turn(TURNS["a-1"])[0])
    scored, problems = read_around(tmp_path, json.dumps(row("x", name, SPANS)).encode())
    assert scored == ["a-good", "b-good", "x"]
    assert problems == []


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_kinds_of_recordings(tmp_path: Path, ending: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    if ending.upper() not in soundfile.available_formats():
        pytest.skip(f"libsndfile here writes no {ending}")
    soundfile.write(tmp_path / f"x.{ending}", np.random.default_rng(0).normal(0, 0.1, 40_000), 16_000)
    scored, problems = read_around(tmp_path, json.dumps(row("x", f"x.{ending}", SPANS)).encode())
    assert scored == ["a-good", "b-good", "x"]
    assert problems == []


@pytest.mark.parametrize("name", ["x.mp3", "x.wav", "x.flac"])
def test_a_recording_that_is_none(tmp_path: Path, name: str) -> None:
    pytest.importorskip("soundfile")
    (tmp_path / name).write_bytes(np.random.default_rng(3).bytes(5000))
    scored, problems = read_around(tmp_path, json.dumps(row("x", name, SPANS)).encode())
    assert scored == ["a-good", "b-good"]
    (message,) = problems.messages("x")
    assert "not a recording that can be read" in message
    assert "does not exist" not in message


class TestParquet:
    def write(self, path: Path, numbers: range) -> None:
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        encoded = write_wav(path.with_suffix(".wav"), turn(TURNS["a-1"])[0]).read_bytes()
        rows = [row(f"x{i}", {"bytes": encoded + bytes([i]), "path": None}, SPANS) for i in numbers]
        parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=4)

    def test_audio_is_read_when_it_is_asked_for(self, tmp_path: Path) -> None:
        self.write(tmp_path / "x.parquet", range(10))
        items = read_dataset(tmp_path / "x.parquet", on_problem=Problems())
        assert all(callable(item.audio.encoded) for item in items)
        assert len({item.audio.checksum() for item in items}) == 10
        scored = score_items(items, [ElapsedScorer()], ScoringOptions(check_speech=False), on_problem=Problems())
        assert len(scored.pauses) == 20

    def test_a_file_that_is_gone_by_then(self, tmp_path: Path) -> None:
        self.write(tmp_path / "x.parquet", range(2))
        items = read_dataset(tmp_path / "x.parquet", on_problem=Problems())
        (tmp_path / "x.parquet").unlink()
        problems = Problems()
        scored = score_items(items, [ElapsedScorer()], ScoringOptions(check_speech=False), on_problem=problems)
        assert (scored.pauses, len(problems)) == ([], 2)
        assert "audio: cannot be read" in problems[0].message

    def test_one_broken_file_of_several(self, tmp_path: Path) -> None:
        for i in range(3):
            self.write(tmp_path / f"test-0000{i}-of-00003.parquet", range(i, i + 1))
        broken = tmp_path / "test-00001-of-00003.parquet"
        broken.write_bytes(broken.read_bytes()[:-100])
        problems = Problems()
        assert [i.id for i in read_dataset(tmp_path, on_problem=problems)] == ["x0", "x2"]
        assert "is no parquet file that can be read" in problems.messages(broken.name)[0]


def test_the_turns_of_one_long_recording_share_its_checksum(tmp_path: Path) -> None:
    """Hours of a call are read once for it, not once for each turn."""
    path = write_wav(tmp_path / "x.wav", turn(TURNS["a-1"])[0])
    first = AudioRef(path=path).checksum()
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert AudioRef(path=path).checksum() == first
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))
    assert AudioRef(path=path).checksum() != first


class TestSplitsOfParquet:
    """As the hub lays files out, and as its own converter does."""

    @pytest.mark.parametrize(
        "name",
        ["data/validation-00000-of-00001.parquet", "en/validation/0000.parquet", "validation.parquet"],
    )
    def test_by_name(self, tmp_path: Path, name: str) -> None:
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        one = {key: value for key, value in row("x", "a.wav", SPANS).items() if key != "split"}
        parquet.write_table(pa.Table.from_pylist([one]), tmp_path / name)
        problems = Problems()
        (item,) = read_dataset(tmp_path, split="validation", on_problem=problems)
        assert item.split == "validation"
        with pytest.raises(DatasetError, match="no item is left to use; its splits are validation"):
            read_dataset(tmp_path, split="test", on_problem=problems)
