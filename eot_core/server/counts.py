"""What a gateway counts: plain numbers, kept on the event loop's thread. :mod:`.metrics` shows them to Prometheus."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0)
"""Seconds, upper bounds (inclusive) of the histograms' buckets. A client waits for a second at most."""


REFUSED = (
    *("overloaded", "draining", "upgrade_required", "missing", "malformed"),
    *("unknown_key", "bad_signature", "not_yet_valid", "expired", "not_permitted"),
)
ENDED = (
    *("client", "lost", "violation", "no_session_create", "idle"),
    *("slow_reader", "model_unavailable", "internal_error", "going_away"),
)
REQUESTS = (
    *(("answered", ""), ("default", "no_audio"), ("superseded", ""), ("stopped", ""), ("abandoned", "")),
    *(("failed", reason) for reason in ("overloaded", "expired", "model_error", "model_hung", "model_unavailable")),
)
"""What there is to count, other failures aside. All begin at 0: of a counter that appears with its first failure
Prometheus has no rate for that one."""


class Durations:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        """Observations up to each bound and above the one before; the last: above all."""
        self.total = 0.0
        """Sum of all, in seconds."""

    def observe(self, seconds: float) -> None:
        """Count one; a negative one, or none that is a number, counts as 0."""
        seconds = seconds if 0 <= seconds < math.inf else 0.0
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class GatewayCounts:
    """Since the gateway was made."""

    refused: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(REFUSED, 0)))
    """Clients that did not get in, by reason: "overloaded", "draining", "upgrade_required", or a code of
    :class:`eot_core.protocol.auth.AuthError` ("missing" for no token)."""
    started: int = 0
    """Sessions."""
    ended: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(ENDED, 0)))
    """Sessions, by what ended them: "client" (closed), "lost" (gone without a word), "violation", "no_session_create",
    "idle", "slow_reader", "model_unavailable", "internal_error" or "going_away"."""
    requests: Counter[tuple[str, str]] = field(default_factory=lambda: Counter(dict.fromkeys(REQUESTS, 0)))
    """Requests by outcome and reason: ("answered", ""), ("default", "no_audio"), ("stopped", "") by the client,
    ("superseded", "") by a newer one, ("abandoned", "") with its session, or ("failed", why); the client ends the turn
    on its own then, or asks its local model."""
    audio_seconds: float = 0.0
    """Of audio received."""
    prepared: Durations = field(default_factory=Durations)
    """From a request's arrival to its audio being ready for the model: resampling, and the search for the onset."""
    queued: Durations = field(default_factory=Durations)
    """Waiting for a thread."""
    inferred: Durations = field(default_factory=Durations)
    """The model's own work."""
    answered: Durations = field(default_factory=Durations)
    """From a request's arrival to its answer."""
    loop_lag: Durations = field(default_factory=Durations)
    """How late the event loop is; looked at twice a second."""
