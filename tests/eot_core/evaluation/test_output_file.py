"""A file that is written at the end of a run: what it may take the place of, and what is left of that."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from eot_core.evaluation import output_file
from eot_core.evaluation.output_file import check_output, write_output
from eot_core.evaluation.tuning_file import is_calibration


class TestWritten:
    def test_a_link_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "store").mkdir()
        there = tmp_path / "store" / "real.json"
        link = tmp_path / "c.json"
        link.symlink_to(there)
        for text in ("one", "two"):
            write_output(link, text)
            assert link.is_symlink()
            assert there.read_text() == text
        assert [p.name for p in (tmp_path / "store").iterdir()] == ["real.json"]

    def test_a_pipe_stays_one(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        got: list[str] = []
        reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
        reader.start()
        check_output("--output", pipe, tmp_path, is_calibration)
        write_output(pipe, "text")
        reader.join(5)
        assert got == ["text"]
        assert pipe.is_fifo()

    def test_standard_output(self, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        check_output("--output", Path("/dev/stdout"), tmp_path, is_calibration)
        os.write(1, b"before ")
        write_output(Path("/dev/stdout"), "text")
        assert capfd.readouterr().out == "before text"

    def test_who_may_read_it_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "c.json"
        path.touch(mode=0o600)
        write_output(path, "text")
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text() == "text"

    def test_a_full_disk_is_told_with_the_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "c.json"
        path.write_text("before")

        def full(fd: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(output_file.os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*c\.json'"):
            write_output(path, "text")
        assert path.read_text() == "before"
        assert list(tmp_path.iterdir()) == [path]


class TestChecked:
    def check(self, path: Path, dataset: Path) -> None:
        check_output("--output", path, dataset, is_calibration)

    def test_the_dataset(self, tmp_path: Path) -> None:
        rows = tmp_path / "in.jsonl"
        rows.write_text("{}")
        (tmp_path / "link.json").symlink_to(rows)
        for path in (rows, tmp_path / "link.json"):
            with pytest.raises(ValueError, match="is the dataset: name another file"):
                self.check(path, rows)

    @pytest.mark.parametrize("content", [b"RIFF\x00\xff", b'{"id": "a"}\n{"id": "b"}\n', b"{}", b"[]", b"text"])
    def test_what_is_no_calibration_file(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "call00.flac"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"call00\.flac is there, and is nothing that this command wrote: name"):
            self.check(path, tmp_path)

    @pytest.mark.parametrize("content", ["", '{"schema": "eot-calibration/1", "models": {}}'])
    def test_what_is(self, content: str, tmp_path: Path) -> None:
        path = tmp_path / "c.json"
        path.write_text(content)
        self.check(path, tmp_path)
        assert path.read_text() == content
        assert list(tmp_path.iterdir()) == [path]

    def test_a_folder_that_takes_nothing(self, tmp_path: Path) -> None:
        if not Path("/proc/self").is_dir():
            pytest.skip("no folder that takes nothing")
        with pytest.raises(ValueError, match="--output: nothing can be written in /proc/"):
            self.check(Path("/proc/self/c.json"), tmp_path)

    def test_links_in_a_circle(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to(tmp_path / "b")
        (tmp_path / "b").symlink_to(tmp_path / "a")
        with pytest.raises(ValueError, match=r"--output: .*a cannot be written"):
            self.check(tmp_path / "a", tmp_path)
