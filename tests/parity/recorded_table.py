"""The simulator against the live stream, in a table and in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eot_core.evaluation.simulation import Policy
from eot_core.vad.hysteresis import WINDOW

from .recorded import FRAMEWORKS, Compared
from .recordings import CURVES, LATENCY

HEAD = (
    "curve",
    "framework",
    "compared",
    "within 32 ms",
    "turn ended in both",
    "in neither",
    "in one",
    "same moment",
    "median",
    "largest",
    "another turn",
    "not heard",
    "heard elsewhere",
)

_SECTION = """## The simulator and the live stream

`eot bench` and `eot tune` try policies on scored recordings (`eot_core.evaluation.simulation`), `make parity` plays the
same recordings to both frameworks. **{summary}**

{table}

Taken are {taken} of `{dataset}`, the sources in turn, chosen by seed {seed}, with {tail} s of silence behind each. The
model is {model}, which takes {latency:.0f} ms; frames are of {livekit:.0f} ms on LiveKit and of {pipecat:.0f} ms on
Pipecat, as their transports send them. The curves: {curves}.

- **compared**: pauses that the live VAD hears, in turns that no pause before them has ended. **Within 32 ms**: the
  turn ended within one window of the VAD of the simulated moment, both counted from the end of speech, or in neither
  before the user was heard to speak on.
- **same moment**: to the millisecond. Median and largest difference in milliseconds, of those that ended.
- **another turn**: an earlier pause of the recording had ended the turn; what follows it is heard as a new one.
- **not heard**: the pause is too short for the VAD, which is certain after 0.256 s, so that the detector is not asked
  and the turn goes on. The simulator has it scored, and ends no turn in it either, since no delay is below 0.3 s.
- **heard elsewhere**: compared too, but the live VAD hears speech end more than 1 ms from the label{moved}. The
  simulator is given the VAD's end: from the label's it would score other audio.
- A turn can end in a call after the user has spoken on, until the VAD is sure of that (64 ms and what is left of a
  frame). {late} It counts as going on in `eot bench`, as in eot-bench.
- What is left is the model's time: a score that is asked for at the end of the wait ends the turn when it comes, and
  the simulator's models take none. A model that is slower than 32 ms moves such an end by more.

They agree because both hear the same audio. A score depends on the last milliseconds: 16 ms more of silence, less than
a frame, move that of smart-turn by .17 or more in one pause of ten, and that of eot-open-1 by .08. So local models are
given 0.2 s of a pause, with which thresholds are measured, and later on what has surely come in by then, to the sample;
and they hear a turn from where the VAD was sure of speech. That needs a VAD that knows what it has heard:
`adapters.livekit.VAD`, `EOTVADAnalyzer` (which the processor brings along). LiveKit's own VAD does not say what it has
heard of the next window: a model hears up to a frame more, and the end of speech seems as much later. So 100 of 110
comparisons were within 32 ms with frames of 20 ms, and 73 of 110 with those of 50 ms that a room sends.
"""


def cells(rows: Sequence[Compared], curve: str, framework: str) -> list[str]:
    """One curve on one framework."""
    mine = [row for row in rows if (row.curve, row.framework) == (curve, framework)]
    compared = [row for row in mine if row.kind == "compared"]
    apart = np.array([abs(row.difference) * 1000 for row in compared if row.difference is not None])
    both = sum(row.live is not None for row in compared)
    one = sum(row.live is None and row.difference is not None for row in compared)
    return [
        curve,
        framework,
        str(len(compared)),
        str(sum(row.agrees for row in compared)),
        str(both),
        str(len(compared) - both - one),
        str(one),
        str(int((apart < 1.0).sum())),
        f"{np.median(apart):.1f}" if len(apart) else "-",
        f"{apart.max():.1f}" if len(apart) else "-",
        str(sum(row.kind == "another turn" for row in mine)),
        str(sum(row.kind == "not heard" for row in mine)),
        str(sum(row.is_moved for row in compared)),
    ]


def lines(rows: Sequence[Compared]) -> list[list[str]]:
    """All of them."""
    return [cells(rows, curve.name, framework) for curve in CURVES for framework in FRAMEWORKS]


def plain(rows: Sequence[Compared]) -> str:
    """For a terminal."""
    table = [list(HEAD), *lines(rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEAD))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in table)


def markdown(rows: Sequence[Compared]) -> str:
    """For the documentation."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (HEAD, ["---"] * len(HEAD), *lines(rows)))


def disagreements(rows: Sequence[Compared]) -> list[str]:
    """Pauses in which the simulator and the live stream end the turn at different times, in words."""
    return [str(row) for row in rows if row.kind == "compared" and not row.agrees]


def summary(rows: Sequence[Compared]) -> str:
    """In a sentence."""
    compared = [row for row in rows if row.kind == "compared"]
    counts = [sum(r.kind == "compared" and (r.curve, r.framework) == key for r in rows) for key in _keys()]
    apart = max((abs(r.difference) * 1000 for r in compared if r.difference is not None), default=0.0)
    agree = sum(row.agrees for row in compared)
    return (
        f"At least {min(counts)} recorded pauses for each curve and framework: in {agree} of {len(compared)} "
        f"comparisons the turn ends within {WINDOW * 1000:.0f} ms of the simulated moment, or in neither; "
        f"at most {apart:.1f} ms apart."
    )


def section(rows: Sequence[Compared], *, taken: str, dataset: str, seed: int, model: str, tail: float) -> str:
    """Of the documentation."""
    moved = sorted({(row.item, row.index): abs(row.moved) * 1000 for row in rows if row.is_moved}.values())
    late = [
        row
        for row in rows
        if row.kind == "compared" and row.live is not None and row.resumed is not None and row.live >= row.duration
    ]
    return _SECTION.format(
        summary=summary(rows),
        table=markdown(rows),
        taken=taken,
        dataset=dataset,
        seed=seed,
        tail=tail,
        model=model,
        latency=LATENCY * 1000,
        livekit=FRAMEWORKS["LiveKit"][1] * 1000,
        pipecat=FRAMEWORKS["Pipecat"][1] * 1000,
        curves="; ".join(f"{curve.name}, {_described(curve.policy)}" for curve in CURVES),
        moved=f" ({np.median(moved):.0f} ms in the median, {moved[-1]:.0f} ms at most)" if moved else "",
        late=f"That happened in {len(late)} of the comparisons.",
    )


def _keys() -> list[tuple[str, str]]:
    return [(curve.name, framework) for curve in CURVES for framework in FRAMEWORKS]


def _described(policy: Policy) -> str:
    options = policy.options
    shape = f"threshold {policy.threshold:g}" if options.exponent is None else f"exponent {options.exponent:g}"
    again = "" if options.rescore_every is None else f", every {options.rescore_every:g} s"
    return f"{options.min_delay:g} to {options.max_delay:g} s, {shape}{again}"
