"""Time of each encoder as a ratio to smart-turn's graph as shipped, in one run: ``python -m training.speed``.

One thread each; medians over the rounds, so that a burst of other work on the machine changes little.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from eot_core.models import graph, smart_turn
from eot_core.models.eot_open import EOT_OPEN, encoder_graph, packaged_head
from eot_core.models.session import OnnxSession, shared_session
from eot_core.models.weights import packaged_weights

GOALS = {"eot-open-1": 0.70, "eot-open-1-fast": 0.35, "eot-open-1-fast-4s": 0.16}


def ratios(rounds: int) -> dict[str, tuple[float, float]]:
    """For each model: median milliseconds, and the median of its ratios to the shipped graph of the same round."""
    path = packaged_weights(smart_turn.NAME, (smart_turn._FILE,), sha256=(smart_turn.SHA256,), install=graph.INSTALL)
    sessions: dict[str, tuple[OnnxSession, tuple[str, ...] | None]] = {smart_turn.NAME: (shared_session(path), None)}
    for spec in EOT_OPEN:
        head = packaged_head(spec.name)
        sessions[spec.name] = (shared_session(encoder_graph(head)), head.tensors)
    rng = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    feeds = {
        name: {graph.INPUT: 0.3 * rng.standard_normal((1, 80, s.get_inputs()[0].shape[2])).astype(np.float32)}
        for name, (s, _) in sessions.items()
    }
    for number in range(rounds + 3):
        for name, (session, outputs) in sessions.items():
            begin = time.perf_counter()
            session.run(outputs, feeds[name])
            if number >= 3:
                seconds[name].append(time.perf_counter() - begin)
    shipped = np.array(seconds[smart_turn.NAME])
    return {
        name: (1e3 * float(np.median(values)), float(np.median(np.array(values) / shipped)))
        for name, values in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    print("| encoder | ms | ratio | goal |\n|---|---|---|---|")
    for name, (milliseconds, ratio) in ratios(parser.parse_args().rounds).items():
        goal = f"<= {GOALS[name]:.2f}" if name in GOALS else ""
        print(f"| {name} | {milliseconds:.1f} | {ratio:.3f} | {goal} |")


if __name__ == "__main__":
    main()
