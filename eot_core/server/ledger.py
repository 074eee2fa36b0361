"""The requests of one session that are under way, and what came of the others."""

from __future__ import annotations

import math

from .admission import Admission
from .counts import GatewayCounts
from .stats import RequestTimes


class RequestLedger:
    """Each request that was let in is settled exactly once: for the session, the counts and the admission alike."""

    def __init__(self, counts: GatewayCounts | None, admission: Admission | None) -> None:
        """
        Args:
            counts: of the gateway; None: its own.
            admission: of the gateway; None: every request is let in.
        """
        self.counts = counts or GatewayCounts()
        self._admission = admission or Admission(math.inf, 1)
        self._open: dict[str, RequestTimes] = {}

    def __len__(self) -> int:
        return len(self._open)

    def get(self, request_id: str) -> RequestTimes | None:
        """Of a request that is under way."""
        return self._open.get(request_id)

    def enter(self, request_id: str, now: float) -> bool:
        """A request came at ``now``, in seconds of the gateway's clock. False: it was not let in, and is counted."""
        if not self._admission.enter():
            self.counts.requests["failed", "overloaded"] += 1
            return False
        self._open[request_id] = RequestTimes(now)
        return True

    def settle(self, request_id: str, outcome: str, reason: str = "") -> RequestTimes | None:
        """What came of a request; None for one that is not under way. See :attr:`GatewayCounts.requests`."""
        times = self._open.pop(request_id, None)
        if times is not None:
            self.counts.requests[outcome, reason] += 1
            self._admission.leave()
        return times

    def answered(self, request_id: str, *, now: float, queued: float, worked: float) -> RequestTimes | None:
        """The same for an answer.

        Args:
            request_id: of a request, perhaps of one that is not under way.
            now: seconds of the gateway's clock.
            queued: seconds that it waited for a thread.
            worked: seconds that the model worked.
        """
        times = self._open.pop(request_id, None)
        if times is not None:
            self.counts.requests["answered", ""] += 1
            self._admission.leave(worked if math.isfinite(worked) else None)
            self.counts.prepared.observe(times.prepared_in)
            self.counts.queued.observe(queued)
            self.counts.inferred.observe(worked)
            self.counts.answered.observe(now - times.arrived_at)
        return times

    def abandon(self) -> None:
        """The session is over."""
        for request_id in list(self._open):
            self.settle(request_id, "abandoned")
