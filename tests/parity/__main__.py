"""``python -m tests.parity``: play every trace on both frameworks, print the table, fail where they disagree."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from . import virtual_time

virtual_time.install()  # before the frameworks take a reference to the time

from . import compare, on_livekit, on_pipecat, quiet, recorded_table, report, simulator, table, tables  # noqa: E402
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
    options.add_argument("--traces", action="store_true", help="only these, neither recorded pauses nor tables")
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
    sections, differ = ([], False) if given.traces or given.only is not None else _others(simulator.chosen(given))
    if given.json is not None:
        given.json.write_text(json.dumps({"found": found, "skipped": skipped}))
    if given.write is not None:
        given.write.write_text(report.page(rows, len(found), sum(bool(d) for d in found.values()), sections))
    return 1 if any(found.values()) or differ else 0


def _others(what: simulator.Chosen) -> tuple[list[str], bool]:
    """The simulator against the live stream, and the operating points: for the page, and whether anything differs."""
    sections: list[str] = []
    differences: list[str] = []
    if what.dataset.exists():
        compared = simulator.run(what)
        print(recorded_table.plain(compared.rows))
        print(recorded_table.summary(compared.rows))
        sections.append(compared.section)
        differences += compared.differences
    else:
        print(f"skipped: the simulator and the live stream: the recordings {what.dataset} are not here")
    by_table = tables.run()
    sections.append(by_table.section)
    differences += [f"{name}: {wrong}" for name, found in by_table.found.items() for wrong in found]
    for difference in differences:
        print(f"DIFFERENT: {difference}")
    return sections, bool(differences)


if __name__ == "__main__":
    sys.exit(main())
