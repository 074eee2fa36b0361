"""``python -m tests.faults [--write FILE] [--jobs N]``: run the fault matrix and print it as a page.

Ends with 1 where a cell is not as it should be.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

_HERE = Path(__file__).parent


def find_modules() -> None:
    """The test modules know each other by their plain names, as under pytest."""
    for name in [name for name in os.environ if name.startswith("LIVEKIT_")]:
        del os.environ[name]  # nothing of this machine's configuration may choose a model
    for folder in (_HERE.parent / "eot_core", _HERE, _HERE.parents[1]):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Run the fault matrix.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page here too")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="processes (default %(default)s)")
    arguments = parser.parse_args()
    find_modules()
    import fault_page
    from fault_table import Line, Task, run

    tasks = fault_page.tasks()
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        lines: dict[Task, Line] = dict(zip(tasks, pool.map(run, tasks, chunksize=8), strict=True))
    text = fault_page.render(lines)
    print(text)
    if arguments.write is not None:
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        arguments.write.write_text(text, encoding="utf-8")
    failures = [line.failure for line in lines.values() if line.failure is not None]
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{len(lines)} cells, {len(failures)} of them not as they should be", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
