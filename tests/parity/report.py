"""What the table says, in words."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from . import table
from .compare import TOLERANCE, Row, Side

_PAGE = """# The same turns on both frameworks

Written by `make parity` (`python -m tests.parity --write docs/parity.md`); do not edit. livekit-agents {livekit},
pipecat-ai {pipecat}.

**{summary}.** The tests allow {tolerance:.0f} ms.

## What is played

Every call goes through a real `AgentSession` with `adapters.livekit.TurnDetector` and `adapters.livekit.VAD`, and
through a real pipeline: transport input, STT, `TurnDetectorProcessor`, the user aggregator of an
`LLMContextAggregatorPair` with `EOTVADAnalyzer`, transport output. Both detectors are made with the same options and
the default delays of 0.3 and 2.5 s. The frames, of 20 ms where the table says nothing else, come to both at the same
moments, and so do transcripts.

Scripted are: the STT's words, the LLM, and the model of most traces, which says what the trace wants and takes 0.03
s; "recorded" and the bundled recording are smart-turn v3.2 itself. The cloud is a transport that answers, fails or is
silent as the trace says; real gateways and sockets are in [faults.md](faults.md).

Time is virtual: the event loop's clock jumps to the next timer whenever nothing is ready, and the functions of
`time`, which both frameworks read, follow it. So the figures are exact, on a machine of any speed. The traces called
"real time" run on the machine's own clock and the scheduler's own threads, to show that nothing hides behind the
other one.

## Columns

- **p**, **threshold**, **model**: of the last prediction in the pause. They are the same on both sides, or the test
  fails; so are the source of a prediction, the reason of a default, the fallbacks, and what each turn says.
- **decision**: "goes on" where the user speaks on first.
- **LiveKit**, **Pipecat**: seconds from the true end of speech to the end of the turn. The true end is that of the
  last window of speech that Silero hears in the whole recording, played to it alone.
- **difference**: LiveKit's less Pipecat's, in milliseconds.
- **cost**: milliseconds that a framework takes beyond the moment in which the delay was over, the answer there, and
  the transcript too.

## Fixed costs

In virtual time, where computing takes none, the frameworks add {virtual} at most, and {muted} where the audio stopped
coming in the pause (see below): neither polls, and neither rounds to a frame. In real time they add what their tasks
and queues take, here up to {real_livekit} (LiveKit) and {real_pipecat} (Pipecat); a busy machine adds more, so a trace
in real time may be tried three times.

LiveKit counts from the moment in which its VAD's event arrives, less the silence heard. Silero decides at the end of
a window of 32 ms, and the event comes with the frame in which the window ends: with LiveKit's own VAD a turn ends
later by what is left of that frame, up to 20 ms with frames of 20 ms and up to 50 ms with those of 50 ms that a room
sends. `adapters.livekit.VAD` tells LiveKit about that rest, and `EOTVADAnalyzer` tells Pipecat, so that it costs
nothing.

An answer that takes longer than what is left of `min_delay` ends the turn when it comes. The VAD is sure after 0.256
s, so on both frameworks 44 ms are left of 0.3 s, less the rest of the frame.

## What was set so that it means the same

- Pipecat's STT marks its transcripts as final and promises no delay (`ttfs_p99_latency=0`). LiveKit takes any final
  transcript as all that was said; Pipecat waits, where a transcript is not marked, for as long as the STT says its
  last words may take, 0.35 s for example. That wait is Pipecat's, and ends no turn earlier.
- `user_turn_stop_timeout` is 60 s. Pipecat's watchdog ends a turn without any decision after 5 s, also one without a
  transcript; LiveKit has none, and a turn for which the STT writes nothing stays open until it does.
- `aec_warmup_duration` is None. LiveKit does not let the user interrupt in the first 3 s of the agent's speech.
- A realtime model has no STT, hears for itself and leaves the turns to the detector: on Pipecat it announces itself
  (`LLMServiceMetadataFrame`), and the aggregator no longer waits for transcripts.

## What remains different

- Interruptions are the frameworks' own. Pipecat falls silent when speech starts; LiveKit does after 0.5 s of it
  (`min_interruption_duration`). The user's turn is the same.
- LiveKit looks at a prediction when there is a transcript, Pipecat's strategy at once. Where the user speaks on
  before the transcript, LiveKit reports no decision on that pause, and Pipecat reports one that is withdrawn.
- LiveKit asks the detector after 0.224 s of silence, once the next window has been heard, whatever is in it. A pause
  of exactly that length gets a prediction that is cancelled with the next window; Pipecat does not ask.
- A microphone that sends nothing (rather than silence) is taken to be silent after 1 s by both adapters' VADs. The
  speech counts as ended with the last frame, which may be up to 0.25 s after its true end. LiveKit's own VAD waits
  for frames for ever.
- With the frameworks' own VADs pauses begin and end elsewhere: Pipecat's has other thresholds, no hysteresis and a
  minimum volume.

{sections}## Calls

{table}
"""


def summary(rows: Sequence[Row], traces: int, different: int) -> str:
    """How many calls, and how far apart."""
    apart = [abs(row.difference) * 1000 for row in rows if row.difference is not None]
    furthest = f", commits at most {max(apart):.1f} ms apart" if apart else ""
    return (
        f"{traces} calls, {len(rows)} pauses, {len(apart)} of which ended a turn: "
        f"{traces - different} calls with the same decisions, {different} without{furthest}"
    )


def page(rows: Sequence[Row], traces: int, different: int, sections: Sequence[str] = ()) -> str:
    """The page of the documentation; ``sections`` come before the calls."""
    virtual = [row for row in rows if not row.trace.real_time]
    real = [row for row in rows if row.trace.real_time]
    return _PAGE.format(
        livekit=version("livekit-agents"),
        pipecat=version("pipecat-ai"),
        summary=summary(rows, traces, different),
        tolerance=TOLERANCE * 1000,
        virtual=_most([(row, side) for row in virtual if not row.trace.muted for side in (row.livekit, row.pipecat)]),
        muted=_most([(row, side) for row in virtual if row.trace.muted for side in (row.livekit, row.pipecat)]),
        real_livekit=_most([(row, row.livekit) for row in real]),
        real_pipecat=_most([(row, row.pipecat) for row in real]),
        sections="".join(section + "\n" for section in sections),
        table=table.markdown(rows),
    )


def _most(sides: Sequence[tuple[Row, Side]]) -> str:
    costs = [cost for row, side in sides if (cost := row.cost(side)) is not None]
    return f"{max(costs, default=0.0) * 1000:.1f} ms"
