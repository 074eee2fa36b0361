"""Operating points: what a user wants ("quick", at most 5 % cutoffs) as threshold and delays of any model and language.

A raw threshold means nothing: at 300 ms of latency the best published one in English is 0.05 for smart-turn v3.2 and
0.57 for turn-detector-v1. What was measured is in a table, for each model and language: policies with their rate of
false cutoffs (holds that are taken for the end of the turn) and their mean latency. Pure, and light to import.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from .endpointing import EndpointingOptions
from .languages import DEFAULT_LANGUAGE, language_key
from .options import check_seconds
from .policy_table import MeasuredPolicy, ModelPolicies, OperatingPointError, OwnHead, PolicyTable
from .thresholds import check_probability

Name = Literal["quick", "balanced", "patient"]

QUICK_LATENCY = 0.3
"""Seconds: "quick" has the fewest cutoffs at this mean latency."""
BALANCED_CUTOFF_RATE = 0.10
PATIENT_CUTOFF_RATE = 0.05
"""Shares of holds: the shortest latency within them, but no point is quicker than the one named before it."""

LONGEST_LATENCY = 10.0
"""Seconds: nobody waits so long for an answer. More is a number of milliseconds."""

_SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class ResolvedPoint:
    """An operating point for one model and language."""

    model: str
    language: str
    """The language that the figures were measured in; not the one asked for where that was not measured."""
    threshold: float
    """On the scale of the model, 0..1."""
    options: EndpointingOptions
    provenance: str
    """Where the figures come from, and what they are not: one or two sentences."""
    cutoff_rate: float
    """Share of holds that were cut off when this was measured, 0..1."""
    latency: float
    """Mean delay at the end of a turn when this was measured, in seconds."""
    within_budget: bool = True
    """False where no measured policy keeps to what was asked; this is then the nearest."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a user wants, whichever model runs. One of the three first; frozen, and checked when it is made.

    ``OperatingPoint("quick")``, ``OperatingPoint(max_cutoff_rate=0.05)``, ``OperatingPoint(max_latency=0.3)``.

    Raises:
        ValueError: none of the three is given, or more than one, or one is out of range.
        OperatingPointError: (a ValueError) the calibration file cannot be used.
    """

    name: Name | None = None
    """"quick": the fewest cutoffs at 300 ms. "balanced": at most 10 % cutoffs. "patient": at most 5 %. No name is
    quicker than the one before it."""
    max_cutoff_rate: float | None = None
    """Share of the pauses inside turns that may be taken for their end, 0..1; the latency is then the shortest."""
    max_latency: float | None = None
    """Mean seconds from the end of speech to the end of the turn; the cutoffs are then the fewest."""
    calibration: str | os.PathLike[str] | PolicyTable | None = field(default=None, kw_only=True)
    """A calibration file, or its content; it counts before the published table, for the models and the languages that
    are in it."""
    published: bool = field(default=True, kw_only=True)
    """False: nothing holds for a model that the calibration file does not have."""

    def __post_init__(self) -> None:
        given = [n for n in ("name", "max_cutoff_rate", "max_latency") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                "give one of name, max_cutoff_rate and max_latency"
                + (f", not {' and '.join(given)}" if given else ': for example OperatingPoint("balanced")')
            )
        if self.name is not None and self.name not in get_args(Name):
            raise ValueError(f"name must be one of {', '.join(get_args(Name))}, got {self.name!r}")
        if self.max_cutoff_rate is not None:
            object.__setattr__(self, "max_cutoff_rate", check_probability(self.max_cutoff_rate, "max_cutoff_rate"))
        if self.max_latency is not None:
            object.__setattr__(self, "max_latency", check_seconds(self.max_latency, "max_latency", positive=True))
            if self.max_latency > LONGEST_LATENCY:
                raise ValueError(f"max_latency is in seconds, at most {LONGEST_LATENCY:g}, got {self.max_latency!r}")
        if self.calibration is not None and not isinstance(self.calibration, PolicyTable):
            object.__setattr__(self, "calibration", PolicyTable.load(self.calibration))

    @classmethod
    def parse(cls, value: str | OperatingPoint) -> OperatingPoint:
        """What a user passed as ``operating_point``: a name, or a point.

        Raises:
            ValueError: it is another string.
            TypeError: it is neither.
        """
        if isinstance(value, OperatingPoint):
            return value
        if not isinstance(value, str):
            raise TypeError(f"operating_point must be a name or an OperatingPoint, got {type(value).__name__}")
        if value not in get_args(Name):
            raise ValueError(f"operating_point must be one of {', '.join(get_args(Name))}, got {value!r}")
        return cls(value)  # type: ignore[arg-type]  # checked just now

    @property
    def description(self) -> str:
        """In short, for a report: "quick", "max_cutoff_rate=0.05"."""
        if self.name is not None:
            return self.name
        if self.max_cutoff_rate is not None:
            return f"max_cutoff_rate={self.max_cutoff_rate:g}"
        return f"max_latency={self.max_latency:g}"

    def knows(self, model: str) -> bool:
        """Whether anything was measured for ``model`` (a full name)."""
        return bool(self._measured(model))

    def heads(self, model: str) -> Mapping[str, OwnHead]:
        """Heads of one's own that the calibration file has for ``model`` (a full name), by language key."""
        return next((table.heads for table in self._measured(model)), {})

    def resolve(self, model: str, language: str | None = None, *, head: str | None = None) -> ResolvedPoint:
        """Threshold and delays for a model and a language.

        Figures for the language itself go first, those of the calibration file before the published ones; then those
        for English, or, where English was not measured, for another language, from the same two places.

        Args:
            model: full name, for example "smart-turn-v3.2".
            language: any BCP-47 tag. Where it is None or names no language, the calibration file's English counts, or
                its only language.
            head: the score came from the calibration file's head for this language (key): what was measured with that
                head counts, whatever ``language`` is. None: from the model as it is shipped.

        Raises:
            OperatingPointError: nothing was measured for ``model``, or there is no such head; the message says what
                to do.
        """
        tables = self._measured(model)
        if not tables:
            raise OperatingPointError(
                f"no operating point was measured for {model}: measure one (eot tune) and pass its calibration file, "
                "or set threshold and delays by hand"
            )
        named = language_key(language)
        asked = named or DEFAULT_LANGUAGE
        if head is None:
            policies = next((table for table in tables if named in table.languages), tables[0])
            key = next((k for k in (asked, DEFAULT_LANGUAGE) if k in policies.languages), min(policies.languages))
            measured = policies.languages[key]
        else:
            policies = tables[0]
            if head not in policies.heads:
                raise OperatingPointError(f"the calibration file has no head for {model} in {head!r}")
            asked = key = head
            measured = policies.heads[head].points
        chosen, within = self.choose(measured)
        borrowed = "" if key == asked else f" Nothing was measured for {asked!r}; these are the figures for {key!r}."
        return ResolvedPoint(
            model=model,
            language=key,
            threshold=chosen.threshold,
            options=chosen.options,
            provenance=policies.provenance + borrowed,
            cutoff_rate=chosen.cutoff_rate,
            latency=chosen.latency,
            within_budget=within,
        )

    def _measured(self, model: str) -> list[ModelPolicies]:
        """What was measured of ``model``: the calibration file's, then the published."""
        own = self.calibration.models.get(model) if isinstance(self.calibration, PolicyTable) else None
        published = PolicyTable.published().models.get(model) if self.published or own is not None else None
        return [policies for policies in (own, published) if policies is not None]

    def choose(self, measured: tuple[MeasuredPolicy, ...]) -> tuple[MeasuredPolicy, bool]:
        """The one of some measured policies (at least one) that is meant, and whether it keeps to what was asked."""
        if self.max_latency is not None:
            return _fewest_cutoffs(measured, self.max_latency)
        if self.max_cutoff_rate is not None:
            return _shortest_latency(measured, self.max_cutoff_rate)
        steps = [
            _fewest_cutoffs(measured, QUICK_LATENCY),
            _shortest_latency(measured, BALANCED_CUTOFF_RATE),
            _shortest_latency(measured, PATIENT_CUTOFF_RATE),
        ]
        chosen, within = steps[0]
        for better, fits in steps[1 : 1 + _STEPS[self.name]]:
            # A strong model keeps to 10 % well below 300 ms: what is already better in both stays.
            if better.cutoff_rate < chosen.cutoff_rate - _SLACK:
                chosen = better
            within = fits
        # What was measured on other calls than it was chosen on need not come in order: "quick" may be the slowest.
        return _best_of_both(measured, chosen), within


def _best_of_both(measured: tuple[MeasuredPolicy, ...], chosen: MeasuredPolicy) -> MeasuredPolicy:
    """A policy that is better than ``chosen`` in one of the two and as good in the other, where there is one."""
    as_good = [p for p in measured if p.cutoff_rate <= chosen.cutoff_rate and p.latency <= chosen.latency]
    return min(as_good, key=lambda p: (p.cutoff_rate, p.latency))


_STEPS: Mapping[str | None, int] = {"quick": 0, "balanced": 1, "patient": 2}


def _fewest_cutoffs(measured: tuple[MeasuredPolicy, ...], latency: float) -> tuple[MeasuredPolicy, bool]:
    fitting = [p for p in measured if p.keeps_latency(latency)]
    if fitting:
        return min(fitting, key=lambda p: (p.cutoff_rate, p.latency)), True
    return min(measured, key=lambda p: (p.latency, p.cutoff_rate)), False


def _shortest_latency(measured: tuple[MeasuredPolicy, ...], rate: float) -> tuple[MeasuredPolicy, bool]:
    fitting = [p for p in measured if p.keeps_cutoff_rate(rate)]
    if fitting:
        return min(fitting, key=lambda p: (p.latency, p.cutoff_rate)), True
    return min(measured, key=lambda p: (p.cutoff_rate, p.latency)), False
