"""What a session costs the gateway: `python -m tests.bench.gateway [--sessions 100]`.

`eot serve` runs in a process of its own; clients stream recorded speech to it in real time. Printed are CPU seconds of
the gateway's process (all its threads) per second and session, its memory per session, how late its event loop was,
and, where there are requests, how long an answer took. CPU and memory hardly depend on what else the machine does;
lateness and answers do.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import re
import statistics
import sys
import time
from dataclasses import dataclass, field

import aiohttp
import numpy as np

from eot_core.cli.audio_file import read_audio
from eot_core.data import demo_recording
from eot_core.protocol import ClientProtocol, EotPrediction, ServerError, SessionCreated
from eot_core.protocol.auth import Credentials, connection_headers

KEY, SECRET = "APIbench", "a-secret-that-is-long-enough-for-hs256"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Load:
    """A way to stream."""

    name: str
    model: str
    sample_rate: int
    frame: float
    """Seconds."""
    every: float | None
    """Seconds between two requests of a session, with a flush after each; None: no requests."""


@dataclass
class Seen:
    answers: list[float] = field(default_factory=list)
    failed: int = 0


class Process:
    """`eot serve`, and what it has used."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.url = url

    @classmethod
    async def start(cls, model: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "eot_core.cli", "serve", "--port", "0", "--model", model),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "EOT_GATEWAY_KEYS": f"{KEY}:{SECRET}"},
        )
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        found = re.search(r"ready at (\S+)", line)
        assert found is not None, line
        return cls(process, found.group(1))

    def cpu(self) -> float:
        """Seconds, user and system."""
        with open(f"/proc/{self._process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> float:
        """MiB that are resident."""
        with open(f"/proc/{self._process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * PAGE / 2**20

    async def durations(self, http: aiohttp.ClientSession) -> dict[str, tuple[float, float]]:
        """Sum in seconds, and number, of each histogram in the metrics."""
        async with http.get(self.url.removesuffix("/v1") + "/metrics") as response:
            text = await response.text()
        sums, counts = (
            dict(re.findall(rf"eot_gateway_(\w+)_seconds_{what}{{.*}} (\S+)", text)) for what in ("sum", "count")
        )
        return {name: (float(sums[name]), float(counts[name])) for name in sums}

    async def end(self) -> None:
        self._process.terminate()
        await self._process.wait()


def messages(load: Load, seconds: float) -> list[bytes]:
    """Audio of so many seconds, as a client sends it; made once, so that the clients cost little."""
    pcm, rate = read_audio(str(demo_recording()))
    assert rate == 16_000
    quiet = np.random.default_rng(0).integers(-8, 9, 6 * rate, dtype=np.int16)
    whole = np.resize(np.concatenate((pcm, quiet)), round(seconds * rate)).astype(np.int16)
    if load.sample_rate != rate:
        import soxr

        whole = soxr.resample(whole, rate, load.sample_rate)
    size = round(load.frame * load.sample_rate)
    protocol = _open()
    return [
        protocol.input_audio(whole[at : at + size].astype("<i2").tobytes(), captured_at=1.0, created_at=1.0)
        for at in range(0, len(whole) - size + 1, size)
    ]


def _open() -> ClientProtocol:
    protocol = ClientProtocol()
    protocol.session_create(sample_rate=16_000, created_at=1.0)
    return protocol


async def talk(
    http: aiohttp.ClientSession, url: str, load: Load, audio: list[bytes], offset: int, until: float, seen: Seen
) -> None:
    """One client, in real time until the loop's clock says ``until``."""
    headers = connection_headers(Credentials(KEY, SECRET), now=time.time())
    loop, protocol, asked = asyncio.get_running_loop(), ClientProtocol(), dict[str, float]()
    async with http.ws_connect(f"{url}/eot".replace("http", "ws", 1), headers=headers) as socket:
        await socket.send_bytes(protocol.session_create(sample_rate=load.sample_rate, created_at=1.0))
        assert isinstance(protocol.receive((await socket.receive()).data)[0], SessionCreated)

        async def listen() -> None:
            async for message in socket:
                for event in protocol.receive(message.data):
                    if isinstance(event, EotPrediction):
                        seen.answers.append(loop.time() - asked[event.request_id])
                    elif isinstance(event, ServerError):
                        seen.failed += 1

        listening = asyncio.create_task(listen())
        due = loop.time() + load.frame * (offset % 97) / 97
        for number in range(offset, 1 << 30):
            if loop.time() >= until:
                break
            await asyncio.sleep(max(0.0, due - loop.time()))
            due += load.frame
            await socket.send_bytes(audio[number % len(audio)])
            if load.every is not None and (number * load.frame) % load.every < load.frame:
                request_id = f"r{number}"
                asked[request_id] = loop.time()
                await socket.send_bytes(protocol.inference_start(request_id, created_at=1.0))
                await socket.send_bytes(protocol.session_flush(created_at=1.0))
        await asyncio.sleep(1.0)
        listening.cancel()


async def measure(load: Load, sessions: int, seconds: float) -> None:
    process = await Process.start(load.model)
    try:
        audio, seen = messages(load, 60.0), Seen()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            empty, loop = process.memory(), asyncio.get_running_loop()
            until = loop.time() + seconds + 12.0
            step = len(audio) // sessions
            talking = [
                asyncio.create_task(talk(http, process.url, load, audio, n * step, until, seen))
                for n in range(sessions)
            ]
            await asyncio.sleep(10.0)  # each session holds its eight seconds by then
            cpu, began, before = process.cpu(), loop.time(), await process.durations(http)
            seen.answers.clear()
            await asyncio.sleep(seconds)
            used = (process.cpu() - cpu) / (loop.time() - began)
            after = await process.durations(http)
            full = process.memory()
            await asyncio.gather(*talking)
        print(
            f"{load.name:<48} {used * 100:6.1f} % of a core {used / sessions * 1e3:6.2f} ms/s "
            f"{(full - empty) / sessions * 1024:5.0f} KiB {_mean(before, after, 'loop_lag'):6.2f} ms late",
            flush=True,
        )
        if load.every is not None:
            answers = sorted(seen.answers) or [math.nan]
            parts = ("preparation", "queue", "inference", "answer")
            print(
                f"  {len(seen.answers)} answers in {statistics.median(answers) * 1e3:.1f} ms (median), "
                f"{answers[int(len(answers) * 0.95)] * 1e3:.1f} ms (p95), {seen.failed} failed; means in the gateway: "
                + ", ".join(f"{part} {_mean(before, after, part):.1f}" for part in parts),
                flush=True,
            )
    finally:
        await process.end()


def _mean(before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]], name: str) -> float:
    """Milliseconds."""
    (begin, count), (end, more) = before[name], after[name]
    return (end - begin) / max(1.0, more - count) * 1e3


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--model", default="smart-turn-v3.2", help="one that scores turns")
    parser.add_argument("--only", type=int, default=None, help="number of the load, from 0")
    parser.add_argument("--rolling", default=None, help="an ONNX file, whose window is rolling: the cost without VAD")
    args = parser.parse_args()
    loads = [
        Load("16 kHz, 20 ms, nobody asks", args.model, 16_000, 0.02, None),
        Load("24 kHz, 50 ms (LiveKit), nobody asks", args.model, 24_000, 0.05, None),
        Load("16 kHz, 20 ms, a request and a turn every 8 s", args.model, 16_000, 0.02, 8.0),
    ]
    if args.rolling is not None:
        loads.insert(0, Load("16 kHz, 20 ms, nobody asks, no VAD", args.rolling, 16_000, 0.02, None))
    print(f"{args.sessions} sessions for {args.seconds:g} s")
    for load in loads if args.only is None else [loads[args.only]]:
        await measure(load, args.sessions, args.seconds)


if __name__ == "__main__":
    asyncio.run(main())
