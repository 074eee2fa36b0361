from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eot_core.models.base import ModelIntegrityError, ModelNotInstalledError
from eot_core.models.weights import PackagedFile, explicit_weights, packaged_weights, sha256_of

INSTALL = "pip install 'eot-adapters[some]'"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path with a package that must not be imported and a distribution that owns it."""
    package = tmp_path / "explosive_pkg"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "data" / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "data" / "w.bin").write_bytes(b"weights")
    info = tmp_path / "explosive_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: explosive-dist\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_found_through_the_distribution_without_importing_it(site: Path) -> None:
    file = PackagedFile("explosive-dist", "explosive_pkg/data/w.bin")
    assert file.locate() == site / "explosive_pkg" / "data" / "w.bin"
    assert "explosive_pkg" not in sys.modules


def test_found_on_the_path_without_a_distribution(site: Path) -> None:
    file = PackagedFile("no-such-distribution", "explosive_pkg/data/w.bin")
    assert file.locate() == site / "explosive_pkg" / "data" / "w.bin"
    assert "explosive_pkg" not in sys.modules


def test_not_there() -> None:
    assert PackagedFile("no-such-distribution", "no_such_pkg/w.bin").locate() is None
    assert PackagedFile("pytest", "pytest/no-such-file").locate() is None
    assert PackagedFile("no-such-distribution", "sys/w.bin").locate() is None  # a module, not a package


def test_a_module_without_a_spec_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("specless_pkg")
    monkeypatch.setitem(sys.modules, "specless_pkg", module)
    module.__spec__ = None
    assert PackagedFile("no-such-distribution", "specless_pkg/w.bin").locate() is None


def test_real_frameworks_stay_unimported() -> None:
    code = (
        "import sys\n"
        "from eot_core.models.registry import available_models\n"
        "from eot_core.vad.silero import weights_path\n"
        "available_models()\n"
        "try: weights_path()\n"
        "except Exception as error: print(error)\n"
        "heavy = {'pipecat', 'torch', 'onnxruntime', 'silero_vad', 'livekit.agents', 'livekit.plugins'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_the_checksum_follows_the_file(tmp_path: Path) -> None:
    file = tmp_path / "w"
    file.write_bytes(b"one")
    assert sha256_of(file) == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"three")
    assert sha256_of(file) == hashlib.sha256(b"three").hexdigest()


def test_the_checksum_is_remembered(tmp_path: Path) -> None:
    file = tmp_path / "w"
    file.write_bytes(b"one")
    first = sha256_of(file)
    status = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert sha256_of(file) == first  # same size and time: not read again


def test_a_named_file(tmp_path: Path) -> None:
    file = tmp_path / "w"
    with pytest.raises(ModelNotInstalledError, match=r"weights: no file at .*check the path"):
        explicit_weights(file)
    file.write_bytes(b"x")
    assert explicit_weights(file) == file.resolve()
    with pytest.raises(ModelIntegrityError, match="pass weights= the file"):
        explicit_weights(str(file), sha256=("0" * 64,))


def test_the_first_right_one_wins(site: Path) -> None:
    right = hashlib.sha256(b"weights").hexdigest()
    wrong = PackagedFile("explosive-dist", "explosive_pkg/__init__.py")
    file = PackagedFile("explosive-dist", "explosive_pkg/data/w.bin")
    missing = PackagedFile("no-such-distribution", "no_such_pkg/w.bin")
    found = packaged_weights("thing", (missing, wrong, file), sha256=(right,), install=INSTALL)
    assert found == (site / file.path).resolve()


def test_only_a_wrong_one(site: Path) -> None:
    file = PackagedFile("explosive-dist", "explosive_pkg/data/w.bin")
    with pytest.raises(ModelIntegrityError, match=r"expected 000000000000… or 111111111111….*reinstall explosive-dist"):
        packaged_weights("thing", (file,), sha256=("0" * 64, "1" * 64), install=INSTALL)


def test_none_says_what_to_install() -> None:
    missing = PackagedFile("no-such-distribution", "no_such_pkg/w.bin")
    with pytest.raises(ModelNotInstalledError, match=r"thing is not installed: pip install 'eot-adapters\[some\]'"):
        packaged_weights("thing", (missing,), sha256=("0" * 64,), install=INSTALL)
