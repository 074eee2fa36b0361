"""One cell of the matrix: a case at a moment, what became of it, and what is expected of every one."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from fakes import FakeModel, fake_spec
from fault_cases import CLOUD, LOCAL, Case, Moment

from eot_core.models.base import Model, ModelNotInstalledError, ModelSpec

KEY, SECRET = "APIfaultmatrix", "a-secret-that-is-long-enough-for-hs256"

DEADLINE = 1.0
"""Seconds; LiveKit's, and ours."""
MIN_DELAY = 0.3
"""Seconds from the end of speech to the end of a turn, with a detector."""
SILENCE = 0.25
"""Seconds after which a pause is a pause."""
LEAD, SPEECH, LONG_SPEECH = 0.3, 1.0, 16.0
"""Seconds before the first speech, and of speech."""
RETRY_INTERVAL = 0.1


class Mode(enum.Enum):
    """What stands behind the cloud."""

    FALLBACK = "a local model"
    NO_FALLBACK = "`local_fallback=False`"
    NO_MODEL = "no local model to be had"


def _not_there() -> Model:
    raise ModelNotInstalledError("local-model is not installed: pip install local-model")


_SPECS = {
    Mode.FALLBACK: fake_spec(FakeModel(LOCAL), name="local-model"),
    Mode.NO_MODEL: fake_spec(name="local-model", load=_not_there),
}


def local_model(mode: Mode) -> ModelSpec | None:
    """Given as ``fallback_model``."""
    return _SPECS.get(mode)


@dataclass
class Turn:
    """What became of one turn."""

    by: str = "nobody"
    """Source of the prediction, or what became of the request."""
    why: str | None = None
    probability: float | None = None
    resolved: float | None = None
    """From request to answer, as a fraction of the deadline."""
    ended: float | None = None
    """Seconds from the true end of speech to the end of the turn; None: it did not end."""


@dataclass
class Row:
    """A line of the table."""

    case: Case
    moment: Moment
    mode: Mode
    reasons: list[str] = field(default_factory=list)
    """Of the fallbacks that were announced."""
    turns: list[Turn] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    struck: bool = False
    """Whether the fault struck, and (in flight) a request was in flight then."""
    pending: int = 0
    """Futures that were never resolved."""
    left: list[str] = field(default_factory=list)

    @property
    def expected_reason(self) -> str | None:
        stays = self.case.reason == "timeout" and self.mode is Mode.NO_FALLBACK
        return None if stays else self.case.reason


def expected(case: Case, moment: Moment, mode: Mode, turn: int, *, session: bool) -> Turn:
    """What a turn should come to, but for when it ends."""
    in_flight = moment is Moment.FLIGHT and turn == case.turn
    at = 0.1 if in_flight else 0.0
    if in_flight and case.connect_timeout:  # counted from the opening; LiveKit asks a frame earlier than our driver
        at = 0.2 if session else 0.15
    if case.closes_stream:
        return Turn("cancelled", "closed", 0.0, at) if in_flight else Turn("default", "closed", 1.0, 0.0)
    if case.reason is None or (
        mode is Mode.NO_FALLBACK and case.reason == "timeout" and turn == 2 and case.answers_after
    ):
        return Turn("cloud", None, CLOUD, at)
    if case.late is not None and (turn == 1 or mode is Mode.NO_FALLBACK):
        at = 1.0 if mode is Mode.NO_FALLBACK else case.late
    if mode is Mode.FALLBACK:
        return Turn("local", None, LOCAL, at)
    if mode is Mode.NO_MODEL:
        return Turn("default", "model_unavailable", 1.0, at)
    if case.reason == "timeout":
        return Turn("default", "timeout", 1.0, at)
    if in_flight:
        return Turn("default", case.reason, 1.0, at + case.retries * RETRY_INTERVAL)
    return Turn("default", "cloud_unavailable", 1.0, at)


def check(row: Row, *, session: bool = False) -> None:
    """What holds in every cell. ``session``: it is one of an AgentSession, which ends with the stream."""
    assert row.struck, "the fault did not strike when it should: the cell shows nothing"
    assert row.pending == 0
    assert row.left == []
    assert row.errors == []
    if session and row.case.closes_stream:
        return  # LiveKit lets the pause run out first
    wanted = row.expected_reason
    assert row.reasons == ([] if wanted is None else [wanted])
    told = [warning for warning in row.warnings if "turn-detector-v1 failed" in warning]
    assert len(told) == len(row.reasons), "one warning for a stream, no more and no less"
    assert all(f"({wanted})" in warning for warning in told)
    assert len(row.turns) == 2
    for number, turn in enumerate(row.turns, start=1):
        right = expected(row.case, row.moment, row.mode, number, session=session)
        assert (turn.by, turn.why) == (right.by, right.why), f"turn {number}"
        assert turn.probability is not None
        assert abs(turn.probability - (right.probability or 0.0)) < 1e-6
        assert turn.resolved is not None
        assert right.resolved is not None
        assert abs(turn.resolved - right.resolved) < 0.01, f"turn {number}"
        assert turn.resolved <= 1.0 + 1e-6
        if row.case.closes_stream:
            continue
        assert turn.ended is not None, f"turn {number} never ended"
        # Answered in time or not, nobody waits longer than for the deadline.
        assert turn.ended <= max(MIN_DELAY, SILENCE + turn.resolved * DEADLINE) + 0.03
        assert turn.ended <= SILENCE + DEADLINE + MIN_DELAY
