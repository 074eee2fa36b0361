"""Recorded pauses: which are taken, and what the offline pipeline (``eot bench``, ``eot tune``) makes of them."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from eot_core import EndpointingOptions, ModelSpec, TurnDecision
from eot_core.cli.audio_file import AudioFileError
from eot_core.evaluation.dataset import read_dataset
from eot_core.evaluation.items import Item, Problem, Span
from eot_core.evaluation.recording import AudioRef
from eot_core.evaluation.scored import ScoredPause, ScoringOptions
from eot_core.evaluation.scorers import ModelScorer
from eot_core.evaluation.scoring import score_items
from eot_core.evaluation.simulation import RESCORE_EVERY, Policy, simulate
from eot_core.models.base import Model, PcmArray
from eot_core.models.handle import model_handle

from . import speech
from .speech import Pause
from .trace import Said, Trace

TAIL = 2.2
"""Seconds of silence that both sides are given after the recording: turns end in it."""
LONGEST = 30.0
"""Seconds; longer recordings are left out."""
_NEAR = 0.3
"""Seconds that the live VAD may hear the end of speech away from the label for it to be the same pause."""
LATENCY = 0.02
"""Seconds that the live model takes; eot-open-1 takes some 15 ms, smart-turn v3.2 some 25."""
SPARE = 1.55
"""Pauses after one that ended a turn belong to another turn, and are not compared: so many times more are taken."""
SHARED = speech.RECORDINGS / "turns.jsonl"
"""The recordings that are taken where nothing else is said."""


@dataclass(frozen=True)
class Curve:
    """A curve of the Endpointer, and what it is run with."""

    name: str
    policy: Policy

    def detector(self) -> dict[str, object]:
        """The detector's options that say the same."""
        return {"endpointing": self.policy.options, "unlikely_threshold": self.policy.threshold}


CURVES = (
    Curve("step", Policy(0.5, EndpointingOptions(0.5, 1.6))),
    Curve("continuous", Policy(0.5, EndpointingOptions(0.4, 1.8, 1.0))),
    Curve("continuous, scored again", Policy(0.5, EndpointingOptions(0.4, 1.8, 1.0, RESCORE_EVERY))),
)
"""Delays with which some pauses end the turn and some do not, in every curve."""


class _Remembered:
    """A model that is asked once about the same audio: the curves and the frameworks share its scores."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: dict[bytes, float] = {}

    def predict(self, pcm: PcmArray) -> float:
        key = hashlib.sha256(pcm.tobytes()).digest()
        if key not in self._known:
            self._known[key] = self._model.predict(pcm)
        return self._known[key]


def remembered(spec: ModelSpec) -> ModelSpec:
    """The same model, with a memory."""
    return replace(spec, load=lambda: _Remembered(model_handle(spec).get()))


@dataclass
class Recorded:
    """The recordings that were taken."""

    items: list[Item] = field(default_factory=list)
    """With :data:`TAIL` behind the audio; the last span lasts until its end."""
    problems: list[Problem] = field(default_factory=list)
    moved: dict[tuple[str, int], float] = field(default_factory=dict)
    """By item and span: seconds by which the live VAD hears speech end later than the label says, for each pause that
    it hears. The span begins there, so that simulator and live stream count from the same moment."""

    def trace(self, item: Item, curve: Curve, spec: ModelSpec, frame: float) -> Trace:
        """The call in which this recording is what the user says, in frames of so many seconds."""
        assert item.audio.pcm is not None
        trace = Trace(
            item.id,
            "recorded",
            partial(_copy, item.audio.pcm),
            None,
            latencies=(LATENCY,),
            decides=curve.detector(),
            spec=spec,
            tail=0.0,
            frame=frame,
        )
        words = tuple(
            Said(f"these are the words number {i}", i, language=item.language) for i in range(len(trace.pauses))
        )
        return replace(trace, said=words)


def _copy(pcm: PcmArray) -> PcmArray:
    return pcm.copy()


def choose(dataset: Path, pauses: int, seed: int) -> Recorded:
    """Recordings with at least so many pauses that are scored, the sources of the dataset in turn.

    The same arguments choose the same. Recordings that cannot be read are passed over, and named.
    """
    taken = Recorded()
    by_source: dict[str, list[Item]] = defaultdict(list)
    for item in read_dataset(dataset, on_problem=taken.problems.append):
        by_source[item.source or ""].append(item)
    rng = np.random.default_rng(seed)
    queues = [[items[i] for i in rng.permutation(len(items))] for _, items in sorted(by_source.items())]
    found = 0
    while found < pauses and any(queues):
        for queue in queues:
            if queue and found < pauses and (item := _with_tail(queue.pop(0), taken)) is not None:
                taken.items.append(item)
                found += len(_scored_spans(item))
    return taken


def _with_tail(item: Item, taken: Recorded) -> Item | None:
    if item.spans[-1].end - item.turn_start > LONGEST:
        return None
    try:
        recording = item.audio.open(item.channel)
        try:
            pcm = recording.read_16k(item.turn_start, item.spans[-1].end)
        finally:
            recording.close()
    except AudioFileError as error:
        taken.problems.append(Problem(item.id, str(error)))
        return None
    pcm = np.concatenate((pcm, speech.silence(TAIL)))
    shift = item.turn_start
    spans = [replace(span, start=span.start - shift, end=span.end - shift) for span in item.spans]
    spans[-1] = replace(spans[-1], end=len(pcm) / speech.RATE)
    spans = [_as_heard(spans, i, item.id, pcm, taken) for i in range(len(spans))]
    longer = replace(
        item, audio=AudioRef(pcm=pcm, sample_rate=speech.RATE), spans=tuple(spans), turn_start=0.0, channel=None
    )
    return longer if _scored_spans(longer) else None


def _as_heard(spans: Sequence[Span], index: int, item: str, pcm: PcmArray, taken: Recorded) -> Span:
    span = spans[index]
    heard = [pause.ended_at for pause in _heard(pcm.tobytes())]
    nearest = min(heard, key=lambda at: abs(at - span.start), default=None)
    if nearest is None or abs(nearest - span.start) > _NEAR or nearest >= span.end:
        return span
    if any(abs(nearest - other.start) < abs(nearest - span.start) for other in spans):
        return span  # it is another pause that the VAD hears
    taken.moved[item, index] = nearest - span.start
    return replace(span, start=nearest)


@functools.lru_cache(maxsize=1)
def _heard(pcm: bytes) -> tuple[Pause, ...]:
    samples = np.frombuffer(pcm, np.int16)
    step = speech.RATE // 50
    frames = [((at + step) / speech.RATE, samples[at : at + step]) for at in range(0, len(samples) - step + 1, step)]
    return speech.pauses(frames, speech.RATE)


def _scored_spans(item: Item) -> list[int]:
    options = ScoringOptions()
    return [
        i
        for i, span in enumerate(item.spans)
        if i == len(item.spans) - 1 or options.min_hold <= span.duration <= options.max_hold
    ]


@dataclass(frozen=True)
class Simulated:
    """What the simulator says of one pause under one curve."""

    pause: ScoredPause
    decision: TurnDecision


def simulated(items: Sequence[Item], spec: ModelSpec) -> dict[str, dict[str, list[Simulated]]]:
    """For each curve and item the pauses in order, from the pipeline that the tuning uses."""
    problems: list[Problem] = []
    scored = score_items(
        items,
        [ModelScorer(spec, "parity")],
        ScoringOptions(rescore_every=RESCORE_EVERY, check_speech=False),
        on_problem=problems.append,
    )
    if scored.failed or problems:
        raise RuntimeError(f"the recordings could not be scored: {scored.failed} {[str(p) for p in problems[:3]]}")
    result: dict[str, dict[str, list[Simulated]]] = {}
    for curve in CURVES:
        by_item: dict[str, list[Simulated]] = defaultdict(list)
        decisions = simulate(curve.policy, scored.for_model(spec.name))
        for pause, decision in zip(scored.pauses, decisions, strict=True):
            by_item[pause.item.id].append(Simulated(pause, decision))
        result[curve.name] = dict(by_item)
    return result
