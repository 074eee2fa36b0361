"""When a pause ends the turn: the one place where that is decided."""

from __future__ import annotations

from dataclasses import dataclass

from .events import DecisionReason, Outcome, Prediction, TurnDecision
from .options import check_seconds
from .thresholds import check_probability

DETECTOR_MIN_DELAY = 0.3
DETECTOR_MAX_DELAY = 2.5
"""Seconds; livekit-agents' defaults for an audio turn detector (``voice/turn.py``, _STREAMING_ENDPOINTING_DEFAULTS)."""


@dataclass(frozen=True, slots=True)
class EndpointingOptions:
    """How long a pause must last. Seconds, both counted from the true end of speech."""

    min_delay: float = DETECTOR_MIN_DELAY
    """A pause that looks like the end of the turn ends it after this long."""
    max_delay: float = DETECTOR_MAX_DELAY
    """Any other pause ends it after this long."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "min_delay", check_seconds(self.min_delay, "min_delay"))
        object.__setattr__(self, "max_delay", check_seconds(self.max_delay, "max_delay"))
        if self.max_delay < self.min_delay:
            raise ValueError(
                f"max_delay ({self.max_delay}) must not be less than min_delay ({self.min_delay}): raise max_delay"
            )

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


class Endpointer:
    """Follows the pauses of one stream. Pure: times are arguments, in seconds of the caller's clock.

    The rule is to commit as soon as p(t) >= threshold(t), where threshold(t) never rises while the silence lasts. Here
    it is the step: ``threshold`` until ``max_delay``, 0 from then on, and no commit before ``min_delay``.
    """

    def __init__(self, options: EndpointingOptions | None = None) -> None:
        if options is not None and not isinstance(options, EndpointingOptions):
            raise TypeError(f"options must be EndpointingOptions, got {type(options).__name__}")
        self._options = options or EndpointingOptions()
        self._speech_ended_at: float | None = None
        self._decision: TurnDecision | None = None

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

    def speech_ended(self, at: float) -> None:
        """A pause begins; ``at`` is the true end of speech (not the moment in which a VAD noticed it)."""
        self._speech_ended_at = at
        self._decision = None

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
        likely = prediction.probability >= threshold
        if prediction.outcome is Outcome.DEFAULT:
            reason = DecisionReason.DEFAULT
        else:
            reason = DecisionReason.LIKELY if likely else DecisionReason.UNLIKELY
        delay = self._options.min_delay if likely else self._options.max_delay
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
