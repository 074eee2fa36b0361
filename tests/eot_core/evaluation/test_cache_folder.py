"""A cache that cannot be written: told once, and the work goes on."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eot_core.evaluation.cache_folder import NotKept, open_cache
from eot_core.evaluation.tuning_features import FeatureStore
from eot_core.evaluation.tuning_speech import SegmentCache


class TestFolder:
    def test_it_is_made(self, tmp_path: Path) -> None:
        said: list[str] = []
        assert open_cache(tmp_path / "a" / "b", NotKept(said.append)) == tmp_path / "a" / "b"
        assert list((tmp_path / "a" / "b").iterdir()) == []
        assert said == []

    def test_one_that_takes_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        said: list[str] = []
        not_kept = NotKept(said.append)
        for folder in (tmp_path / "file" / "cache", tmp_path / "file"):
            assert open_cache(folder, not_kept) is None
        (text,) = said
        assert str(tmp_path / "file" / "cache") in text
        assert "--cache FOLDER" in text
        assert "--no-cache" in text

    def test_nobody_s_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(Path, "expanduser", lambda self: (_ for _ in ()).throw(RuntimeError("no home")))
        said: list[str] = []
        assert open_cache(None, NotKept(said.append)) is None
        assert "no home folder" in said[0]


class TestFeatures:
    def test_in_memory_where_the_folder_takes_none(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        errors: list[OSError] = []
        store = FeatureStore(tmp_path / "file" / "cache", "a model", 3, errors.append)
        for number in range(3):
            store.put(f"{number}", 0.5, 0.1 * number, np.full(3, number, dtype=np.float32))
        row = store.row("2", 0.5)
        assert row is not None
        assert store.score(row) == pytest.approx(0.2)
        assert store.features(np.array([row, store.row("0", 0.5)])).tolist() == [[2.0] * 3, [0.0] * 3]
        assert len(errors) == 1
        store.close()

    def test_a_disk_that_is_full_in_the_middle_of_a_record(self, tmp_path: Path) -> None:
        """What was written before stays whole, what comes after is in memory."""
        done = subprocess.run(
            [sys.executable, "-c", f"from test_cache_folder import _fill; _fill({str(tmp_path)!r})"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        again = FeatureStore(tmp_path, "a model", 3)
        assert [again.row(f"{n}", 0.5) for n in range(5)] == [0, 1, None, None, None]
        assert again.put("new", 0.5, 0.5, np.zeros(3, dtype=np.float32)) == 2
        again.close()


def _fill(folder: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = FeatureStore(None, "a model", 3)._type.itemsize
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size + size // 2, resource.RLIM_INFINITY))
    errors: list[OSError] = []
    store = FeatureStore(Path(folder), "a model", 3, errors.append)
    rows = [store.put(f"{n}", 0.5, 0.1 * n, np.full(3, n, dtype=np.float32)) for n in range(5)]
    assert rows[:2] == [0, 1]
    assert store.features(np.array(rows))[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert [round(store.score(row), 6) for row in rows] == [0, 0.1, 0.2, 0.3, 0.4]
    assert len(errors) == 1
    assert str(store.path) in str(errors[0])


class TestSpeech:
    def test_a_folder_that_takes_none(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        errors: list[OSError] = []
        cache = SegmentCache(tmp_path / "file", errors.append)
        cache.put("a", 0, [(0.0, 1.0)])
        assert cache.get("a", 0) is None
        assert len(errors) == 1

    def test_a_folder_that_is_gone(self, tmp_path: Path) -> None:
        errors: list[OSError] = []
        cache = SegmentCache(tmp_path, errors.append)
        (folder,) = tmp_path.iterdir()
        folder.rmdir()
        cache.put("a", 0, [(0.0, 1.0)])
        assert isinstance(errors[0], FileNotFoundError)
