"""What a test left behind: tasks, threads, descriptors."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

_SHARED = ("eot-inference", "asyncio_")
"""How the names of threads begin that are the process's or the loop's, not a stream's: they end when they have been
idle, or with the loop. The loop starts as many as it has calls at the same moment."""


@dataclass(frozen=True)
class Left:
    """What this process holds on to."""

    tasks: frozenset[asyncio.Task[Any]]
    threads: frozenset[threading.Thread]
    descriptors: frozenset[str]

    @classmethod
    def now(cls) -> Left:
        return cls(frozenset(asyncio.all_tasks()), frozenset(threading.enumerate()), frozenset(_descriptors()))

    def more(self, *, except_tasks: str | None = None, except_descriptors: Collection[int] = ()) -> list[str]:
        """What there is now that was not there then.

        Args:
            except_tasks: tasks whose name begins so are somebody else's.
            except_descriptors: numbers of somebody else's.
        """
        now = Left.now()
        tasks = [
            task
            for task in now.tasks - self.tasks
            if except_tasks is None or not task.get_name().startswith(except_tasks)
        ]
        return [
            *(f"task {task!r}" for task in tasks),
            *(f"thread {thread!r}" for thread in now.threads - self.threads if not thread.name.startswith(_SHARED)),
            *(
                f"descriptor {name}"
                for name in now.descriptors - self.descriptors
                if int(name.split()[0]) not in except_descriptors
            ),
        ]


def _descriptors() -> list[str]:
    """Open descriptors and what they point to: a number alone may have been given out again."""
    found = []
    for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            found.append(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:
            continue  # the one that lists them
    return found
