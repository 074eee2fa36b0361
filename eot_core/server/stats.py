"""The times of one request, for :class:`eot_core.protocol.InferenceStats`."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol import InferenceStats

_MAX_LATENCY = 60.0
"""Seconds. No request lives that long, so a greater difference between two clocks is one of the clocks."""


@dataclass(slots=True)
class RequestTimes:
    """What is known of a request that is under way."""

    arrived_at: float
    """Seconds of the gateway's clock."""
    prepared_in: float = 0.0
    """Seconds of resampling, copying, and searching for the onset, the wait for a thread included."""
    earliest: float | None = None
    latest: float | None = None
    """Capture times of its audio: Unix seconds of the client's clock."""

    def stats(self, *, now: float, wall: float, inference_time: float) -> InferenceStats:
        """The statistics of its answer.

        Args:
            now: seconds of the gateway's clock.
            wall: Unix seconds.
            inference_time: seconds of the model's work.
        """
        since_capture = None if self.latest is None else wall - self.latest
        return InferenceStats(
            earliest_client_created_at=self.earliest,
            latest_client_created_at=self.latest,
            client_e2e_latency=since_capture
            if since_capture is not None and 0 <= since_capture <= _MAX_LATENCY
            else None,
            server_e2e_latency=max(0.0, now - self.arrived_at),
            preprocessing_duration=max(0.0, self.prepared_in),
            inference_duration=inference_time if 0 <= inference_time <= _MAX_LATENCY else 0.0,
        )
