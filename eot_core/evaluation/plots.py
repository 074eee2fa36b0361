"""Plots of a benchmark. Needs matplotlib (extra ``plot``); no window is opened, and no global state is touched."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from .benchmark import Benchmark
from .dataset import DatasetError
from .evaluate import Evaluation
from .output_file import write_output
from .pauses import Pauses
from .scorers import ELAPSED, VAD
from .sweep import Budget

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which colour-blind readers can tell apart; line styles differ as well."""
_BASELINES = {VAD: ("#555555", "dashed"), ELAPSED: ("#999999", "dotted")}
PLOTS = ("frontier.png", "budgets.png")
_MADE_BY = "eot bench"
"""Within each PNG, so that the next may take its place."""
_MAX_LATENCY = 2.0
_MAX_CUTOFF = 0.7


def matplotlib() -> Any:
    """The package's ``figure`` module.

    Raises:
        DatasetError: it is not installed.
    """
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise DatasetError("plots and the HTML report need matplotlib: pip install 'eot-adapters[plot]'") from error


def style(models: list[str], model: str) -> dict[str, Any]:
    """Colour and line of a model, the same in every plot."""
    if model in _BASELINES:
        colour, line = _BASELINES[model]
        return {"color": colour, "linestyle": line}
    others = [m for m in models if m not in _BASELINES]
    number = others.index(model)
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": "solid" if number < len(COLOURS) else "dashdot"}


def frontier(result: Benchmark) -> Any:
    """False cutoffs against latency: the best that each model can do. Needs :func:`has_policies`."""
    figure = matplotlib().Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    best = {model: evaluation.families[0].frontier for model, evaluation in result.overall.items()}
    lowest = max(points[-1].cutoff_rate for points in best.values())
    top = 100.0 * (_MAX_CUTOFF if lowest < 0.9 * _MAX_CUTOFF else 1.05)
    for model, points in best.items():
        # To the edges of the plot: what one policy does, any that waits longer does as well. One point is a line too.
        latency = [points[0].latency, *(p.latency for p in points), max(_MAX_LATENCY, points[-1].latency)]
        share = [1.05, *(p.cutoff_rate for p in points), points[-1].cutoff_rate]
        axes.step(
            latency,
            [100 * s for s in share],
            where="post",
            label=model,
            linewidth=2,
            zorder=3,  # over the axis, where no pause is cut off
            **style(result.models, model),
        )
    for at in (0.3, 0.6):
        axes.axvline(at, color="#cccccc", linewidth=1, zorder=0)
    for rate in (5, 10):
        axes.axhline(rate, color="#cccccc", linewidth=1, zorder=0)
    axes.set_xlim(0.15, _MAX_LATENCY)
    axes.set_ylim(-0.01 * top, top)
    axes.set_xlabel("mean latency at the end of a turn (s)")
    axes.set_ylabel("pauses inside a turn that are cut off (%)")
    axes.set_title("What can be had: nearer to the lower left is better", loc="left", fontsize=11)
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def budgets(result: Benchmark) -> Any:
    """The headline figures of each model, with their intervals. Needs :func:`has_policies`."""
    figure = matplotlib().Figure(figsize=(9.6, 0.9 + 0.42 * len(result.overall)), layout="constrained")
    wanted = [r.budget for r in next(iter(result.overall.values())).families[0].budgets]
    for axes, budget in zip(np.atleast_1d(figure.subplots(1, len(wanted), sharey=True)), wanted, strict=True):
        scale = 100.0 if budget.kind == "latency" else 1.0
        for row, (model, evaluation) in enumerate(result.overall.items()):
            _budget_bar(axes, row, evaluation, budget, scale, style(result.models, model)["color"])
        axes.set_yticks(range(len(result.overall)), list(result.overall))
        axes.set_ylim(len(result.overall) - 0.5, -0.5)
        axes.set_title(budget.label + (" (%)" if budget.kind == "latency" else " cutoffs (s)"), fontsize=10, loc="left")
        axes.set_xlim(0, max(axes.get_xlim()[1] * 1.15, 0.01))
        axes.xaxis.set_major_locator(_few_ticks())
        _plain(axes)
    return figure


def _few_ticks() -> Any:
    return importlib.import_module("matplotlib.ticker").MaxNLocator(4)


def _budget_bar(axes: Any, row: int, evaluation: Evaluation, budget: Budget, scale: float, colour: str) -> None:
    found = next(r for r in evaluation.families[0].budgets if r.budget == budget)
    if found.best is None:
        axes.text(0, row, " none", va="center", fontsize=8)
        return
    value = found.best.value(budget) * scale
    axes.barh(row, value, color=colour, height=0.55, alpha=0.85)
    end = value
    if found.interval is not None:
        low, high = (v * scale for v in found.interval)
        axes.plot([low, high], [row, row], color="black", linewidth=1.2)
        end = max(value, high)
    text = f" {value:.1f}" if budget.kind == "latency" else f" {value:.2f}"
    axes.text(end, row, text, va="center", fontsize=8)


def distribution(result: Benchmark, model: str, pauses: Pauses) -> Any:
    """Scores of holds and of ends."""
    figure = matplotlib().Figure(figsize=(4.8, 2.6), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(0, 1, 26)
    for is_end, name, colour in ((False, "holds", "#D55E00"), (True, "ends", "#0072B2")):
        scores = pauses.score[pauses.asked & (pauses.is_end == is_end)]
        if len(scores):
            axes.hist(
                scores,
                bins=bins,
                weights=np.full(len(scores), 100 / len(scores)),
                label=f"{name} ({len(scores)})",
                color=colour,
                alpha=0.6,
            )
    axes.set_xlabel(f"score of {model}")
    axes.set_ylabel("share of each (%)")
    axes.legend(frameon=False)
    axes.set_xlim(0, 1)
    _plain(axes)
    return figure


def svg(figure: Any) -> str:
    """A figure as SVG text, the same for the same figure."""
    buffer = io.StringIO()
    with importlib.import_module("matplotlib").rc_context({"svg.hashsalt": "eot", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def has_policies(result: Benchmark) -> bool:
    """Whether there were holds and ends, so that policies could be tried."""
    return any(e.families for e in result.overall.values())


def write_plots(result: Benchmark, folder: Path) -> list[Path]:
    """Write :data:`PLOTS`; returns where they are. Without holds or ends there is nothing to plot.

    Raises:
        OSError: one cannot be written.
    """
    paths: list[Path] = []
    if not has_policies(result):
        return paths
    for name, figure in zip(PLOTS, (frontier(result), budgets(result)), strict=True):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=140, metadata={"Software": _MADE_BY})
        write_output(folder / name, buffer.getvalue())
        paths.append(folder / name)
    return paths


def is_plot(path: Path) -> bool:
    """Whether a file is one that :func:`write_plots` wrote, and may be replaced by the next."""
    with path.open("rb") as file:
        return f"tEXtSoftware\0{_MADE_BY}".encode() in file.read(1024)


def _plain(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=9)
