"""What waits to be sent over a WebSocket: audio, and between it requests and the ends of turns, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from ..models.base import PcmArray

MAX_BACKLOG = 10.0
"""Seconds of audio that wait to be sent, at most. More than any model here looks at (8 s), and far more than a
prediction waits for."""
MAX_CHUNK = 1.0
"""Seconds of audio in one message, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """int16 mono of shape (n,), at the rate of the wire, and when it was captured, in the caller's seconds."""

    pcm: PcmArray
    captured_at: float


@dataclass(frozen=True, slots=True)
class Start:
    """A request."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Stop:
    """A request that nobody waits for any more."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Flush:
    """The end of a turn."""


Item = Audio | Start | Stop | Flush


class Outbox:
    """For one connection, on one event loop."""

    def __init__(self, sample_rate: int) -> None:
        """
        Args:
            sample_rate: of the audio, in Hz.
        """
        self._items: deque[Item] = deque()
        self._chunk = round(MAX_CHUNK * sample_rate)
        self._bound = round(MAX_BACKLOG * sample_rate)
        self._backlog = 0  # samples
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def overfull(self) -> bool:
        """Whether more than :data:`MAX_BACKLOG` of audio waits."""
        return self._backlog > self._bound

    def put(self, item: Start | Stop | Flush) -> None:
        """Behind all that waits."""
        self._items.append(item)
        self._changed.set()

    def put_audio(self, pcm: PcmArray, captured_at: float) -> None:
        """Behind all that waits, in pieces of :data:`MAX_CHUNK`; ``pcm`` is copied, int16 of shape (n,)."""
        for begin in range(0, len(pcm), self._chunk):
            piece = pcm[begin : begin + self._chunk].copy()
            self._backlog += len(piece)
            self._items.append(Audio(piece, captured_at))
            self._changed.set()

    def withdraw(self, item: Start) -> bool:
        """Take a request back. False: it does not wait here (any more)."""
        if item not in self._items:
            return False
        self._items.remove(item)
        return True

    def drop_oldest_audio(self) -> None:
        """Down to :data:`MAX_BACKLOG`: what no model looks at any more. Requests and turn ends keep their places."""
        kept: deque[Item] = deque()
        for item in self._items:
            if isinstance(item, Audio) and self.overfull:
                self._backlog -= len(item.pcm)
            else:
                kept.append(item)
        self._items = kept

    def take(self) -> Item:
        """The oldest.

        Raises:
            IndexError: nothing waits.
        """
        item = self._items.popleft()
        if isinstance(item, Audio):
            self._backlog -= len(item.pcm)
        return item

    async def wait(self) -> None:
        """Until something waits, or the outbox was closed."""
        self._changed.clear()
        if not self._items and not self._closed:
            await self._changed.wait()

    def close(self) -> None:
        """Throw away what waits, and let nobody wait any more."""
        self._closed = True
        self._items.clear()
        self._backlog = 0
        self._changed.set()
