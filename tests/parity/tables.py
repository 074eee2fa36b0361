"""``python -m tests.parity.tables``: the turns that an operating point's table says, on both frameworks."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from . import virtual_time

virtual_time.install()  # before the frameworks take a reference to the time

from eot_core.cloud import CLOUD_MODEL  # noqa: E402

from . import compare, on_livekit, on_pipecat, points, quiet, tuned  # noqa: E402
from .trace import Played  # noqa: E402

_PLAY = {"LiveKit": on_livekit.play, "Pipecat": on_pipecat.play}

_SECTION = """## Operating points

`OperatingPoint(max_cutoff_rate=0.05)`, and nothing else: the local model is v1-mini on LiveKit and eot-open-1 on
Pipecat, and threshold and delays are its table's for the language that the STT names. Each call has a turn whose score
just reaches the threshold ("likely") and one whose score just does not; in a second call for each language the cloud
({cloud}, with its own table) answers a turn before these, and then breaks. {verdict} Seconds
from the true end of speech to the end of the turn, without and after a fallback:

{languages}

A language that was not measured has English's figures: eot-open-1 was measured in English alone. No turn ends before
0.3 s, LiveKit's minimum.

With `calibration=` a file that `eot tune` wrote (two-channel calls in English and German; step and continuous), with
and without `operating_point="patient"`, in a language of the file and in another, after a fallback, and with a head of
one's own for one of two languages: {calibrated} calls through both frameworks, {different} of them with turns that
differ, or that are not as the file has them.
"""


@dataclass
class Outcome:
    """What came of the calls."""

    found: dict[str, list[str]] = field(default_factory=dict)
    """By call: what is not as the table has it, or differs between the frameworks."""
    section: str = ""
    """For the documentation."""


def run() -> Outcome:
    """Play every call."""
    outcome = Outcome()
    played = {case.trace.id: _play(case, outcome) for case in points.by_language()}
    with tempfile.TemporaryDirectory() as folder:
        cases = points.calibrated(tuned.files(Path(folder)), tuned.with_head(Path(folder)))
        for case in cases:
            _play(case, outcome)
    wrong = sum(bool(outcome.found[name]) for name in played)
    outcome.section = _SECTION.format(
        cloud=CLOUD_MODEL,
        verdict=f"{len(played) - wrong} of {len(played)} calls are as the tables have it, within 20 ms.",
        languages=_languages(played),
        calibrated=len(cases),
        different=sum(bool(outcome.found[case.trace.id]) for case in cases),
    )
    return outcome


def _play(case: points.Case, outcome: Outcome) -> dict[str, Played]:
    played = {name: virtual_time.run(lambda name=name: _PLAY[name](case.trace)) for name in case.frameworks}  # type: ignore[misc]
    found = [what for one in played.values() for what in case.wrong(one)]
    if len(played) == 2:
        found += compare.disagreements(case.trace, played["LiveKit"], played["Pipecat"])
    outcome.found[case.trace.id] = found
    return played


def _languages(played: dict[str, dict[str, Played]]) -> str:
    head = ["language"]
    for framework, spec in points.MODELS.items():
        head += [f"{framework}: {spec.name}, threshold", "likely", "unlikely"]
    lines = [head, ["---"] * len(head)]
    for language in points.LANGUAGES:
        line = [language]
        for framework, spec in points.MODELS.items():
            line.append(f"{points.POINT.resolve(spec.name, language).threshold:g}")
            alone, after = (_commits(played, framework, name) for name in (language, f"{language}, after a fallback"))
            line += [f"{alone[-2]}, {after[-2]}", f"{alone[-1]}, {after[-1]}"]
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _commits(played: dict[str, dict[str, Played]], framework: str, name: str) -> list[str]:
    case = next(c for c in points.by_language() if c.frameworks == (framework,) and c.trace.name == name)
    sides = [compare.side(played[case.trace.id][framework], pause) for pause in case.trace.pauses]
    return [", ".join(f"{commit:.3f}" for commit in one.commits) or "-" for one in sides]


def main() -> int:
    """Returns the exit status: 1 where a turn is not as it should be."""
    options = argparse.ArgumentParser(prog="python -m tests.parity.tables", description=__doc__)
    options.add_argument("--json", metavar="FILE", type=Path, help="write what came out, for the tests")
    given = options.parse_args()
    quiet.down()
    outcome = run()
    print(outcome.section)
    for name, wrong in outcome.found.items():
        for what in wrong:
            print(f"DIFFERENT: {name}: {what}")
    if given.json is not None:
        given.json.write_text(json.dumps(outcome.found))
    return 1 if any(outcome.found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
