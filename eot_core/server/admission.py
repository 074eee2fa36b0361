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
            max_wait: seconds that a request may have to wait for a thread, as far as can be told.
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
        """Seconds that the next request would wait."""
        mean = self._expected if self._mean is None else self._mean
        return mean * self._inside / self._workers

    def enter(self) -> bool:
        """A request came. False: it would wait too long, and was not let in."""
        if self.expected_wait > self._max_wait:
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
