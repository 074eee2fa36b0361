"""The simulator against the live stream, pause by pause: is what is tuned what runs?"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from eot_core import ModelSpec
from eot_core.evaluation.items import Item
from eot_core.vad.hysteresis import WINDOW

from . import on_livekit, on_pipecat, virtual_time
from .recordings import CURVES, Curve, Recorded, Simulated, simulated
from .speech import Pause
from .trace import Played, Trace

FRAMEWORKS: dict[str, tuple[Callable[[Trace], Coroutine[Any, Any, Played]], float]] = {
    "LiveKit": (on_livekit.play, 0.05),
    "Pipecat": (on_pipecat.play, 0.02),
}
"""How each plays a call, and the seconds of audio in a frame as its transports send them."""
_SAME = 0.001
"""Seconds; nearer than this it is where the label says."""


@dataclass(frozen=True)
class Compared:
    """One pause under one curve on one framework."""

    item: str
    index: int
    curve: str
    framework: str
    kind: str
    """"compared"; or why it is not: "not heard" by the live VAD, or part of "another turn", since a pause before it
    ended the turn."""
    duration: float
    """Seconds of the pause, as labelled."""
    simulated: float
    """Seconds from the end of speech to the end of the turn, if the silence lasted."""
    live: float | None = None
    """The same, seen from where the live VAD hears the end of speech. None: the user spoke on first."""
    resumed: float | None = None
    """Seconds from the end of speech until the VAD is certain that the user speaks on; None: never."""
    moved: float = 0.0
    """Seconds by which the live VAD hears speech end later than the label says. Both sides count from the VAD's."""

    @property
    def is_moved(self) -> bool:
        """Whether the label is elsewhere."""
        return abs(self.moved) > _SAME

    @property
    def difference(self) -> float | None:
        """Live less simulated, in seconds; None where neither ended the turn in the pause.

        Where the simulator alone did, the live stream did not until the user was heard to speak on: they are at least
        that far apart.
        """
        if self.live is not None:
            return self.live - self.simulated
        if self.resumed is None or self.simulated >= self.resumed:
            return None
        return self.resumed - self.simulated

    @property
    def agrees(self) -> bool:
        """Whether both end the turn, within one window of the VAD of each other, or neither does."""
        return self.difference is None or abs(self.difference) <= WINDOW

    def __str__(self) -> str:
        live = "goes on" if self.live is None else f"{self.live:.3f} s"
        return (
            f"{self.framework}, {self.curve}: {self.item}, pause {self.index + 1} of {self.duration:.2f} s: "
            f"simulated {self.simulated:.3f} s, live {live}"
        )


_work: tuple[Recorded, ModelSpec, dict[str, dict[str, list[Simulated]]]]
"""For the children of this process, which inherit it."""


def compare(recorded: Recorded, spec: ModelSpec, *, processes: int = 2) -> list[Compared]:
    """Every pause of every recording, under each curve, on both frameworks."""
    global _work
    _work = recorded, spec, simulated(recorded.items, spec)
    jobs = [(curve, framework) for curve in range(len(CURVES)) for framework in FRAMEWORKS]
    if processes == 1 or "fork" not in multiprocessing.get_all_start_methods():
        return [row for job in jobs for row in _play_all(job)]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        return [row for rows in pool.map(_play_all, jobs) for row in rows]


def _play_all(job: tuple[int, str]) -> list[Compared]:
    recorded, spec, offline = _work
    curve, framework = CURVES[job[0]], job[1]
    play, frame = FRAMEWORKS[framework]
    found: list[Compared] = []
    for item in recorded.items:
        trace = recorded.trace(item, curve, spec, frame)

        def call(trace: Trace = trace) -> Coroutine[Any, Any, Played]:
            return play(trace)

        played = virtual_time.run(call)
        found += _pauses(item, curve, framework, offline[curve.name][item.id], recorded.moved, trace.pauses, played)
    return found


def _pauses(
    item: Item,
    curve: Curve,
    framework: str,
    offline: list[Simulated],
    moved: Mapping[tuple[str, int], float],
    heard: tuple[Pause, ...],
    played: Played,
) -> list[Compared]:
    found: list[Compared] = []
    turns = [turn.at for turn in played.turns]
    ends = [*(later.ended_at for _, later in pairwise(heard)), float("inf")]
    for one in offline:
        span = one.pause.span
        made = (item.id, one.pause.index, curve.name, framework)
        figures = (span.duration, one.decision.delay)
        number = min(range(len(heard)), key=lambda i: abs(heard[i].ended_at - span.start), default=None)
        if number is None or abs(heard[number].ended_at - span.start) > _SAME:
            found.append(Compared(*made, "not heard", *figures))
            continue
        pause = heard[number]
        if turns and turns[0] < pause.ended_at:
            found.append(Compared(*made, "another turn", *figures))
            continue
        # The frame in which the VAD becomes certain may be a little later than the window in which it does.
        commits = [at - pause.ended_at for at in turns if pause.ended_at <= at < ends[number]]
        found.append(
            Compared(
                *made,
                "compared",
                *figures,
                live=commits[0] if commits else None,
                resumed=None if pause.resumed_at is None else pause.resumed_at - pause.ended_at,
                moved=moved[item.id, one.pause.index],
            )
        )
    return found
