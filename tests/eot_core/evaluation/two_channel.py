"""Two-channel calls with known turns: recorded speech from beside the checkout, or the package's own recording."""

from __future__ import annotations

import json
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from eot_core.data import demo_recording

RATE = 16_000
AUDIO = Path(__file__).parents[4] / "shared" / "audio"
Pcm = npt.NDArray[np.int16]


@dataclass
class Truth:
    """What was put into a call."""

    ends: int = 0
    holds: int = 0
    """Pauses of 0.25 to 5 s inside turns: those of 0.2 s are a matter of one window."""
    seconds: float = 0.0


@dataclass
class Turn:
    caller: Pcm
    holds: int


def write_call(path: Path, turns: list[Turn], agents: list[Pcm], *, rate: int = RATE, seed: int = 0) -> Truth:
    """The agent speaks first; every turn of the caller is answered. Both channels have a little noise."""
    rng = np.random.default_rng(seed)
    truth = Truth()
    caller: list[Pcm] = []
    agent: list[Pcm] = []

    def add(sound: Pcm, to: list[Pcm], other: list[Pcm]) -> None:
        to.append(sound)
        other.append(np.zeros(len(sound), dtype=np.int16))

    for turn, says in zip(turns, agents, strict=True):
        add(says, agent, caller)
        add(np.zeros(round(rng.uniform(0.4, 0.9) * RATE), dtype=np.int16), agent, caller)
        add(turn.caller, caller, agent)
        add(np.zeros(round(rng.uniform(0.4, 0.7) * RATE), dtype=np.int16), agent, caller)
        truth.ends += 1
        truth.holds += turn.holds
    add(agents[0], agent, caller)
    both = np.stack([np.concatenate(caller), np.concatenate(agent)], axis=1)
    both = (both + rng.integers(-6, 7, both.shape)).clip(-32768, 32767).astype("<i2")
    both = both[:: RATE // rate]
    truth.seconds = len(both) / rate
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, rate, 0, "NONE", ""))
        file.writeframes(both.tobytes())
    return truth


def voices(speed: float) -> list[Pcm]:
    """The three stretches of the package's recording, in another voice: faster is higher."""
    with wave.open(str(demo_recording())) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.int16)
    parts = [pcm[round(a * RATE) : round(b * RATE)] for a, b in ((0.5, 2.2), (2.9, 5.2), (5.9, 8.9))]
    return [np.asarray(soxr.resample(part, round(RATE * speed), RATE), dtype=np.int16) for part in parts]


def demo_calls(folder: Path, calls: int, turns: int, *, rate: int = RATE) -> Truth:
    """Every turn has one hold of 0.4 to 1.2 s between two stretches of the package's recording."""
    folder.mkdir(parents=True, exist_ok=True)
    total = Truth()
    for number in range(calls):
        rng = np.random.default_rng(number)
        hello, table, friday = voices(0.92 + 0.03 * number)
        mine: list[Turn] = []
        for turn in range(turns):
            hush = np.zeros(round(rng.uniform(0.4, 1.2) * RATE), dtype=np.int16)
            mine.append(Turn(np.concatenate((hello if turn % 2 else table, hush, friday)), 1))
        answers = [voices(0.8)[1]] * turns
        _sum(total, write_call(folder / f"call-{number:02d}.wav", mine, answers, rate=rate, seed=number))
    return total


def recorded_calls(folder: Path, calls: int, turns: int, sources: tuple[str, ...] = ("alphanumeric",)) -> Truth:
    """Recorded turns with their hesitations; the agent is another speaker. Skips the test where there are none."""
    soundfile = pytest.importorskip("soundfile")
    if not (AUDIO / "turns.jsonl").exists():
        pytest.skip("no recorded speech next to the checkout")
    rows = [json.loads(line) for line in (AUDIO / "turns.jsonl").read_text().splitlines()]
    mine = sorted((r for r in rows if r["source"] in sources), key=lambda r: (sources.index(r["source"]), r["speaker"]))
    others = [r for r in rows if r["source"] == "picovoice-commands"]
    total = Truth()
    for number in range(calls):
        said, answers = [], []
        for turn in range(turns):
            row = mine[(number * turns + turn) % len(mine)]
            spans = row["silence_spans"]
            holds = sum(0.25 <= s["end"] - s["start"] <= 4.9 for s in spans[:-1])
            said.append(Turn(soundfile.read(AUDIO / row["audio"], dtype="int16")[0], holds))
            other = others[(number * turns + turn) % len(others)]
            end = other["silence_spans"][-1]["start"]
            answers.append(soundfile.read(AUDIO / other["audio"], dtype="int16")[0][: round(end * RATE)])
        _sum(total, write_call(folder / f"call-{number:02d}.wav", said, answers, seed=number))
    return total


def _sum(total: Truth, one: Truth) -> None:
    total.ends += one.ends
    total.holds += one.holds
    total.seconds += one.seconds
