"""Models loaded once in a worker's forkserver, and used by the jobs that are forked from it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import Plugin

from adapters.livekit import plugin
from eot_core import available_models

ROOT = Path(__file__).parents[3]

_SCRIPT = """
import json, os, sys, threading

def memory():
    for line in open("/proc/self/smaps_rollup"):
        if line.startswith("Rss:"):
            return int(line.split()[1]) / 1024

import adapters.livekit
before = memory()
import adapters.livekit.preload
after = memory()
import livekit.local_inference
livekit.local_inference.init_eot()  # what LiveKit's own preloading does
again = memory()
threads = threading.active_count()

reading, writing = os.pipe()
if os.fork() == 0:
    import asyncio
    import numpy as np
    from livekit import rtc
    from adapters.livekit import VAD, TurnDetector
    from eot_core.models.handle import model_handle

    async def job():
        detector = TurnDetector(model=os.environ.get("MODEL"))
        loaded = model_handle(detector._core.local_model).loaded
        pcm = np.random.default_rng(0).normal(0, 3000, 32_000).astype(np.int16)
        frame = rtc.AudioFrame(pcm.tobytes(), 16_000, 1, len(pcm))
        stream = detector.stream()
        stream.push_audio(frame)
        answer = await stream.predict()
        await stream.aclose()
        speech = VAD().stream()
        speech.push_frame(frame)
        speech.end_input()
        windows = len([event async for event in speech])
        await speech.aclose()
        return loaded, answer.end_of_turn_probability, answer.inference_duration is not None, windows

    os.write(writing, json.dumps(asyncio.run(job())).encode())
    os._exit(0)
os.close(writing)
with os.fdopen(reading) as child:
    job = json.loads(child.read())
print(json.dumps({"loading": after - before, "again": again - after, "threads": threads, "job": job}))
"""


def _in_a_forkserver(**environment: str) -> dict[str, Any]:
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("EOT_PRELOAD_MODEL", "LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE")
    }
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**env, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads Linux's /proc")
def test_v1_mini_is_loaded_once_for_us_and_for_livekit_and_a_forked_job_predicts_with_it() -> None:
    result = _in_a_forkserver()
    loaded, probability, by_the_model, windows = result["job"]
    assert loaded
    assert by_the_model
    assert 0.0 < probability < 1.0
    assert windows >= 62
    assert result["threads"] == 1  # a forked child would have none of the others
    assert result["loading"] > 150  # MB
    assert result["again"] < 0.1 * result["loading"]  # LiveKit's init_eot finds the weights there


@pytest.mark.skipif(not available_models(), reason="pipecat-ai is not installed")
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads Linux's /proc")
def test_another_model_may_be_chosen_and_v1_minis_memory_saved() -> None:
    result = _in_a_forkserver(EOT_PRELOAD_MODEL="smart-turn-v3.2", MODEL="smart-turn-v3.2")
    loaded, _, by_the_model, windows = result["job"]
    assert loaded
    assert by_the_model
    assert windows >= 62
    assert result["threads"] == 1
    assert result["loading"] < 150
    assert result["again"] > 150  # v1-mini was not there


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "turn-detector-v1-mini"),
        ({"EOT_PRELOAD_MODEL": "v1-mini"}, "turn-detector-v1-mini"),
        ({"EOT_PRELOAD_MODEL": "smart-turn-v3.2"}, "smart-turn-v3.2"),
        ({"EOT_PRELOAD_MODEL": "none"}, None),
        ({"LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE": "0"}, None),
        ({"LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE": "1"}, "turn-detector-v1-mini"),
        ({"LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE": "off", "EOT_PRELOAD_MODEL": "v1-mini"}, "turn-detector-v1-mini"),
    ],
)
def test_which_model_is_preloaded(
    environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EOT_PRELOAD_MODEL", "LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    spec = plugin._model_to_preload()
    assert (spec.name if spec else None) == expected


def test_a_model_that_is_unknown_or_not_there_stops_no_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("EOT_PRELOAD_MODEL", "no-such-model")
    plugin.preload_models()
    assert "EOT_PRELOAD_MODEL: model 'no-such-model' is unknown" in caplog.text
    assert "turn-detector-v1-mini" in caplog.text
    caplog.clear()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    monkeypatch.setenv("EOT_PRELOAD_MODEL", str(broken))
    plugin.preload_models()
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "could not be preloaded" in warning.getMessage()


def test_livekit_may_know_us_as_a_plugin_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Plugin, "registered_plugins", [])
    plugin.register()
    plugin.register()
    (ours,) = Plugin.registered_plugins
    assert (ours.title, ours.package) == ("eot-adapters", "adapters.livekit.preload")
    assert ours.version
    with caplog.at_level(logging.INFO, logger="adapters.livekit"):
        ours.download_files()
    assert "nothing to download" in caplog.text
