"""How each model is made: what the head sees, and how it is fitted. Chosen as docs/models/ tells."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from eot_core.models import graph
from eot_core.models.eot_open_head import HeadInput


def _over(layer: int, *edges: int) -> tuple[HeadInput, ...]:
    """Means of a layer (1-4) over the stretches between ``edges``, in frames from the newest."""
    return tuple(HeadInput(graph.HIDDEN[layer - 1], a, b) for a, b in pairwise(edges))


def _within(window: float, edges: tuple[int, ...]) -> tuple[int, ...]:
    """``edges``, of which the last is where a window of ``window`` seconds ends."""
    return (*edges[:-1], round(window * graph.FRAMES_PER_SECOND))


@dataclass(frozen=True, slots=True)
class Recipe:
    """One model."""

    name: str
    window: float
    """Seconds."""
    inputs: tuple[HeadInput, ...]
    """Without the raw logit."""
    penalty: float
    """Of the weights; see :func:`training.logistic.fit`."""
    raw_share: float
    """Weight of smart-turn's own logit in the sum with the head's; not fitted on labels, because the sources of
    labels are not calls."""
    emphasis: float
    """Weight of the source that is spontaneous, :data:`SPONTANEOUS`, against what its size gives it."""
    teacher_share: float
    """Share of smart-turn's own probability in the target. The rest is the label."""
    source_penalty: float
    """Of each source's own bias, which is dropped after the fit; see :func:`training.logistic.fit`."""
    short_turns: float
    """Added to the calibrated logit of a turn of up to :data:`SHORT_FULL` seconds of speech, less and less until
    :data:`SHORT_NONE`. Not fitted: no source has turns that are over so soon, so that whatever is fitted on them takes
    a "yes" for the beginning of something longer. Chosen on the last stretches of speech of longer turns, heard as if
    the turn had begun with them (:func:`training.features.shortly`)."""
    copies: tuple[str, ...] = ("phone", "mild")
    """Fitted along with the recordings: "phone", in the telephone band; "mild", with mild noise and another level."""


SHORT_FULL, SHORT_NONE = 0.5, 1.3
"""Seconds. Ends with less than 1.5 s of speech before them: 11 of 2,981 in the ``train`` split."""

SPONTANEOUS = "alphanumeric"
"""Dictated with hesitation, many accents: the nearest to what a voice agent hears among the sources."""

FINE = (0, 5, 10, 20, 35, 60, 110, 400)
COARSE = (0, 10, 35, 110, 400)

RECIPES = (
    Recipe(
        name="eot-open-1",
        window=8.0,
        inputs=(
            *_over(1, *COARSE),
            *_over(2, *FINE),
            *_over(3, *COARSE),
            *_over(4, *COARSE),
            HeadInput(graph.EMBEDDING),
        ),
        penalty=2.0,
        raw_share=0.3,
        emphasis=2.0,
        teacher_share=0.0,
        source_penalty=0.01,
        short_turns=2.0,
    ),
    *(
        Recipe(
            name="eot-open-1-fast" + suffix,
            window=window,
            # Of the second layer the newest 2.2 s: older frames gain nothing (AUC +-.001), and need not be computed.
            inputs=(*_over(1, *_within(window, COARSE)), *_over(2, *FINE[:-1])),
            penalty=1.0,
            raw_share=0.0,
            emphasis=1.0,
            teacher_share=0.2,
            source_penalty=0.003,
            short_turns=2.0,
        )
        for suffix, window in (("", 8.0), ("-6s", 6.0), ("-4s", 4.0))
    ),
)
