"""The calibration file (``eot-calibration/1``, read by :mod:`eot_core.policy_table`), and the same as text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..models.own_head import checksum
from ..operating_points import OperatingPoint
from ..policy_table import MeasuredPolicy, PolicyTable
from .output_file import write_output
from .sweep import Budget
from .tables import plain
from .tuning import Tuning
from .tuning_bench import Tuned
from .tuning_budgets import FLOOR, NAMED, below_floor, budget_name
from .tuning_measure import Interval, Measured, both_of
from .tuning_own import TunedHead, TunedLanguage

SOURCE = "eot-tune"
CAVEAT = (
    "Each figure is of calls that the policy was not chosen on, one half of the calls and the other in turn; the "
    "policy that is written was chosen on all of them. Calls of another kind may differ"
)


def calibration(
    dataset: str, tuned: Sequence[TunedLanguage], checksums: Mapping[str, str | None], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of the file.

    Args:
        dataset: its name.
        tuned: what is to be written; each has a point at least.
        checksums: of the weights, by model.
        settings: kept for the record.

    Raises:
        ValueError: there is none, or it has no point.
    """
    empty = [f"{t.shipped.model} {t.shipped.language}" for t in tuned if not t.shipped.points]
    if empty or not tuned:
        raise ValueError(f"there is nothing to write for {', '.join(empty) or 'any model'}")
    models: dict[str, Any] = {}
    for one in tuned:
        model = one.shipped.model
        row: dict[str, Any] = {"source": SOURCE, "languages": {}}
        if checksums.get(model) is not None:
            row["sha256"] = checksums[model]
        models.setdefault(model, row)["languages"][one.shipped.language] = _language(one)
    calls = max(one.shipped.calls for one in tuned)
    content = {
        "schema": "eot-calibration/1",
        "sources": {SOURCE: {"title": f"eot tune on {dataset} ({calls} calls or speakers)", "caveat": CAVEAT}},
        "settings": dict(settings),
        "models": models,
    }
    PolicyTable.from_json(content, "what eot tune writes")
    return content


def write_calibration(path: Path, content: Mapping[str, Any]) -> None:
    """Write the file, as :func:`write_output` does.

    Raises:
        OSError: it cannot be written; the error names ``path``.
    """
    write_output(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def is_calibration(path: Path) -> bool:
    """Whether a file is one of these, and may be replaced by the next. Its policies are not looked at."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and str(content.get("schema", "")).startswith("eot-calibration/")


def _language(tuned: TunedLanguage) -> dict[str, Any]:
    shipped, now = tuned.shipped, tuned.shipped.today_policy
    row = {
        "calls": shipped.calls,
        "holds": shipped.holds,
        "ends": shipped.ends,
        **_tuning(shipped),
        "today": {
            "threshold": now.threshold,
            "min_delay": now.options.min_delay,
            "max_delay": now.options.max_delay,
            **_measured(shipped.today),
        },
    }
    if tuned.head is not None:
        row["head_trial"] = _trial(tuned.head)
        if tuned.head.tuning is not None and tuned.head.document is not None:
            document = tuned.head.document
            row["head"] = {"document": document, "sha256": checksum(document), **_tuning(tuned.head.tuning)}
    return row


def _tuning(tuning: Tuning) -> dict[str, Any]:
    return {
        "auc": round(tuning.auc, 4),
        "points": [_point(tuned) for tuned in tuning.points],
        "evidence": [_evidence(tuned) for tuned in tuning.points],
        "missing": [{"budget": b.kind, "value": b.value, "why": why} for b, why in tuning.missing],
    }


def _trial(head: TunedHead) -> dict[str, Any]:
    """Whatever came of it: a head that is not written has figures too, unless there was too little data."""
    trial = head.trial
    row: dict[str, Any] = {"written": head.document is not None, "verdict": head.verdict}
    if not trial.lacks:
        figures = {"auc": trial.auc, "shipped_auc": trial.shipped_auc, "gain": trial.gain}
        row |= {name: round(value, 4) for name, value in figures.items()}
        row["gain_interval"] = trial.gain_interval
    if head.change is not None:
        row["change_against_shipped"] = _measured(head.change)
    return row


def _point(tuned: Tuned) -> dict[str, Any]:
    options = tuned.policy.options
    return {
        "budget": tuned.budget.kind,
        "value": tuned.budget.value,
        "threshold": round(tuned.policy.threshold, 6),
        "min_delay": round(options.min_delay, 6),
        "max_delay": round(options.max_delay, 6),
        "exponent": None if options.exponent is None else round(options.exponent, 6),
        "rescore_every": options.rescore_every,
        "cutoff_rate": round(tuned.held_out.cutoff_rate, 6),
        "latency": round(tuned.held_out.latency, 6),
    }


def _evidence(tuned: Tuned) -> dict[str, Any]:
    return {
        "budget": tuned.budget.kind,
        "value": tuned.budget.value,
        "name": NAMED.get(tuned.budget),
        "curve": tuned.curve,
        "chosen_for": round(tuned.chosen_for, 6),
        "threshold_interval": tuned.threshold_interval,
        "held_out": _measured(tuned.held_out),
        "on_the_calls_it_was_chosen_on": _measured(tuned.chosen),
        "change_against_today": _measured(tuned.change),
    }


def _measured(measured: Measured) -> dict[str, Any]:
    return {
        "cutoff_rate": round(measured.cutoff_rate, 6),
        "cutoff_interval": measured.cutoff_interval,
        "latency": round(measured.latency, 6),
        "latency_interval": measured.latency_interval,
    }


def report_lines(tuned: TunedLanguage, budget: Budget) -> Iterator[str]:
    """Lines for a terminal; ``budget`` is the one that was asked for."""
    shipped, tuning = tuned.shipped, tuned.best
    yield (
        f"{shipped.model}, {shipped.language}: {shipped.calls} calls or speakers, {shipped.ends} ends, "
        f"{shipped.holds} holds, AUC {plain(shipped.auc)}"
    )
    if tuned.head is not None:
        yield f"  a head of your own: {tuned.head.verdict}"
    rows = [["for", "curve", "threshold", "delay", "cutoffs", "latency"]]
    called, runs = _called(tuning), _what_runs(tuning, budget)
    rows += [
        [_title(point, budget, called, runs), point.curve, *_settings(point), *_figures(point.held_out)]
        for point in sorted(tuning.points, key=lambda p: (p is not runs, p.budget != budget, p.budget not in NAMED))
    ]
    now = tuning.today_policy
    today = [f"{now.threshold:.3f}", f"{now.options.min_delay:.2f}-{now.options.max_delay:.2f} s"]
    rows.append(["(today's settings)", "step", *today, *_figures(tuning.today)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if runs is not None and tuning.point(budget) is not None:
        name, own = budget_name(budget), runs.budget == budget
        yield f"  against today, with {'' if own else 'what runs for '}{name}: {_change(runs.change)}"
        if tuned.head is not None and tuned.head.change is not None:
            which = "" if own else f", both chosen for {name}"
            yield f"  with the head against without it{which}: {_change(tuned.head.change)}"
        spent, aim = both_of(budget, runs.held_out)
        spent_today, aim_today = both_of(budget, tuning.today)
        if spent_today <= budget.value and aim_today <= aim:
            yield "  today's settings keep to that as well, and are no worse in the other: leave them"
        elif below_floor(budget):
            yield (
                f"  nothing ends before {FLOOR:g} s, so that a mean of {budget.value:g} s cannot be: this is the "
                "policy that would have it without that, measured with it"
            )
        elif round(spent, 3) > budget.value:  # as the table has it
            yield (
                f"  on held-out calls it is above the budget ({_spent(spent, budget)}): with more calls it would come "
                "nearer; until then ask for less"
            )
    for missed, why in sorted(tuning.missing, key=lambda m: m[0] == budget):
        near = _nearest(tuning, budget) if missed == budget else ""
        asked = " (asked for)" if missed == budget else ""
        yield f"  {budget_name(missed)}{asked}: {why}" + (f". Nearest to it that can be: {near}" if near else "")


def _nearest(tuning: Tuning, budget: Budget) -> str:
    """Arguments for ``--budget`` that can be kept to, the two nearest: of the same kind, unless there is none."""
    there = [p.budget for p in tuning.points if p.budget.kind == budget.kind] or [p.budget for p in tuning.points]
    nearest = sorted(there, key=lambda b: abs(b.value - budget.value))[:2]
    return ", ".join(f"{b.kind}={b.value:g}" for b in nearest)


def _called(tuning: Tuning) -> dict[Budget, list[str]]:
    """The names of operating points, by the budget of the point that each of them stands for: often, not always, the
    one that was tuned for the name."""
    points = [(p.budget, MeasuredPolicy.from_json(_point(p))) for p in tuning.points]
    called: dict[Budget, list[str]] = {}
    for name in NAMED.values() if points else ():
        chosen, _ = OperatingPoint.parse(name).choose(tuple(policy for _, policy in points))
        called.setdefault(next(budget for budget, policy in points if policy is chosen), []).append(name)
    return called


def _what_runs(tuning: Tuning, budget: Budget) -> Tuned | None:
    """The point that a detector takes which is asked for ``budget``: often, not always, the one that was tuned for it.
    None where there are no points."""
    if not tuning.points:
        return None
    limit = {"max_cutoff_rate" if budget.kind == "cutoff" else "max_latency": budget.value}
    policies = tuple(MeasuredPolicy.from_json(_point(p)) for p in tuning.points)
    chosen, _ = OperatingPoint(**limit).choose(policies)  # type: ignore[arg-type]  # one of the two that are numbers
    return next(point for point, policy in zip(tuning.points, policies, strict=True) if policy is chosen)


def _title(point: Tuned, asked: Budget, called: Mapping[Budget, Sequence[str]], runs: Tuned | None) -> str:
    names = list(called.get(point.budget, ()))
    if point is runs:
        names.append("asked for" if point.budget == asked else f"runs for {budget_name(asked)}")
    return budget_name(point.budget) + (f" ({', '.join(names)})" if names else "")


def _settings(tuned: Tuned) -> tuple[str, str]:
    options = tuned.policy.options
    delay = f"{options.min_delay:.2f}-{options.max_delay:.2f} s"
    if options.exponent is not None:
        return "-", f"{delay}, exponent {options.exponent:.3g}"
    threshold = f"{tuned.policy.threshold:.3f}"
    if tuned.threshold_interval is not None:
        threshold += " [{:.3f}, {:.3f}]".format(*tuned.threshold_interval)
    return threshold, delay


def _figures(measured: Measured) -> tuple[str, str]:
    cutoffs = plain(measured.cutoff_rate) + _interval(measured.cutoff_interval)
    if math.isnan(measured.latency):
        return cutoffs, "-"
    return cutoffs, f"{measured.latency:.3f} s" + _interval(measured.latency_interval)


def _interval(value: Interval) -> str:
    return "" if value is None else f" [{plain(value[0])}, {plain(value[1])}]"


def _change(change: Measured) -> str:
    cutoffs = f"{change.cutoff_rate * 100:+.1f} points"
    if change.cutoff_interval is not None:
        cutoffs += " [{:+.1f}, {:+.1f}]".format(*(100 * v for v in change.cutoff_interval))
    latency = f"{change.latency:+.3f} s"
    if change.latency_interval is not None:
        latency += " [{:+.3f}, {:+.3f}]".format(*change.latency_interval)
    return f"cutoffs {cutoffs}, latency {latency}"


def _spent(value: float, budget: Budget) -> str:
    return f"{value:.1%}" if budget.kind == "cutoff" else f"{value:.3f} s"
