"""``python -m tests.parity.simulator``: recorded pauses, simulated and live, on both; fails where they differ.

Any dataset that ``eot bench`` reads will do: ``--recordings FOLDER_OR_FILE``.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from . import virtual_time

virtual_time.install()  # before the frameworks take a reference to the time

from eot_core.models.registry import resolve_model  # noqa: E402

from . import quiet, recorded, recorded_table, recordings  # noqa: E402


@dataclass(frozen=True)
class Chosen:
    """What is compared."""

    dataset: Path = recordings.SHARED
    pauses: int = 200
    seed: int = 0
    model: str = "eot-open-1"
    processes: int = 2


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    rows: list[recorded.Compared]
    section: str
    """For the documentation."""

    @property
    def differences(self) -> list[str]:
        """Empty: what is tuned is what runs."""
        return recorded_table.disagreements(self.rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of :class:`Chosen`."""
    default = Chosen()
    parser.add_argument("--recordings", metavar="PATH", type=Path, default=default.dataset, help="a labelled dataset")
    parser.add_argument("--pauses", metavar="N", type=int, default=default.pauses, help="to be compared")
    parser.add_argument("--seed", metavar="N", type=int, default=default.seed, help="of the choice")
    parser.add_argument("--model", default=default.model, help="a local model, or the path of one")
    parser.add_argument("--processes", metavar="N", type=int, default=default.processes)


def chosen(given: argparse.Namespace) -> Chosen:
    """From the arguments of a command line."""
    return Chosen(given.recordings, given.pauses, given.seed, given.model, given.processes)


def run(what: Chosen) -> Outcome:
    """Compare.

    Raises:
        DatasetError: the dataset cannot be used.
        ValueError: the model is unknown.
    """
    found = recordings.choose(what.dataset, round(what.pauses * recordings.SPARE), what.seed)
    for problem in found.problems:
        print(f"passed over: {problem}", file=sys.stderr)
    spec = recordings.remembered(resolve_model(what.model))
    rows = recorded.compare(found, spec, processes=what.processes)
    sources = sorted({item.source or "?" for item in found.items})
    languages = sorted({item.language for item in found.items})
    section = recorded_table.section(
        rows,
        taken=f"{len(found.items)} recordings ({', '.join(sources)}; {', '.join(languages)})",
        dataset=what.dataset.name if what.dataset.is_file() else f"{what.dataset.name}/",
        seed=what.seed,
        model=spec.name,
        tail=recordings.TAIL,
    )
    return Outcome(rows, section)


def main() -> int:
    """Returns the exit status: 1 where they differ, or where there were fewer pauses than wanted."""
    options = argparse.ArgumentParser(prog="python -m tests.parity.simulator", description=__doc__)
    add_arguments(options)
    options.add_argument("--json", metavar="FILE", type=Path, help="write what came out, for the tests")
    options.add_argument("--section", metavar="FILE", type=Path, help="write what the documentation has of it")
    given = options.parse_args()
    quiet.down()
    outcome = run(chosen(given))
    print(recorded_table.plain(outcome.rows))
    for difference in outcome.differences:
        print(f"DIFFERENT: {difference}")
    print(recorded_table.summary(outcome.rows))
    if given.json is not None:
        table = [dict(zip(recorded_table.HEAD, line, strict=True)) for line in recorded_table.lines(outcome.rows)]
        given.json.write_text(json.dumps({"table": table, "differences": outcome.differences}))
    if given.section is not None:
        given.section.write_text(outcome.section)
    return 1 if outcome.differences else 0


if __name__ == "__main__":
    sys.exit(main())
