"""The prediction that comes of a model's answer, or of there being none. Pure.

Numbers of an answer come from the far end, or from a model of the user's own, and may be nonsense.
"""

from __future__ import annotations

import math

from .effects import Route
from .events import Outcome, Prediction
from .transports.base import Answer, InferenceRequest


def probability_of(answer: Answer, head: str | None) -> float | None:
    """The probability that counts, 0..1; None where the answer holds none.

    Args:
        answer: from a model.
        head: language key of the head of one's own that is to judge; None: the model as it is shipped.
    """
    return _checked(answer.probability if head is None else answer.by_head.get(head))


def answered(
    request: InferenceRequest,
    answer: Answer,
    probability: float,
    *,
    route: Route,
    model: str,
    started_at: float,
    now: float,
    backchannels: bool,
) -> Prediction:
    """The prediction of a model.

    Args:
        request: that was answered.
        answer: to it.
        probability: see :func:`probability_of`.
        route: it came from.
        model: its full name.
        started_at: when the request was given to the route that answered; what was before counts as waiting.
        now: when the answer came, in seconds of the session's clock, as ``started_at``.
        backchannels: whether the model's word on them is to be had at all.
    """
    return Prediction(
        probability=probability,
        outcome=Outcome.ANSWERED,
        reason=None,
        model=model,
        source="cloud" if route is Route.CLOUD else "local",
        request_id=request.request_id,
        backchannel_probability=_checked(answer.backchannel_probability) if backchannels else None,
        queue_time=_seconds(answer.queue_time) + started_at - request.created_at,
        network_time=_seconds(answer.network_time),
        inference_time=_seconds(answer.inference_time),
        detection_delay=now - request.created_at,
    )


def unanswered(request_id: str, outcome: Outcome, reason: str, *, model: str) -> Prediction:
    """The prediction where no model gave one: a default ends the turn, nothing else does (see :class:`Prediction`)."""
    return Prediction(1.0 if outcome is Outcome.DEFAULT else 0.0, outcome, reason, model, "default", request_id)


def _checked(probability: float | None) -> float | None:
    if probability is None or not (math.isfinite(probability) and 0.0 <= probability <= 1.0):
        return None
    return float(probability)


def _seconds(value: float) -> float:
    """A duration that a far end may have got wrong."""
    return value if math.isfinite(value) and value > 0 else 0.0
