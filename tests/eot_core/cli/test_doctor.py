from __future__ import annotations

import argparse
import io
import subprocess
import sys
from pathlib import Path

import pytest

from eot_core.cli import doctor, main
from eot_core.models.smart_turn import SMART_TURN_V3_2
from eot_core.models.weights import PackagedFile


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in doctor._VARIABLES:
        monkeypatch.delenv(name, raising=False)


def report(capsys: pytest.CaptureFixture[str]) -> str:
    code = main(["doctor"])
    assert code == 0
    return capsys.readouterr().out


def test_says_what_is_chosen_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    out = report(capsys)
    assert "chosen elsewhere:          eot-open-1" in out
    assert "because: neither hosted nor in development mode" in out
    assert "BSD-2-Clause" in out
    assert "Silero, weights found and checked" in out


def test_cloud_without_secrets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_INFERENCE_URL", "https://gateway.example/path")
    monkeypatch.setenv("LIVEKIT_API_KEY", "KEYKEYKEY")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "SECRETSECRET")
    out = report(capsys)
    assert "turn-detector-v1, a local model when it fails" in out
    assert "because: LIVEKIT_INFERENCE_URL is set" in out
    assert "LIVEKIT_API_SECRET             set" in out
    for hidden in ("KEYKEYKEY", "SECRETSECRET", "gateway.example"):
        assert hidden not in out


def test_a_cloud_by_way_of_a_proxy(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_INFERENCE_URL", "https://gateway.example/path")
    monkeypatch.setenv("LIVEKIT_API_KEY", "KEYKEYKEY")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "SECRETSECRET")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:PASSWORD@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "other.example")
    out = report(capsys)
    assert "the HTTP proxy that the environment names" in out
    assert "PASSWORD" not in out
    assert "proxy.example" not in out
    monkeypatch.setenv("NO_PROXY", "gateway.example")
    assert "proxy" not in report(capsys)


def test_a_url_that_is_none(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_INFERENCE_URL", "ftp://gateway.example/path")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "none can be made: LIVEKIT_INFERENCE_URL must begin with ws://" in out
    assert "gateway.example" not in out
    assert "smart-turn-v3.2" in out


def test_missing_credentials(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_DEV_MODE", "1")
    assert "LIVEKIT_API_KEY and LIVEKIT_API_SECRET missing" in report(capsys)


def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackagedFile, "locate", lambda self: None)


def other_weights(monkeypatch: pytest.MonkeyPatch, path: str, folder: Path) -> Path:
    """Of the packaged files whose path ends so, a copy in which one byte is another takes the place."""
    copy = folder / Path(path).name
    locate = PackagedFile.locate

    def changed(self: PackagedFile) -> Path | None:
        found = locate(self)
        if found is None or not self.path.endswith(path):
            return found
        content = bytearray(found.read_bytes())
        content[len(content) // 2] ^= 1
        copy.write_bytes(content)
        return copy

    monkeypatch.setattr(PackagedFile, "locate", changed)
    return copy


def run() -> tuple[int, str]:
    out = io.StringIO()
    return doctor.run(argparse.Namespace(), out=out), out.getvalue()


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    no_weights(monkeypatch)
    code, text = run()
    assert code == 1
    assert "eot-open-1               not installed: pip install 'eot-adapters[open]'" in text
    assert "smart-turn-v3.2          not installed: pip install 'eot-adapters[pipecat]'" in text
    assert "turn-detector-v1-mini    not installed" in text
    assert "chosen on LiveKit Agents:  none (see below)" in text
    assert "chosen elsewhere:          none (see below)" in text
    assert "voice activity detection: the Silero VAD is not installed" in text


def test_livekit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "1.8.9" if name.startswith("livekit-") else None)
    no_weights(monkeypatch)
    code, text = run()
    assert code == 0
    assert "chosen on LiveKit Agents:  turn-detector-v1-mini" in text
    assert "chosen elsewhere:          none (see below)" in text


def test_a_cloud_and_nothing_for_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("URL", "https://gateway.example"), ("API_KEY", "k"), ("API_SECRET", "s")):
        monkeypatch.setenv(f"LIVEKIT_INFERENCE_{name}", value)
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    no_weights(monkeypatch)
    code, text = run()
    assert code == 1
    assert "chosen on both frameworks: turn-detector-v1, and no local model when it fails (see below)" in text


@pytest.mark.skipif(not SMART_TURN_V3_2.is_available(), reason="pipecat-ai carries the weights")
def test_weights_that_are_not_what_they_were(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where another model can run: who runs on Pipecat has none."""
    copy = other_weights(monkeypatch, "smart-turn-v3.2-cpu.onnx", tmp_path)
    code, text = run()
    assert code == 1
    assert "chosen elsewhere:          none (see below)" in text
    for name in ("eot-open-1", "eot-open-1-fast", "smart-turn-v3.2"):
        (line,) = (line for line in text.splitlines() if line.startswith(f"  {name} "))
        assert "sha256 is" in line
        assert "reinstall pipecat-ai" in line
        assert str(copy) in line


def test_a_vad_that_is_not_what_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = other_weights(monkeypatch, "silero_vad.onnx", tmp_path)
    code, text = run()
    assert code == 1
    assert "voice activity detection: sha256 is" in text
    assert str(copy) in text


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main([])
    assert raised.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_whoever_reads_the_output_may_stop_reading() -> None:
    """As in ``eot doctor | head -1``."""
    command = "from eot_core.cli import main; import sys; sys.stdin.readline(); sys.exit(main(['doctor']))"
    with subprocess.Popen(
        [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1
