"""Whether one more request can be answered in time."""

from __future__ import annotations

_WEIGHT = 0.1
"""Of the newest request in the mean: it follows a change within some ten requests."""


class Admission:
    """Counts the requests of all sessions, and how long the model takes for one.

    With more requests than it can serve, a gateway that queues them all answers each one just before its time is up,
    when nobody waits for it any more. One that refuses some at once answers the others in time, and the clients that
    were refused still have the time to ask their local model.
    """

    def __init__(self, max_wait: float, workers: int) -> None:
        """
        Args:
            max_wait: seconds that a request may have to wait for its answer, as far as can be told.
            workers: threads that serve them.
        """
        self._max_wait = max_wait
        self._workers = workers
        self._inside = 0
        self._expected = 0.0
        self._mean: float | None = None

    def expect(self, worked: float) -> None:
        """What the model takes for one, in seconds; until the first is answered."""
        self._expected = worked

    @property
    def inside(self) -> int:
        """Requests that wait or are worked on."""
        return self._inside

    @property
    def expected_wait(self) -> float:
        """Seconds that the next request would wait for a thread."""
        return self._work * self._inside / self._workers

    @property
    def _work(self) -> float:
        return self._expected if self._mean is None else self._mean

    def enter(self) -> bool:
        """A request came. False: its answer would be late, and it was not let in.

        To the client of an answer that is late the gateway has failed; one that is refused has its local model answer.
        """
        answer = self._work * max(1.0, (self._inside + 1) / self._workers)
        if self._inside and answer > self._max_wait:  # alone it always is, or nobody would notice that it got better
            return False
        self._inside += 1
        return True

    def leave(self, worked: float | None = None) -> None:
        """A request that was let in is over.

        Args:
            worked: seconds that the model worked on it; None where it did not, or not to the end.
        """
        self._inside -= 1
        if worked is not None:
            self._mean = worked if self._mean is None else self._mean + _WEIGHT * (worked - self._mean)
