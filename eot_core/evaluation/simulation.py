"""The Endpointer itself on scored pauses: what is tuned is what runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..endpointing import Endpointer, EndpointingOptions
from ..events import Outcome, Prediction, TurnDecision
from .pauses import Floats, Pauses

RESCORE_EVERY = 0.2
"""Seconds between the scores of one pause, where a policy re-scores."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the Endpointer is given."""

    threshold: float
    options: EndpointingOptions

    @classmethod
    def of(cls, family: str, parameters: Mapping[str, float]) -> Policy:
        """The policy that a sweep of ``family`` ("step", "continuous", "rescored", "delay") has found."""
        p = parameters
        if family == "delay":
            return cls(0.0, EndpointingOptions(p["timeout"], p["timeout"]))
        if family == "step":
            return cls(min(1.0, p["threshold"]), EndpointingOptions(p["action_delay"], p["timeout"]))
        if family in ("continuous", "rescored"):
            again = RESCORE_EVERY if family == "rescored" else None
            return cls(0.5, EndpointingOptions(p["min_delay"], p["max_delay"], p["exponent"], again))
        raise ValueError(f"family {family!r} is unknown: step, continuous, rescored or delay")


def simulate(policy: Policy, pauses: Pauses) -> list[TurnDecision]:
    """The decision for each pause if the silence lasted; times in seconds from the end of speech.

    Scores further on are given where the Endpointer asks for them, and where there are any.
    """
    endpointer = Endpointer(policy.options)
    decisions = []
    for i in range(len(pauses)):
        endpointer.speech_ended(0.0)
        decision = endpointer.predicted(_said(pauses.score[i]), policy.threshold, float(pauses.answered_at[i]))
        for at, score in zip(pauses.later_at, pauses.later[i], strict=True):
            due = endpointer.rescore_at
            if due is not None and due <= at + 1e-6 and np.isfinite(score):
                decision = endpointer.predicted(_said(score), policy.threshold, float(at))
        if decision is None:  # cannot be: a pause is being followed
            raise RuntimeError("the Endpointer decided nothing in a pause")
        decisions.append(decision)
        endpointer.turn_ended()
    return decisions


def delays(policy: Policy, pauses: Pauses) -> Floats:
    """Seconds from the end of speech to the end of the turn for each pause, shape (n,)."""
    return np.array([decision.delay for decision in simulate(policy, pauses)])


def _said(probability: float) -> Prediction:
    return Prediction(float(probability), Outcome.ANSWERED, None, "", "local", "")
