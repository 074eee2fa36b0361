"""Measure against LiveKit's and Pipecat's own detectors, interleaved in one run; print a table.

Below 1.00 we are cheaper. The machine may be busy: what counts is the ratio, of medians over many rounds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from eot_core import DetectorStream, TurnDetector
from eot_core.models.base import SAMPLE_RATE
from eot_core.models.smart_turn import SMART_TURN_V3_2

ROUNDS = 30
RNG = np.random.default_rng(0)


def noise(seconds: float, rate: int = SAMPLE_RATE) -> np.ndarray[Any, np.dtype[np.int16]]:
    return (RNG.standard_normal(round(seconds * rate)) * 2_000).astype(np.int16)


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median seconds of each."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for measure, work in zip(times, (ours, theirs), strict=True):
            begin = time.perf_counter()
            work()
            measure.append(time.perf_counter() - begin)
    return statistics.median(times[0]), statistics.median(times[1])


def row(what: str, ours: float, theirs: float, unit: str = "ms") -> None:
    scale = 1e3 if unit == "ms" else 1.0
    print(f"{what:<66} {ours * scale:9.2f} {theirs * scale:9.2f} {unit:<5} {ours / theirs if theirs else 0:6.2f}")


def smart_turn() -> None:
    from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3

    stock = LocalSmartTurnAnalyzerV3()
    stock.set_sample_rate(SAMPLE_RATE)
    model = SMART_TURN_V3_2.load()
    for seconds in (1.0, 3.0, 8.0):
        pcm = noise(seconds)
        floats = pcm.astype(np.float32) / 32768
        ours, theirs = interleaved(lambda p=pcm: model.predict(p), lambda f=floats: stock._predict_endpoint(f))  # type: ignore[misc]
        row(f"smart-turn v3.2, one prediction over {seconds:g} s (Pipecat's analyzer)", ours, theirs)


async def livekit_stream() -> None:
    from livekit import rtc
    from livekit.agents import inference

    from adapters.livekit import TurnDetector as OurDetector

    ours, stock = OurDetector().stream(), inference.TurnDetector(version="v1-mini").stream()
    pcm = noise(10.0, 24_000)
    frames = [
        rtc.AudioFrame(pcm[i : i + 1_200].tobytes(), sample_rate=24_000, num_channels=1, samples_per_channel=1_200)
        for i in range(0, len(pcm), 1_200)
    ]

    async def feed(stream: Any) -> float:
        begin = time.perf_counter()
        for frame in frames:
            stream.push_audio(frame)
        await asyncio.sleep(0.001)  # stock works on the frames in a task of its own
        return time.perf_counter() - begin

    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for measure, stream in zip(times, (ours, stock), strict=True):
            measure.append(await feed(stream))
    row("10 s of audio in frames of 50 ms at 24 kHz (LiveKit's stream)", *map(statistics.median, times))

    times = ([], [])
    for _ in range(ROUNDS):
        for measure, stream in zip(times, (ours, stock), strict=True):
            begin = time.perf_counter()
            await stream.predict()
            measure.append(time.perf_counter() - begin)
    row("v1-mini, from predict() to the answer (LiveKit's stream)", *map(statistics.median, times))

    times = ([], [])
    for _ in range(10):
        for measure, stream in zip(times, (ours, stock), strict=True):
            begin = time.process_time()
            futures = [stream.predict() for _ in range(8)]
            await asyncio.gather(*futures)
            await asyncio.sleep(0.15)
            measure.append(time.process_time() - begin)
    row("v1-mini, CPU for 8 predictions, 7 of them superseded (LiveKit's)", *map(statistics.median, times))
    await ours.aclose()
    await stock.aclose()


def resident() -> int:
    """Bytes of this process in memory (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def memory() -> None:
    detector = TurnDetector(model="smart-turn-v3.2")
    first = detector.stream()
    first.push_audio(noise(8.0))
    await first.predict()
    before = resident()
    streams: list[DetectorStream] = [detector.stream() for _ in range(200)]
    for stream in streams:
        stream.push_audio(noise(8.0))
        await stream.predict()
    each = (resident() - before) / len(streams) / 1024
    print(f"{'smart-turn, memory of one more stream after a prediction':<66} {each:9.1f} {'':>9} KiB")
    for stream in (first, *streams):
        await stream.aclose()


def main() -> None:
    logging.disable(logging.WARNING)
    print(f"{'':<66} {'ours':>9} {'peer':>9} {'':<5} {'ratio':>6}")
    smart_turn()
    asyncio.run(livekit_stream())
    asyncio.run(memory())


if __name__ == "__main__":
    main()
