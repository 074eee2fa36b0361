from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eot_core.models.graph_cache import cache_file, cache_folder, cached_graph

GRAPH = b"\x08\x0a" + bytes(range(256)) * 2000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EOT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _never() -> bytes:
    raise AssertionError("made again")


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
    assert cache_folder() == folder
    monkeypatch.delenv("EOT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "eot-adapters"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "eot-adapters"


def test_made_once() -> None:
    file = cache_file("encoder", "what it is made of")
    assert cached_graph(file, lambda: GRAPH) == GRAPH
    assert cached_graph(file, _never) == GRAPH
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_another_identity_is_another_file() -> None:
    names = {cache_file("encoder", identity).name for identity in ("a", "b", "a")}
    assert len(names) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_file_is_made_anew(damage: str, caplog: pytest.LogCaptureFixture) -> None:
    file = cache_file("encoder", "x")
    cached_graph(file, lambda: GRAPH)
    whole = file.read_bytes()
    file.write_bytes(
        {
            "cut": whole[:-1000],
            "flipped": whole[:500] + bytes([whole[500] ^ 1]) + whole[501:],
            "empty": b"",
            "other": b"not ours" * 100,
        }[damage]
    )
    with caplog.at_level(logging.WARNING, "eot_core"):
        assert cached_graph(file, lambda: GRAPH) == GRAPH
    assert "damaged" in caplog.text
    assert cached_graph(file, _never) == GRAPH


def test_writers_at_once() -> None:
    """Threads and processes that start together: each gets the whole graph, one file is left."""
    file = cache_file("encoder", "race")
    code = (
        "import sys; from pathlib import Path; from eot_core.models.graph_cache import cached_graph\n"
        "graph = bytes([8, 10]) + bytes(range(256)) * 2000\n"
        "for _ in range(20):\n"
        "    assert cached_graph(Path(sys.argv[1]), lambda: graph) == graph\n"
        "    Path(sys.argv[1]).unlink(missing_ok=True)\n"
    )
    root = Path(__file__).parents[3]
    others = [subprocess.Popen([sys.executable, "-c", code, str(file)], cwd=root) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: cached_graph(file, lambda: GRAPH), range(200))) == {GRAPH}
    assert [process.wait() for process in others] == [0, 0]
    cached_graph(file, lambda: GRAPH)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("EOT_CACHE_DIR", str(tmp_path / "taken" / "cache"))
    with caplog.at_level(logging.WARNING, "eot_core"):
        assert cached_graph(cache_file("encoder", "x"), lambda: GRAPH) == GRAPH
    assert "cannot keep the edited graph" in caplog.text
    assert "EOT_CACHE_DIR" in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir()
    folder.chmod(0o500)
    with caplog.at_level(logging.WARNING, "eot_core"):
        assert cached_graph(cache_file("encoder", "x"), lambda: GRAPH) == GRAPH
    assert "cannot keep" in caplog.text


def test_a_disk_that_is_full_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("eot_core.models.graph_cache.os.replace", full)
    with caplog.at_level(logging.WARNING, "eot_core"):
        assert cached_graph(cache_file("encoder", "x"), lambda: GRAPH) == GRAPH
    assert "No space left on device" in caplog.text
    assert list(folder.iterdir()) == []


def test_an_error_in_making_is_the_caller_s(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        cached_graph(cache_file("encoder", "x"), lambda: bytes(1 // 0))
    assert not folder.exists()
