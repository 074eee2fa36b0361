"""What our models' heads see at each pause, kept while the pause is scored: a head of one's own is fitted on it.

The encoder runs once for each pause, as it does for the score alone. Features go to a file, 12 kB a pause for
eot-open-1, so that hours of calls do not fill the memory; a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from ..models.base import Model, ModelError, ModelSpec, PcmArray
from ..models.eot_open import EotOpen
from ..models.own_head import takes_heads
from .cache import item_key
from .items import Item
from .pauses import Bools
from .recording import Recording
from .scored import ScoredSet
from .scorers import ModelScorer
from .tuning_logs import LoggedScores

_VERSION = 1
_KEY = 64
_IN_MEMORY = 1 << 40
"""Numbers of records from here on are of those that the file did not take."""

Rows = npt.NDArray[np.intp]


class FeatureStore:
    """Scores and features of one model, a record of fixed length for each pause; appended, and read where needed.

    What the file does not take (a full disk, a folder that cannot be written) is in memory.
    """

    def __init__(
        self,
        folder: Path | None,
        fingerprint: str,
        size: int,
        not_kept: Callable[[OSError], None] = lambda error: None,
    ) -> None:
        """
        Args:
            folder: made if need be; None keeps the records until :meth:`close` only.
            fingerprint: of the model and of how it is given its audio.
            size: of the features of a pause.
            not_kept: told why records are in memory alone.
        """
        self._type = np.dtype([("key", f"S{_KEY}"), ("at", "<f8"), ("score", "<f8"), ("features", "<f2", (size,))])
        self._temporary = tempfile.TemporaryDirectory() if folder is None else None
        folder = Path(self._temporary.name) if self._temporary is not None else cast(Path, folder)
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", fingerprint)[:60]
        digest = hashlib.sha256(f"{_VERSION}:{size}:{fingerprint}".encode()).hexdigest()[:16]
        self.path = folder / f"{name}-{digest}.features"
        self._not_kept = not_kept
        self._file: BinaryIO | None = None
        self._rows: dict[tuple[bytes, float], int] = {}
        self._in_memory: list[npt.NDArray[Any]] = []
        self._takes_more = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            self._refused(error)

    def _open(self) -> None:
        if not self.path.exists():
            return
        whole, rest = divmod(self.path.stat().st_size, self._type.itemsize)
        if rest:  # a run was cut short
            os.truncate(self.path, whole * self._type.itemsize)
        if whole:
            known = self._records()
            self._rows = {
                (bytes(key), float(at)): row
                for row, (key, at) in enumerate(zip(known["key"], known["at"], strict=True))
            }

    def _refused(self, error: OSError) -> None:
        self._takes_more = False
        self._not_kept(error)

    def row(self, key: str, at: float) -> int | None:
        """Number of the record for a recording (:func:`item_key`) and a moment, in seconds; None: there is none."""
        return self._rows.get((key.encode(), round(at, 6)))

    def score(self, row: int) -> float:
        """Of a record."""
        if row >= _IN_MEMORY:
            return float(self._in_memory[row - _IN_MEMORY]["score"][0])
        return float(self._records()["score"][row])

    def put(self, key: str, at: float, score: float, features: npt.NDArray[np.float32]) -> int:
        """Keep a pause; on disk when this returns, unless that takes none. Returns the number of its record."""
        record = np.zeros(1, dtype=self._type)
        record[0] = (key.encode(), round(at, 6), score, features)
        row = self._append(record.tobytes()) if self._takes_more else None
        if row is None:
            row = _IN_MEMORY + len(self._in_memory)
            self._in_memory.append(record)
        self._rows[key.encode(), round(at, 6)] = row
        return row

    def _append(self, record: bytes) -> int | None:
        """The number of the record; None: the file takes no more."""
        try:
            if self._file is None:
                self._file = self.path.open("ab", buffering=0)
            written = self._file.write(record)
            if written == len(record):
                return self._file.tell() // self._type.itemsize - 1
            # The disk took a part: without it the next record would begin in the middle of one.
            self._file.truncate(self._file.tell() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError as error:
            self._refused(OSError(error.errno, error.strerror, str(self.path)))
            return None

    def features(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Of records, shape (len(rows), size)."""
        if not len(rows):
            return np.zeros((0, self._type["features"].shape[0]), dtype=np.float32)
        if np.max(rows) < _IN_MEMORY:
            return np.asarray(self._records()["features"][rows], dtype=np.float32)
        found = np.empty((len(rows), self._type["features"].shape[0]), dtype=np.float32)
        on_disk = rows < _IN_MEMORY
        if on_disk.any():
            found[on_disk] = self._records()["features"][rows[on_disk]]
        for into in np.flatnonzero(~on_disk):
            found[into] = self._in_memory[rows[into] - _IN_MEMORY]["features"][0]
        return found

    def close(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._temporary is not None:
            self._temporary.cleanup()

    def _records(self) -> npt.NDArray[Any]:
        return np.memmap(self.path, dtype=self._type, mode="r")


@dataclass(frozen=True, slots=True, eq=False)
class PauseFeatures:
    """Features of a set of pauses."""

    store: FeatureStore
    rows: Rows
    """Shape (n, 1 + k): record of each pause's first score and of the k further ones; -1 where there is none."""

    def where(self, mask: Bools) -> PauseFeatures:
        """Those of the pauses that ``mask`` picks."""
        return PauseFeatures(self.store, self.rows[mask])

    def read(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Of records, shape (len(rows), d)."""
        return self.store.features(rows)


class _Listening:
    """Our model, which remembers what its head saw last."""

    def __init__(self, model: EotOpen) -> None:
        self._model = model
        self.features: npt.NDArray[np.float32] = np.zeros(0, dtype=np.float32)

    def predict(self, pcm: PcmArray) -> float:
        self.features = self._model.features(pcm)
        return self._model.head.score(self.features)


class HeadScorer(ModelScorer):
    """Scores as :class:`ModelScorer` does, and keeps what the head saw. It has a store of its own instead of a
    ``fingerprint``, which would let scores be taken from where there are no features."""

    def __init__(
        self, spec: ModelSpec, cache: Path | None, not_kept: Callable[[OSError], None] = lambda error: None
    ) -> None:
        """
        Args:
            spec: one of our models (:func:`takes_heads`).
            cache: folder for scores and features; None keeps none beyond :meth:`close`.
            not_kept: told why they are not kept there.
        """
        if not takes_heads(spec):
            raise ValueError(f"{spec.name} takes no head of one's own")
        super().__init__(spec)
        self._kept_as = f"{self.fingerprint}-features"
        self.fingerprint = None
        self._cache = cache
        self._not_kept = not_kept
        self._listening: _Listening | None = None
        self._store: FeatureStore | None = None
        self._seen: dict[tuple[str, str], dict[float, int]] = {}
        self.predictions = 0
        """How many the model was asked for."""

    def prepare(self) -> None:
        """See :class:`~.scorers.Scorer`."""
        super().prepare()
        model = cast(EotOpen, self._model)
        self._listening = _Listening(model)
        self._model = cast(Model, self._listening)
        if self._store is None:
            self._store = FeatureStore(self._cache, self._kept_as, len(model.head.weights), self._not_kept)

    def score(self, item: Item, recording: Recording, at: float) -> float:
        """See :class:`~.scorers.Scorer`."""
        if self._listening is None or self._store is None:
            raise ModelError(f"{self.name} is not loaded: call prepare() first")
        key = item_key(item.audio.checksum(), item.turn_start, item.channel, is_excerpt=item.is_excerpt)
        row = self._store.row(key, at)
        if row is None:
            self.predictions += 1
            value = super().score(item, recording, at)
            row = self._store.put(key, at, value, self._listening.features)
        else:
            value = self._store.score(row)
        self._seen.setdefault((item.id, item.cluster), {})[round(at, 6)] = row
        return value

    def of_items(self, scored: ScoredSet) -> PauseFeatures:
        """Features of the pauses of :meth:`ScoredSet.for_model`, in their order."""
        moments = scored.options.moments
        rows = np.full((len(scored.pauses), len(moments)), -1, dtype=np.intp)
        for number, (pause, scores) in enumerate(zip(scored.pauses, scored.scores[self.name], strict=True)):
            seen = self._seen[pause.item.id, pause.item.cluster]
            for moment, (into, score) in enumerate(zip(moments, scores, strict=True)):
                if np.isfinite(score):
                    rows[number, moment] = seen[round(pause.span.start + into, 6)]
        return self._features(rows)

    def of_logs(self, scored: LoggedScores) -> PauseFeatures:
        """Features of the pauses of :meth:`LoggedScores.for_model`, in their order."""
        rows = [next(iter(self._seen[pause.request, pause.stream].values())) for pause in scored.pauses]
        return self._features(np.array(rows, dtype=np.intp).reshape(-1, 1))

    def close(self) -> None:
        """Idempotent."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _features(self, rows: Rows) -> PauseFeatures:
        assert self._store is not None  # somebody scored
        return PauseFeatures(self._store, rows)


def head_scorers(
    scorers: Sequence[ModelScorer], cache: Path | None, not_kept: Callable[[OSError], None] = lambda error: None
) -> list[ModelScorer]:
    """The same, keeping what heads see where a model has one of ours."""
    return [HeadScorer(s.spec, cache, not_kept) if takes_heads(s.spec) else s for s in scorers]
