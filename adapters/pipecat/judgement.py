"""From a prediction to a decision, with the threshold of the language that is spoken."""

from __future__ import annotations

import dataclasses

from loguru import logger

from eot_core import DetectorStream, Endpointer, EndpointingOptions, Outcome, Prediction, TurnDecision


class Judge:
    """Decides for one stream. A language that the model was not made for is judged as on LiveKit, which does not listen
    to the model then: the turn ends after the minimum delay."""

    def __init__(self, owner: str, endpointer: Endpointer, *, follows_detector: bool) -> None:
        """
        Args:
            owner: who warns, in the log.
            endpointer: follows the pauses.
            follows_detector: whether the delays are those of the detector's operating point, where it has one.
        """
        self._follows_detector = follows_detector
        self._owner = owner
        self._endpointer = endpointer
        self._unsupported: set[str] = set()

    def decide(
        self, stream: DetectorStream, prediction: Prediction, *, at: float, language: str | None
    ) -> TurnDecision | None:
        """The decision on the pause that the endpointer is in; None outside a pause, or without an answer.

        Args:
            stream: what gave the prediction.
            prediction: for this pause.
            at: now, in seconds of the clock that the endpointer's times are of.
            language: BCP-47 tag, or None.
        """
        threshold = stream.unlikely_threshold(language)
        if self._follows_detector:
            self._endpointer.options = stream.endpointing(language) or EndpointingOptions()
        if prediction.outcome is Outcome.ANSWERED and not stream.supports_language(language):
            self._warn(prediction.model, str(language))
            prediction = dataclasses.replace(
                prediction, probability=1.0, outcome=Outcome.DEFAULT, reason="language_not_supported", source="default"
            )
        return self._endpointer.predicted(prediction, threshold, at, language)

    def _warn(self, model: str, language: str) -> None:
        if language in self._unsupported:
            return
        self._unsupported.add(language)
        logger.warning(
            f"{self._owner}: {model} was not made for the language {language!r}: turns end after the minimum delay. "
            "Choose a model that knows it, or give a threshold that you measured: "
            f"unlikely_threshold={{{language!r}: ...}}"
        )


def describe(decision: TurnDecision) -> str:
    """A decision in a line of the log."""
    return (
        f"p={decision.probability:.3f} threshold={decision.threshold:.3f} "
        f"({decision.model}, {decision.source}, language {decision.language}): "
        f"{decision.reason.value}, {decision.delay:.3f} s after the end of speech"
    )
