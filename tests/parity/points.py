"""Calls that an operating point decides, with the moment in which each turn is to end, from the table alone.

Those of :data:`LANGUAGES` are what a user gets who sets ``OperatingPoint(max_cutoff_rate=0.05)`` and nothing else:
v1-mini on LiveKit, eot-open-1 on Pipecat. Those of :func:`calibrated` have a file that ``eot tune`` has written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.livekit.mini import V1_MINI
from eot_core import EndpointingOptions, ModelSpec, OperatingPoint
from eot_core.endpointing import DETECTOR_MIN_DELAY
from eot_core.models.eot_open import EOT_OPEN_1
from eot_core.models.smart_turn import SMART_TURN_V3_2
from eot_core.operating_points import ResolvedPoint

from .compare import TOLERANCE, Side, side
from .trace import Cloud, Played, Said, Trace
from .traces import say

POINT = OperatingPoint(max_cutoff_rate=0.05)
LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "nl", "pt", "tr", "zh")
MODELS: dict[str, ModelSpec] = {"LiveKit": V1_MINI, "Pipecat": EOT_OPEN_1}
"""The local models that each framework's detector takes by itself; here their scores are scripted."""
CLOUD_MODEL = "turn-detector-v1"
_SERVERS = 0.6
"""The cloud's own threshold."""
_GAP = 4.2
"""Seconds of silence between two turns: more than any delay."""
_AFTER = 1.0
"""Seconds of silence after the end of a turn, where that is known."""
_FIRST = 1.7
"""Seconds at which the first turn's speech has ended."""


@dataclass(frozen=True)
class Expected:
    """Who answers in a pause, and in which language."""

    model: str
    language: str
    head: str | None = None

    @property
    def reported(self) -> str:
        """How a prediction's model begins."""
        return self.model if self.head is None else f"{self.model}+{self.head}-"


@dataclass(frozen=True)
class Case:
    """One call."""

    trace: Trace
    point: OperatingPoint
    pauses: tuple[Expected, ...]
    """One turn each."""
    frameworks: tuple[str, ...] = ("LiveKit", "Pipecat")

    def resolved(self, number: int) -> ResolvedPoint:
        """What the table says for a pause; for a model that nothing was asked for, the server and the framework."""
        wanted = self.pauses[number]
        if not self.point.knows(wanted.model):
            return ResolvedPoint(wanted.model, wanted.language, _SERVERS, EndpointingOptions(), "", 0.0, 0.0)
        return self.point.resolve(wanted.model, wanted.language, head=wanted.head)

    def wrong(self, played: Played) -> list[str]:
        """What is not as the table has it, in words."""
        found = []
        if len(self.trace.pauses) != len(self.pauses):
            return [f"the VAD hears {len(self.trace.pauses)} pauses, where there are {len(self.pauses)}"]
        for number, pause in enumerate(self.trace.pauses):
            wrong = self._wrong(side(played, pause), number, pause.ended_at, played.framework)
            found += [f"{played.framework}, pause {number}: {what}" for what in wrong]
        return found

    def _wrong(self, one: Side, number: int, ended_at: float, framework: str) -> Iterator[str]:
        wanted, point = self.pauses[number], self.resolved(number)
        predicted = one.predicted
        if predicted is None or predicted.outcome != "answered" or len(one.commits) != 1:
            yield f"{predicted}, turns {one.commits}"
            return
        if not (predicted.model == wanted.reported or (wanted.head and predicted.model.startswith(wanted.reported))):
            yield f"answered by {predicted.model}, not by {wanted.reported}"
        if framework == "pipecat" and (one.judged is None or abs((one.judged.threshold or 0) - point.threshold) > 1e-9):
            yield f"judged {one.judged}, where the threshold is {point.threshold}"
        wait = floored(point.options).delay_for(predicted.probability, point.threshold)
        wait = max(wait, predicted.at - ended_at)  # no turn ends before the answer
        if abs(one.commits[0] - wait) > TOLERANCE:
            yield f"p = {predicted.probability:.3f}: the turn ended after {one.commits[0]:.3f} s, not {wait:.3f} s"


def floored(options: EndpointingOptions) -> EndpointingOptions:
    """No turn ends before LiveKit's minimum delay (:meth:`eot_core.settings.StreamSettings.endpointing`)."""
    low = max(options.min_delay, DETECTOR_MIN_DELAY)
    return replace(options, min_delay=low, max_delay=max(low, options.max_delay))


def _said(*languages: str) -> tuple[Said, ...]:
    return tuple(Said(f"these are the words number {i}", i, language=key) for i, key in enumerate(languages))


def _just(point: ResolvedPoint) -> tuple[float, float]:
    """A probability that just reaches the threshold, and one that just does not."""
    return point.threshold, max(0.0, point.threshold - 0.01)


def by_language() -> list[Case]:
    """For each framework and language: a call with the local model alone, and one in which the cloud breaks."""
    return [case for framework in MODELS for language in LANGUAGES for case in _for(framework, language)]


def _for(framework: str, language: str) -> list[Case]:
    spec = MODELS[framework]
    local, cloud = (POINT.resolve(name, language) for name in (spec.name, CLOUD_MODEL))
    kind = f"{spec.name} on {framework}"
    likely = max(floored(point.options).min_delay for point in (local, cloud)) + _AFTER
    by_itself = Trace(
        language,
        kind,
        say("short", likely, "middle"),
        _just(local),
        said=_said(language, language),
        decides={"operating_point": POINT},
        spec=spec,
        tail=local.options.max_delay + _AFTER,
    )
    falls_back = replace(
        by_itself,
        name=f"{language}, after a fallback",
        audio=say("short", likely, "middle", likely, "word"),
        probabilities=(0.0, *_just(local)),
        said=_said(language, language, language),
        cloud=Cloud(
            (_just(cloud)[0],), fails_at=_FIRST + likely - _AFTER / 2, thresholds=dict.fromkeys(LANGUAGES, _SERVERS)
        ),
    )
    here, there = Expected(spec.name, language), Expected(CLOUD_MODEL, language)
    return [
        Case(by_itself, POINT, (here, here), (framework,)),
        Case(falls_back, POINT, (there, here, here), (framework,)),
    ]


def calibrated(files: dict[str, Path], with_head: Path) -> list[Case]:
    """Calls with a calibration file, the same on both frameworks.

    Args:
        files: by curve, for smart-turn in English and German.
        with_head: for eot-open-1, with a head for English and none for German.
    """
    cases = [
        case for curve, path in files.items() for name in (None, "patient") for case in _calibrated(curve, path, name)
    ]
    trace = Trace(
        "a head for English, none for German",
        "calibration file",
        say("short", _GAP, "middle", _GAP, "long"),
        None,
        said=_said("en", "de", "en"),
        decides={"calibration": with_head},
        spec=EOT_OPEN_1,
        tail=_GAP,
    )
    ours, without = Expected(EOT_OPEN_1.name, "en", "en"), Expected(EOT_OPEN_1.name, "de")
    # The language of the first words becomes known in the first pause, and the head of the file's own before.
    cases.append(Case(trace, OperatingPoint("balanced", calibration=with_head), (ours, without, ours)))
    return cases


def _calibrated(curve: str, path: Path, name: str | None) -> list[Case]:
    decides: dict[str, object] = {"calibration": path}
    if name is not None:
        decides["operating_point"] = name
    # Without a name the file is about the models that it has, and no other.
    point = OperatingPoint(name or "balanced", calibration=path, published=name is not None)  # type: ignore[arg-type]
    model = SMART_TURN_V3_2.name
    cases = []
    for language, known in (("en", "in the file"), ("de", "in the file"), ("fr", "not in the file")):
        trace = Trace(
            f"{curve}, {name or 'no name'}, {language} ({known})",
            "calibration file",
            say("short", _GAP, "middle"),
            (0.9, 0.2),
            said=_said(language, language),
            decides=decides,
            spec=SMART_TURN_V3_2,
            tail=_GAP,
        )
        cases.append(Case(trace, point, (Expected(model, language),) * 2))
        if language == "de":
            falls_back = replace(
                trace,
                name=f"{trace.name}, after a fallback",
                audio=say("short", _GAP, "middle", _GAP, "long"),
                probabilities=(0.0, 0.9, 0.2),
                said=_said(*[language] * 3),
                cloud=Cloud((0.95,), fails_at=5.4, thresholds=dict.fromkeys(LANGUAGES, _SERVERS)),
            )
            there = Expected(CLOUD_MODEL, language)
            cases.append(Case(falls_back, point, (there, *[Expected(model, language)] * 2)))
    return cases
