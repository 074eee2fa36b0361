from __future__ import annotations

import io
import subprocess
import sys

import pytest

from eot_core.cli import doctor, main


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


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from eot_core.models import registry
    from eot_core.models.base import ModelNotInstalledError
    from eot_core.vad import silero

    def missing(*args: object) -> None:
        raise ModelNotInstalledError("no weights: pip install 'eot-adapters[livekit]'")

    monkeypatch.setattr(doctor, "_version", lambda name: None)
    monkeypatch.setattr(registry, "available_models", lambda: ())
    monkeypatch.setattr(silero, "weights_path", missing)
    out = io.StringIO()
    assert doctor.run(None, out=out) == 1  # type: ignore[arg-type]
    text = out.getvalue()
    assert "eot-open-1               not installed: pip install 'eot-adapters[open]'" in text
    assert "smart-turn-v3.2          not installed: pip install 'eot-adapters[pipecat]'" in text
    assert "turn-detector-v1-mini    not installed" in text
    assert "chosen on LiveKit Agents:  none" in text
    assert "voice activity detection: no weights" in text


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
