"""What ``docs/faults.md`` says around the tables."""

from __future__ import annotations

from fault_cases import CASES, TELLING, Moment
from fault_cell import CLOUD, DEADLINE, LOCAL, MIN_DELAY, SILENCE, Mode
from fault_table import Half, Line, Task, table
from fault_table import tasks as tasks_of

_TELLING = tuple(case for case in CASES if case.name in TELLING)
_PARTS = (
    ("The stream alone", Half.STREAM, Mode.FALLBACK, CASES),
    ("Through an AgentSession", Half.SESSION, Mode.FALLBACK, CASES),
    ("The stream alone, `local_fallback=False`", Half.STREAM, Mode.NO_FALLBACK, CASES),
    ("Through an AgentSession, `local_fallback=False`", Half.SESSION, Mode.NO_FALLBACK, _TELLING),
    ("The stream alone, no local model to be had", Half.STREAM, Mode.NO_MODEL, CASES),
    ("Through an AgentSession, no local model to be had", Half.SESSION, Mode.NO_MODEL, _TELLING),
)


def tasks() -> list[Task]:
    return [task for _, half, mode, cases in _PARTS for task in tasks_of(half, mode, cases)]


def render(lines: dict[Task, Line]) -> str:
    parts = [f"## {title}\n\n{table(lines, half, mode, cases)}" for title, half, mode, cases in _PARTS]
    return _INTRODUCTION + "\n" + "\n".join(parts)


_INTRODUCTION = f"""# What happens when the gateway fails

Printed by `make faults` (`python -m tests.faults --write docs/faults.md`); do not edit. Each row is two turns of one
conversation with a gateway on the loopback, over real sockets, in which the fault strikes once. {len(CASES)} faults, at
{len(Moment)} moments each:

- **at connect**: as soon as the far end can, before anything is said. Faults of the handshake strike in the handshake;
- **in speech**: half a second into the speech. For faults of the handshake that means a handshake which takes so long,
  and for "refused" a gateway that dies in mid-call and is tried again once;
- **in flight**: a tenth of a second after a request was made.

The columns:

- **Reason reported**: by the `fallback` event and the one warning. "none": the stream stays with the cloud.
- **answered by**: whose probability p went out: `cloud` ({CLOUD}), `local` ({LOCAL}), or `default` (1.0) and why.
- **Resolved at**: from request to answer, as a fraction of the deadline of {DEADLINE:g} s. The cloud has 0.75 of it,
  the local model the rest.
- **ended after**: from the true end of speech to the end of the turn. {MIN_DELAY} s is the minimum delay; a pause is
  noticed after {SILENCE} s at most, and nobody waits longer than for the deadline after it.
- **Left over**: tasks, threads, sockets and other descriptors, and futures that nobody resolved, after everything was
  closed.

Time is an injected clock that stands still while a socket or a thread has something to do, so the figures are exact on
a machine of any speed. On an AgentSession LiveKit asks 0.2 s after the end of speech, in the other tables the driver
does after {SILENCE} s.
"""
