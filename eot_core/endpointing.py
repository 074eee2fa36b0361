"""When a pause ends the turn: the one place where that is decided."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .events import DecisionReason, Outcome, Prediction, TurnDecision
from .options import check_seconds
from .thresholds import check_probability

DETECTOR_MIN_DELAY = 0.3
DETECTOR_MAX_DELAY = 2.5
"""Seconds; livekit-agents' defaults for an audio turn detector (``voice/turn.py``, _STREAMING_ENDPOINTING_DEFAULTS)."""

FIRST_HEARS = 0.2
"""Seconds of the pause that a model hears at first. eot-bench's ``score_point``: published figures, and our own, are of
scores of so much silence."""
ASKED_LATER = 0.056
"""Seconds from the end of what a model hears to the moment in which it is asked. The VAD is certain of a pause after
eight windows of 32 ms, 0.256 s; frames of up to 50 ms have come in by then."""
RESCORE_UNTIL = 1.0
"""Seconds into a pause after which it is not scored again: neither when policies are measured (recordings seldom have
more silence at the end of a turn) nor when they run."""

LOGIT_LIMIT = 7.0
"""Scores of one pause are averaged as logits, cut off here (p = 0.999): a model that is sure once can be outvoted."""

_SAME = 1e-6
"""Seconds. Moments this near to each other are the same moment."""


@dataclass(frozen=True, slots=True)
class EndpointingOptions:
    """How long a pause must last. Seconds, counted from the true end of speech.

    Without ``exponent`` the curve is the step: ``min_delay`` where the probability p reaches the threshold, else
    ``max_delay``. With it, the delay falls with p and no threshold is needed:
    ``min_delay + (max_delay - min_delay) * (1 - p) ** exponent``.
    """

    min_delay: float = DETECTOR_MIN_DELAY
    """A pause that looks like the end of the turn ends it after this long."""
    max_delay: float = DETECTOR_MAX_DELAY
    """Any other pause ends it after this long."""
    exponent: float | None = None
    """More than 0: the delay falls with p, the faster the larger this is. None: the step."""
    rescore_every: float | None = None
    """With ``exponent``: the pause is scored again at multiples of so many seconds (the last one 1 s into it), while
    that could change when the turn ends, and p is the sigmoid of the mean logit of all its scores. None: one score a
    pause."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "min_delay", check_seconds(self.min_delay, "min_delay"))
        object.__setattr__(self, "max_delay", check_seconds(self.max_delay, "max_delay"))
        if self.max_delay < self.min_delay:
            raise ValueError(
                f"max_delay ({self.max_delay}) must not be less than min_delay ({self.min_delay}): raise max_delay"
            )
        if self.exponent is not None:
            object.__setattr__(self, "exponent", check_positive(self.exponent, "exponent"))
        if self.rescore_every is not None:
            if self.exponent is None:
                raise ValueError("rescore_every needs exponent: the step takes one score a pause")
            object.__setattr__(self, "rescore_every", check_seconds(self.rescore_every, "rescore_every", positive=True))

    def delay_for(self, probability: float, threshold: float) -> float:
        """How long a pause with this probability must last, in seconds. ``threshold`` counts for the step alone."""
        if self.exponent is None:
            return self.min_delay if probability >= threshold else self.max_delay
        fall: float = (1.0 - probability) ** self.exponent
        return self.min_delay + (self.max_delay - self.min_delay) * fall

    def threshold_at(self, elapsed: float, threshold: float) -> float:
        """The probability that ends the turn when the silence has lasted ``elapsed`` seconds.

        Never rises while the silence lasts: infinite before ``min_delay``, 0 from ``max_delay`` on.
        """
        if elapsed >= self.max_delay:
            return 0.0
        if elapsed < self.min_delay:
            return math.inf
        if self.exponent is None:
            return threshold
        left: float = ((elapsed - self.min_delay) / (self.max_delay - self.min_delay)) ** (1.0 / self.exponent)
        return 1.0 - left

    @classmethod
    def for_detector(cls, *, min_delay: float | None = None, max_delay: float | None = None) -> EndpointingOptions:
        """The defaults for an audio turn detector, 0.3 and 2.5 s, but for what is given."""
        return cls(
            min_delay=DETECTOR_MIN_DELAY if min_delay is None else min_delay,
            max_delay=DETECTOR_MAX_DELAY if max_delay is None else max_delay,
        )

    @classmethod
    def for_vad(cls, *, min_delay: float | None = None, max_delay: float | None = None) -> EndpointingOptions:
        """The defaults without a detector, 0.5 and 3.0 s (livekit-agents), but for what is given."""
        return cls(
            min_delay=0.5 if min_delay is None else min_delay,
            max_delay=3.0 if max_delay is None else max_delay,
        )


def check_positive(value: object, name: str) -> float:
    """``value`` as a finite number above 0.

    Raises:
        ValueError: it is none; the message names the argument.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be a number more than 0, got {value!r}")
    return float(value)


class Endpointer:
    """Follows the pauses of one stream. Pure: times are arguments, in seconds of the caller's clock.

    The rule is to commit as soon as p(t) >= threshold(t), where threshold(t) never rises while the silence lasts: the
    curve of the options (:meth:`EndpointingOptions.threshold_at`).
    """

    def __init__(self, options: EndpointingOptions | None = None) -> None:
        if options is not None and not isinstance(options, EndpointingOptions):
            raise TypeError(f"options must be EndpointingOptions, got {type(options).__name__}")
        self._options = options or EndpointingOptions()
        self._speech_ended_at: float | None = None
        self._decision: TurnDecision | None = None
        self._logits: list[float] = []
        self._scored_at = 0.0

    @property
    def options(self) -> EndpointingOptions:
        """The delays in force."""
        return self._options

    @options.setter
    def options(self, options: EndpointingOptions) -> None:
        self._options = options

    @property
    def in_pause(self) -> bool:
        """Whether a pause is being followed."""
        return self._speech_ended_at is not None

    @property
    def decision(self) -> TurnDecision | None:
        """What has been decided for the pause so far; None before a prediction, and outside a pause."""
        return self._decision

    @property
    def rescore_at(self) -> float | None:
        """When the pause is to be scored again, in seconds of the caller's clock.

        None where the curve takes one score, where nothing has been decided, and where no score that could still come
        would change when the turn ends.
        """
        decision, every = self._decision, self._options.rescore_every
        if decision is None or every is None or not self._logits:
            return None
        elapsed = self._scored_at - decision.speech_ended_at
        next_at = decision.speech_ended_at + every * (math.floor(elapsed / every + _SAME) + 1)
        until = decision.speech_ended_at + min(RESCORE_UNTIL + _SAME, self._options.max_delay)
        if next_at >= decision.commit_at - _SAME or next_at > until:
            return None
        # The most that the scores which are left could do, all of them pulling the same way.
        left = math.floor((until - next_at) / every) + 1
        soonest, latest = (
            max(next_at, decision.speech_ended_at + self._options.delay_for(_mean(self._logits, extreme, left), 0.0))
            for extreme in (LOGIT_LIMIT, -LOGIT_LIMIT)
        )
        if max(abs(soonest - decision.commit_at), abs(latest - decision.commit_at)) < _SAME:
            return None
        return next_at

    def speech_ended(self, at: float) -> None:
        """A pause begins; ``at`` is the true end of speech (not the moment in which a VAD noticed it).

        Raises:
            ValueError: ``at`` is no finite number.
        """
        if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
            raise ValueError(f"at must be a finite number of seconds, got {at!r}")
        self._speech_ended_at = at
        self._decision = None
        self._logits = []

    def speech_resumed(self) -> TurnDecision | None:
        """The user speaks on (or begins to speak): the pause ends no turn.

        Returns:
            The record of the pause, with ``ends_turn`` False, or None where nothing had been decided.
        """
        decision, self._decision, self._speech_ended_at = self._decision, None, None
        if decision is None:
            return None
        return TurnDecision(
            ends_turn=False,
            reason=DecisionReason.RESUMED,
            speech_ended_at=decision.speech_ended_at,
            commit_at=decision.commit_at,
            probability=decision.probability,
            threshold=decision.threshold,
            model=decision.model,
            source=decision.source,
            language=decision.language,
        )

    def predicted(
        self, prediction: Prediction, threshold: float, at: float, language: str | None = None
    ) -> TurnDecision | None:
        """A prediction for the current pause.

        Args:
            prediction: superseded and cancelled ones decide nothing.
            threshold: 0..1, for the language and model in force.
            at: when it arrived; a turn is never committed in the past.
            language: for the record.

        Returns:
            The decision: ``commit_at`` is when the turn ends if the silence lasts. None outside a pause.
        """
        threshold = check_probability(threshold, "threshold")
        if self._speech_ended_at is None or prediction.outcome in (Outcome.SUPERSEDED, Outcome.CANCELLED):
            return None
        probability = prediction.probability
        if self._options.rescore_every is not None:
            if self._decision is not None and (self.rescore_at is None or prediction.outcome is Outcome.DEFAULT):
                # Nobody asked for it, or nobody's opinion: what was decided stands. A score that was asked for before
                # the turn was to end counts also where it comes after that: who asked has waited for it.
                return self._decision
            if prediction.outcome is Outcome.ANSWERED:
                self._logits.append(_logit(probability))
                self._scored_at = at
                if len(self._logits) > 1:
                    probability = _mean(self._logits)
        likely = probability >= threshold
        if prediction.outcome is Outcome.DEFAULT:
            reason = DecisionReason.DEFAULT
        else:
            reason = DecisionReason.LIKELY if likely else DecisionReason.UNLIKELY
        delay = self._options.delay_for(probability, threshold)
        self._decision = TurnDecision(
            ends_turn=True,
            reason=reason,
            speech_ended_at=self._speech_ended_at,
            commit_at=max(at, self._speech_ended_at + delay),
            probability=prediction.probability,
            threshold=threshold,
            model=prediction.model,
            source=prediction.source,
            language=language,
        )
        return self._decision

    def turn_ended(self) -> None:
        """The turn was ended, here or elsewhere. Idempotent."""
        self._decision = None
        self._speech_ended_at = None


def _logit(probability: float) -> float:
    if probability <= 0.0:
        return -LOGIT_LIMIT
    if probability >= 1.0:
        return LOGIT_LIMIT
    return max(-LOGIT_LIMIT, min(LOGIT_LIMIT, math.log(probability / (1.0 - probability))))


def _mean(logits: list[float], further: float = 0.0, times: int = 0) -> float:
    """Sigmoid of the mean logit, as if the score ``further`` had come ``times`` times more."""
    mean = (sum(logits) + further * times) / (len(logits) + times)
    return 1.0 / (1.0 + math.exp(-mean))
