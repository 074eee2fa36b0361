"""Calls whose language becomes known in mid-pause, through both frameworks: ``python -m tests.adapters.late_language``.

A process of its own: virtual time must be there before the frameworks are imported.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tests.parity import virtual_time

virtual_time.install()

from eot_core import EndpointingOptions, ModelSpec, OperatingPoint  # noqa: E402
from eot_core.policy_table import MeasuredPolicy, ModelPolicies, PolicyTable  # noqa: E402
from tests.parity import compare, on_livekit, on_pipecat, quiet, speech  # noqa: E402
from tests.parity.trace import Said, Trace  # noqa: E402

SLOW = EndpointingOptions(0.5, 2.4, exponent=1.0, rescore_every=0.2)
QUICK = EndpointingOptions(0.3, 1.0, exponent=1.0, rescore_every=0.2)


class _Listening:
    """The longer the silence, the surer."""

    def predict(self, pcm: np.ndarray[Any, Any]) -> float:
        loud = np.nonzero(np.abs(pcm) > 30)[0]
        if not len(loud):  # the warm-up
            return 0.0
        silence = (len(pcm) - int(loud[-1])) / 16_000
        return min(0.6, 0.2 + 0.5 * max(0.0, silence - 0.2))


SPEC = ModelSpec("listening", "tests", "none", 8.0, _Listening, 0.5)  # type: ignore[arg-type]
ENGLISH_ONLY = replace(SPEC, thresholds={"en": 0.5})


def _decides(english: EndpointingOptions, german: EndpointingOptions) -> dict[str, object]:
    languages = {
        key: (MeasuredPolicy(0.5, options, cutoff_rate=0.1, latency=0.5),)
        for key, options in (("en", english), ("de", german))
    }
    table = PolicyTable({SPEC.name: ModelPolicies(languages=languages, provenance="made up")})
    return {"operating_point": OperatingPoint("balanced", calibration=table)}


def _trace(
    name: str,
    after: float,
    english: EndpointingOptions,
    german: EndpointingOptions,
    *,
    audio: tuple[str | float, ...] = ("short",),
    language: str = "de",
    spec: ModelSpec = SPEC,
    **fields: Any,
) -> Trace:
    pauses = sum(isinstance(part, str) for part in audio)
    return Trace(
        name,
        "late language",
        partial(speech.spoken, *audio),
        probabilities=None,
        spec=spec,
        said=tuple(Said(f"these are the words {pause}", pause, after, language=language) for pause in range(pauses)),
        decides=_decides(english, german),
        turns=1,
        **fields,
    )


TRACES = (
    _trace("before any further score", 0.33, SLOW, QUICK),
    _trace("after two further scores, quicker", 0.7, SLOW, QUICK),
    _trace("after two further scores, slower", 0.7, QUICK, SLOW),
    _trace("while a score is on its way, slower", 0.65, QUICK, SLOW, latencies=(0.1,)),
    _trace("while a score is on its way, quicker", 0.65, SLOW, QUICK, latencies=(0.1,)),
    _trace("after the last score, quicker", 1.1, SLOW, QUICK),
    _trace("after the last score, slower", 1.1, EndpointingOptions(0.3, 1.8, exponent=1.0, rescore_every=0.2), SLOW),
    _trace("when the turn would be over", 1.5, SLOW, QUICK),
    _trace("when the turn was due, slower", 1.2, QUICK, SLOW),
    _trace("when the turn was due, and the user speaks on", 1.2, QUICK, SLOW, audio=("short", 1.6, "middle")),
    _trace("one the model was not made for", 0.7, SLOW, SLOW, language="sv", spec=ENGLISH_ONLY),
    _trace("to the step", 0.7, SLOW, EndpointingOptions(0.3, 1.3)),
    _trace("from the step", 0.7, EndpointingOptions(0.3, 2.3), QUICK),
)


def main() -> None:
    """Prints, as JSON, what each framework did: when it ended the turn, and what differs."""
    quiet.down()
    found: dict[str, Any] = {}
    for trace in TRACES:
        livekit, pipecat = (
            virtual_time.run(lambda play=play, trace=trace: play(trace)) for play in (on_livekit.play, on_pipecat.play)
        )
        ended_at = trace.pauses[-1].ended_at
        found[trace.name] = {
            "livekit": [turn.at - ended_at for turn in livekit.turns],
            "pipecat": [turn.at - ended_at for turn in pipecat.turns],
            "scores": [sum(p.outcome == "answered" for p in played.predictions) for played in (livekit, pipecat)],
            "differences": compare.disagreements(trace, livekit, pipecat),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
