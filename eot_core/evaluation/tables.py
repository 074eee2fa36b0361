"""A benchmark as text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .benchmark import FEW, Benchmark
from .evaluate import BudgetResult, Evaluation, FamilyResult, Interval
from .sweep import Budget


def report_lines(result: Benchmark) -> Iterator[str]:
    """Lines for a terminal."""
    yield from _table("all", result.overall)
    yield from _gains(result.differences())
    for kind, values in result.groups.items():
        small = []
        for value, models in values.items():
            first = next(iter(models.values()))
            if min(first.holds, first.ends) < FEW:
                small.append(f"{value} ({first.ends}/{first.holds})")
                continue
            yield ""
            yield from _table(f"{kind} {value}", models)
            yield from _gains(result.differences(models))
        if small:
            yield ""
            yield f"{kind}s with fewer than {FEW} ends or holds, in --json and --html only: {', '.join(small)}"
    for curve in ("eot-bench", "continuous", "rescored"):
        rows = {m: e for m, e in result.overall.items() if any(f.name == curve for f in e.families)}
        if rows:
            yield ""
            yield from _table(CURVES[curve], rows, curve)
    left_out = len({problem.item for problem in result.problems if problem.left_out})
    what = "1 item was" if left_out == 1 else f"{left_out} items were"
    told = [f"{what} left out, in whole or in part: standard error, --json and --html say why"] if left_out else []
    if notes := [*result.notes, *told]:
        yield ""
        yield from (f"note: {note}" for note in notes)
    if result.overall:
        yield ""
        yield "Each budget's policy is chosen on the pauses it is measured on, as in eot-bench; brackets: 95 %, drawn"
        yield "by speaker or call; after the slash: chosen on one half of the speakers, measured on the other, where"
        yield "a policy does not keep to its budget exactly."


CURVES = {
    "eot-bench": "eot-bench's own sweep (its grid; a score must exceed the threshold)",
    "continuous": "the delay falls with the probability",
    "rescored": "the delay falls with the probability, scored again as the pause grows",
}


def _gains(differences: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in differences:
        yield f"  {row['model']} against {row['against']}: {', '.join(gains(row))}"


def gains(row: Mapping[str, Any]) -> Iterator[str]:
    """ "AUC +.113 [+.075, +.158]" and so on, of a row of :meth:`Benchmark.differences`."""
    figures = {"AUC": row["auc"], **row["budgets"]}
    for name, figure in figures.items():
        if figure is None:
            continue
        unit = " s" if name.startswith("latency") else ""
        text = f"{name} {_signed(figure['gain'])}{unit}"
        if figure["interval"] is not None:
            text += " [" + ", ".join(_signed(v) for v in figure["interval"]) + "]"
        yield text


def _signed(value: float) -> str:
    return ("-" if round(value, 3) < 0 else "+") + plain(abs(value))


def _table(title: str, models: dict[str, Evaluation], curve: str | None = None) -> Iterator[str]:
    first = next(iter(models.values()))
    few = min(first.holds, first.ends) < FEW
    warning = f"  (fewer than {FEW} of one kind: take the figures as hints)" if few else ""
    yield f"{title}: {first.ends} ends, {first.holds} holds, {first.clusters} speakers or calls{warning}"
    rows = [["model", "AUC", "AP"]]
    for name, evaluation in models.items():
        family = _family(evaluation, curve)
        if len(rows[0]) == 3 and family is not None:
            rows[0] += [r.budget.label for r in family.budgets]
        row = [name, _figure(evaluation.auc, evaluation.auc_interval), plain(evaluation.ap)]
        rows.append(row + ([budget_text(r) for r in family.budgets] if family is not None else []))
    width = max(len(row) for row in rows)
    rows = [row + ["-"] * (width - len(row)) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(width)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()


def _family(evaluation: Evaluation, curve: str | None) -> FamilyResult | None:
    if curve is None:
        return evaluation.families[0] if evaluation.families else None
    return next((f for f in evaluation.families if f.name == curve), None)


def budget_text(result: BudgetResult) -> str:
    """ ".123 (45) [.100, .150] / .130 at 0.31 s": value, count, interval, held out."""
    if result.best is None:
        return "none keeps to it"
    count = f" ({result.best.cutoffs})" if result.budget.kind == "latency" else ""
    text = amount(result.best.value(result.budget), result.budget) + count
    if result.interval is not None:
        low, high = (amount(v, result.budget) for v in result.interval)
        text += f" [{low}, {high}]"
    elsewhere = held_out_text(result)
    return f"{text} / {elsewhere}" if elsewhere else text


def held_out_text(result: BudgetResult) -> str:
    """ ".130 at 0.31 s": what the policy did to speakers that it was not chosen on; "" where that is not known.

    Both figures, because elsewhere a policy does not keep to its budget exactly.
    """
    held = result.held_out
    if held is None:
        return ""
    if result.budget.kind == "latency":
        return f"{plain(held.cutoff_rate)} at {held.latency:.2f} s"
    return f"{held.latency:.3f} s at {plain(held.cutoff_rate)}"


def amount(value: float, budget: Budget) -> str:
    """A share as ".123", seconds as "0.123 s"."""
    return plain(value) if budget.kind == "latency" else f"{value:.3f} s"


def _figure(value: float, interval: Interval) -> str:
    text = plain(value)
    return text if interval is None else f"{text} [{plain(interval[0])}, {plain(interval[1])}]"


def plain(value: float) -> str:
    """ ".123"; "-" for NaN."""
    if math.isnan(value):
        return "-"
    return f"{value:.3f}".removeprefix("0")
