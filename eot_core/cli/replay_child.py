"""What a replay starts in processes of their own ends when the replay is gone, however that came to its end.

As a program, ``python -m eot_core.cli.replay_child PID COMMAND ...``, it is ``eot COMMAND ...`` that ends with PID.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Final

POLL: Final = 0.25
"""Seconds between looks at who the parent is. A process whose parent is gone is given another."""
GRACE: Final = 1.5
"""Seconds to end in order."""


def end_with(parent: int) -> None:
    """End this process when the one that started it is gone: by SIGTERM and, if that does not do, at once.

    Args:
        parent: its process id. Where it is gone already, this process ends now.
    """
    threading.Thread(target=_watch, args=(parent,), name="eot-replay-child", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


if __name__ == "__main__":
    from . import main

    end_with(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
