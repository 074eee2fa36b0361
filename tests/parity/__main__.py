"""``python -m tests.parity``: play every trace on both frameworks, print the table, fail where they disagree."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from . import virtual_time

virtual_time.install()  # before the frameworks take a reference to the time

from . import compare, on_livekit, on_pipecat, quiet, recorded_table, report, simulator, table  # noqa: E402
from .trace import Played, Trace  # noqa: E402
from .traces import TRACES  # noqa: E402

_TRIES = 3
"""In real time a busy machine can hold up either framework by more than the tolerance."""


def play(trace: Trace) -> tuple[list[compare.Row], list[str]]:
    """A trace on LiveKit and on Pipecat. Returns its pauses, and what differs."""
    for _ in range(_TRIES if trace.real_time else 1):
        livekit, pipecat = asyncio.run(_together(trace)) if trace.real_time else _one_by_one(trace)
        rows, differences = compare.rows(trace, livekit, pipecat), compare.disagreements(trace, livekit, pipecat)
        if not differences:
            break
    return rows, differences


def _one_by_one(trace: Trace) -> tuple[Played, Played]:
    return virtual_time.run(lambda: on_livekit.play(trace)), virtual_time.run(lambda: on_pipecat.play(trace))


async def _together(trace: Trace) -> tuple[Played, Played]:
    return await asyncio.gather(on_livekit.play(trace), on_pipecat.play(trace))


def main() -> int:
    """Returns the exit status: 1 where the frameworks disagree."""
    options = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    options.add_argument("--only", metavar="TEXT", help="traces whose name contains this")
    options.add_argument("--json", metavar="FILE", type=Path, help="write what came out, for the tests")
    options.add_argument("--write", metavar="FILE", type=Path, help="write the page of the documentation")
    options.add_argument("--verbose", action="store_true", help="with the logs of both frameworks")
    simulator.add_arguments(options)
    given = options.parse_args()
    if not given.verbose:
        quiet.down()

    rows: list[compare.Row] = []
    found: dict[str, list[str]] = {}
    skipped: dict[str, str] = {}
    for trace in TRACES:
        if given.only is not None and given.only not in trace.id:
            continue
        if trace.skipped_because is not None:
            skipped[trace.id] = trace.skipped_because
            continue
        pauses, found[trace.id] = play(trace)
        rows += pauses

    print(table.plain(rows))
    for name, why in skipped.items():
        print(f"skipped: {name}: {why}")
    for name, differences in found.items():
        for difference in differences:
            print(f"DIFFERENT: {name}: {difference}")
    print(report.summary(rows, len(found), sum(bool(d) for d in found.values())))
    recorded = _recorded(simulator.chosen(given))
    if given.json is not None:
        given.json.write_text(json.dumps({"found": found, "skipped": skipped}))
    if given.write is not None:
        section = "" if recorded is None else recorded.section
        given.write.write_text(report.page(rows, len(found), sum(bool(d) for d in found.values()), section))
    return 1 if any(found.values()) or (recorded is not None and recorded.differences) else 0


def _recorded(what: simulator.Chosen) -> simulator.Outcome | None:
    """The simulator against the live stream; None where there is nothing to play."""
    if what.pauses == 0:
        return None
    if not what.dataset.exists():
        print(f"skipped: the simulator and the live stream: the recordings {what.dataset} are not here")
        return None
    outcome = simulator.run(what)
    print(recorded_table.plain(outcome.rows))
    for difference in outcome.differences:
        print(f"DIFFERENT: {difference}")
    print(recorded_table.summary(outcome.rows))
    return outcome


if __name__ == "__main__":
    sys.exit(main())
