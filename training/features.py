"""The encoder's hidden states at every pause, averaged over stretches of time; computed once and kept in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from eot_core.models import graph, smart_turn
from eot_core.models.weights import packaged_weights
from eot_core.models.whisper_features import log_mel
from training import augment
from training.data import RATE, Pause, Wave, load

EDGES = (0, 5, 10, 20, 35, 60, 110, 200, 300, 400)
"""Stretches of hidden states, counted back from the newest, 50 a second."""
MOMENT = 0.2
"""Seconds of silence after which a pause is scored."""


def encoder(window: float, outputs: Sequence[str] | None) -> onnxruntime.InferenceSession:
    """A session on one thread for the edited graph; ``None`` gives the graph as shipped."""
    path = packaged_weights(smart_turn.NAME, (smart_turn._FILE,), sha256=(smart_turn.SHA256,), install="pipecat-ai")
    weights = path.read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = weights if outputs is None else graph.edited(weights, outputs=outputs, window=window)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def stretches(hidden: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Means of ``hidden``, shape (frames, 384), over :data:`EDGES`; shape (9, 384), nan beyond the window."""
    newest_first = hidden[::-1]
    means = np.full((len(EDGES) - 1, hidden.shape[1]), np.nan, dtype=np.float32)
    for index, (low, high) in enumerate(pairwise(EDGES)):
        if low < len(newest_first):
            means[index] = newest_first[low:high].mean(axis=0)
    return means.astype(np.float16)


Snapshot = Callable[[Wave, Pause, np.random.Generator], tuple[Wave, float, float]]
"""Gives what the model hears, the seconds of silence at its end, and the seconds since speech began."""


def plain(wave: Wave, pause: Pause, rng: np.random.Generator) -> tuple[Wave, float, float]:
    del rng
    heard = wave[round(pause.turn_start * RATE) : round((pause.start + MOMENT) * RATE)]
    return heard, MOMENT, pause.start - pause.speech_start


def telephone(wave: Wave, pause: Pause, rng: np.random.Generator) -> tuple[Wave, float, float]:
    heard, moment, elapsed = plain(wave, pause, rng)
    return augment.telephone(heard), moment, elapsed


SHORT_TURN = 1.6
"""Seconds of speech, at most, of a turn that :func:`shortly` makes."""
LEAD = 0.7
"""Seconds of quiet before it, as a running detector has them."""


def shortly(wave: Wave, pause: Pause, rng: np.random.Generator) -> tuple[Wave, float, float]:
    """The pause as if the turn had begun shortly before it: with its last stretch of speech, or in the middle of one.

    What was said is replaced by the recording's own quiet, so that only its length tells that it was there.
    """
    length = pause.start - pause.speech_start
    target = float(rng.uniform(0.3, SHORT_TURN))
    stretches_of_speech = [onset for onset in pause.onsets if 0.15 < pause.start - onset <= SHORT_TURN]
    if length <= target:
        begin = pause.speech_start
    elif stretches_of_speech and rng.random() < 0.8:
        begin = float(rng.choice(stretches_of_speech))
    else:
        begin = max(pause.speech_start, _softest(wave, pause.start - target))
    heard = wave[round(begin * RATE) : round((pause.start + MOMENT) * RATE)].copy()
    fade = min(len(heard), RATE // 100)
    heard[:fade] *= np.linspace(0.0, 1.0, fade, dtype=np.float32)
    return np.concatenate([quiet(wave, round(LEAD * RATE)), heard]), MOMENT, pause.start - begin


def quiet(wave: Wave, size: int) -> Wave:
    """The quietest 0.12 s of ``wave``, to and fro, shape (size,)."""
    power = _power(wave)
    if len(power) <= 12:
        return np.zeros(size, dtype=np.float32)
    at = int(np.convolve(power, np.ones(12), "valid").argmin()) * (RATE // 100)
    part = wave[at : at + 12 * (RATE // 100)]
    return np.resize(np.concatenate([part, part[::-1]]), size).astype(np.float32)


def _softest(wave: Wave, around: float) -> float:
    """The moment within 0.15 s of ``around`` in which the sound is softest: between words, if there is a gap."""
    low, high = max(0, round((around - 0.15) * RATE)), round((around + 0.15) * RATE)
    power = _power(wave[low:high])
    return around if not len(power) else (low + int(np.convolve(power, np.ones(3), "same").argmin()) * 160) / RATE


def _power(wave: Wave) -> npt.NDArray[np.float32]:
    """Mean square of each 10 ms."""
    frame = RATE // 100
    count = len(wave) // frame
    return np.asarray((wave[: count * frame].reshape(count, frame) ** 2).mean(axis=1), dtype=np.float32)


class Noisy:
    """A copy with mild noise (15-30 dB below the speech; in three of ten copies voices) and another level."""

    def __init__(self, babble: Sequence[Wave]) -> None:
        self._babble = babble

    def __call__(self, wave: Wave, pause: Pause, rng: np.random.Generator) -> tuple[Wave, float, float]:
        heard, moment, elapsed = plain(wave, pause, rng)
        voices: list[Wave] = []
        if rng.random() < 0.3:
            voices = [self._babble[int(i)] for i in rng.integers(len(self._babble), size=3)]
        heard = augment.noisy(heard, float(rng.uniform(15.0, 30.0)), rng, voices)
        return heard * np.float32(10.0 ** rng.uniform(-1.0, 0.2)), moment, elapsed


BABBLE_SOURCE = "librispeech"
"""Read, clean, many speakers: voices to mix."""
BABBLE_VOICES = 60


def babble(pauses: Sequence[Pause]) -> list[Wave]:
    """The first recordings of :data:`BABBLE_SOURCE`; of whatever there is, where it is missing."""
    chosen = [pause for pause in pauses if pause.source == BABBLE_SOURCE] or list(pauses)
    recordings = dict.fromkeys((pause.audio, pause.channel) for pause in chosen)
    return [load(*recording) for recording in list(recordings)[:BABBLE_VOICES]]


def extract(
    pauses: Sequence[Pause],
    snapshot: Snapshot,
    *,
    seed: int,
    window: float,
    outputs: Sequence[str],
    cache: Path,
    name: str,
) -> dict[str, npt.NDArray[np.generic]]:
    """Features of ``pauses``, in their order: ``hidden`` (n, layers, 9, 384), ``embedding``, ``logit``, ``moment``,
    ``elapsed``; from ``cache`` if they were computed before with the same arguments and the same ``name``."""
    identity = json.dumps(
        [name, seed, window, list(outputs), graph.REVISION, EDGES, [(p.turn, p.source, p.start) for p in pauses]]
    )
    file = cache / f"{name}-{window:g}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npz"
    if file.is_file():
        return dict(np.load(file))
    session = encoder(window, outputs)
    columns: dict[str, list[npt.NDArray[np.generic]]] = {}
    known: tuple[Path, int] | None = None
    wave = np.zeros(0, dtype=np.float32)
    for index, pause in enumerate(pauses):
        if (pause.audio, pause.channel) != known:
            known, wave = (pause.audio, pause.channel), load(pause.audio, pause.channel)
        rng = np.random.default_rng([seed, index])
        heard, moment, elapsed = snapshot(wave, pause, rng)
        pcm = np.clip(np.round(heard * 32767.0), -32768, 32767)
        features = log_mel((pcm / 32768.0).astype(np.float32), window=window)[np.newaxis]
        values = dict(zip(outputs, session.run(list(outputs), {graph.INPUT: features}), strict=True))
        row = {
            "hidden": np.stack([stretches(values[name][0]) for name in outputs if name in graph.HIDDEN]),
            "moment": np.float32(moment),
            "elapsed": np.float32(elapsed),
        }
        if graph.LOGIT in values:
            row["logit"] = values[graph.LOGIT][0, 0]
        if graph.EMBEDDING in values:
            row["embedding"] = values[graph.EMBEDDING][0]
        for key, value in row.items():
            columns.setdefault(key, []).append(np.asarray(value))
    arrays = {key: np.stack(value) for key, value in columns.items()}
    cache.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".partial.npz")
    np.savez(temporary, **arrays)  # type: ignore[arg-type]
    temporary.replace(file)
    return arrays
