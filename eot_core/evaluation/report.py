"""The HTML report: one file, nothing fetched; its errors can be listened to with one click."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from . import plots
from .benchmark import FEW, Benchmark
from .evaluate import BudgetResult, Evaluation, FamilyResult, Interval
from .output_file import write_output
from .report_errors import error_section
from .report_page import page
from .scorers import ELAPSED, VAD
from .scoring import ScoredSet
from .sweep import Budget
from .tables import CURVES, amount, gains, held_out_text, plain

TITLE = "Turn detection on"
"""Begins the title of every report."""
OVERVIEW = Budget("cutoff", 0.05)
MANY = 3
"""More languages, or sources, than this: one table of :data:`OVERVIEW` comes first, and the others are folded."""


def write_report(
    path: Path,
    result: Benchmark,
    scored: ScoredSet | None,
    *,
    audio: str = "embed",
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Write the report, as :func:`write_output` does.

    Args:
        path: the HTML file.
        result: what to report.
        scored: for the errors and the distributions of the scores; None leaves them out.
        audio: "embed" puts the audio of the errors into the page (some 20 kB each), "link" into a folder next to it,
            "none" leaves it out.
        on_progress: told after each error whose audio was cut out: how many are done, of how many.

    Raises:
        DatasetError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    errors: list[str] = []
    sounds: dict[str, str] = {}
    if scored is not None:
        errors, sounds = error_section(result, scored, path, audio, on_progress)
    parts = [*_head(result)]
    if errors:  # thousands, it may be: they come last
        parts.append('<p><a href="#errors">The errors</a> are at the end.</p>')
    parts += [*_headline(result), *_plots(result, scored), *_curves(result), *_groups(result), *_left_out(result)]
    parts += errors
    clips_json = json.dumps(sounds).replace("<", "\\u003c")
    text = page(f"{TITLE} {escape(result.dataset)}", "\n".join(parts), clips_json)
    # JSON may hold halves of a surrogate pair, which are no text.
    write_output(path, text.encode(errors="xmlcharrefreplace"))


def is_report_page(path: Path) -> bool:
    """Whether a file is one that :func:`write_report` wrote, and may be replaced by the next."""
    with path.open("rb") as file:
        return f"<title>{TITLE} ".encode() in file.read(1024)


def _head(result: Benchmark) -> Iterator[str]:
    first = next(iter(result.overall.values()))
    split = result.settings.get("split")
    yield f"<h1>{TITLE} {escape(result.dataset)}{f', {escape(str(split))}' if split else ''}</h1>"
    yield (
        f'<p class="soft">{first.ends} ends of a turn and {first.holds} pauses inside one, of {first.clusters} '
        f"speakers or calls. Scored {result.settings.get('score_at', 0.2):g} s into each pause; the audio that a model "
        "hears ends there.</p>"
    )
    if min(first.ends, first.holds) < FEW:
        yield f"<p><strong>Fewer than {FEW} ends or pauses: take the figures as hints.</strong></p>"
    for note in result.notes:
        yield f"<p><strong>To be known:</strong> {escape(note)}.</p>"
    for model, why in result.failed.items():
        yield f"<p><strong>{escape(model)} is missing:</strong> {escape(why)}</p>"


def _headline(result: Benchmark) -> Iterator[str]:
    yield "<h2>Figures</h2>"
    yield from _table(result.overall)
    yield from _gains(result.differences())
    yield (
        '<p class="small soft">Cutoffs: share (and number) of the pauses inside a turn that would have been taken for '
        "its end, by the best policy whose mean latency stays within the budget. Latency: mean wait at the end of a "
        "turn, by the best policy that cuts off no more than the budget. Each policy is chosen on the pauses that it "
        "is measured on, as in eot-bench; brackets: 95&nbsp;%, drawn by speaker or call, the policy chosen anew each "
        "time; <em>elsewhere</em>: chosen on one half of the speakers and measured on the other, where a policy does "
        "not keep to its budget exactly.</p>"
    )


def _table(models: Mapping[str, Evaluation], curve: str | None = None) -> Iterator[str]:
    rows: list[str] = []
    labels: list[str] = []
    for name, evaluation in models.items():
        family = _family(evaluation, curve)
        if curve is not None and family is None:
            continue
        cells = [f"<td>{escape(name)}</td>", _cell(plain(evaluation.auc), _brackets(evaluation.auc_interval, None))]
        if family is not None:
            labels = labels or [r.budget.label for r in family.budgets]
            cells += [_budget_cell(r) for r in family.budgets]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(label)}</th>" for label in ["model", "AUC", *labels])
    yield f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _gains(differences: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in differences:
        against = f"{escape(row['model'])} against {escape(row['against'])}"
        yield f'<p class="small">{against}: {escape(", ".join(gains(row)))}</p>'


def _family(evaluation: Evaluation, curve: str | None) -> FamilyResult | None:
    if curve is None:
        return evaluation.families[0] if evaluation.families else None
    return next((f for f in evaluation.families if f.name == curve), None)


def _budget_cell(result: BudgetResult) -> str:
    if result.best is None:
        return _cell("none keeps to it", "")
    value = amount(result.best.value(result.budget), result.budget)
    if result.budget.kind == "latency":
        value += f" ({result.best.cutoffs})"
    small = _brackets(result.interval, result.budget)
    return _cell(value, small, f"elsewhere {held_out_text(result)}" if result.held_out is not None else "")


def _cell(value: str, *small: str) -> str:
    return f"<td>{escape(value)}{''.join(f'<small>{escape(text)}</small>' for text in small)}</td>"


def _brackets(interval: Interval, budget: Budget | None) -> str:
    if interval is None:
        return ""
    low, high = (plain(v) if budget is None else amount(v, budget) for v in interval)
    return f"[{low}, {high}]"


def _plots(result: Benchmark, scored: ScoredSet | None) -> Iterator[str]:
    if not plots.has_policies(result):
        return
    yield '<h2>What can be had</h2><div class="plots">'
    yield plots.svg(plots.frontier(result))
    if scored is not None:
        for model in result.models:
            if model not in (VAD, ELAPSED):
                yield plots.svg(plots.distribution(result, model, scored.for_model(model)))
    yield f'</div><div class="plots">{plots.svg(plots.budgets(result))}</div>'


def _curves(result: Benchmark) -> Iterator[str]:
    for curve, title in CURVES.items():
        if any(f.name == curve for e in result.overall.values() for f in e.families):
            yield f"<h3>{escape(title[0].upper() + title[1:])}</h3>"
            yield from _table(result.overall, curve)


def _groups(result: Benchmark) -> Iterator[str]:
    for kind, values in result.groups.items():
        yield f"<h2>By {escape(kind)}</h2>"
        if len(values) > MANY:
            yield from _overview(kind, values)
        for value, models in values.items():
            first = next(iter(models.values()))
            few = min(first.holds, first.ends) < FEW
            hint = " (few: take the figures as hints)" if few else ""
            folded = few or len(values) > MANY
            yield (
                f"<details{'' if folded else ' open'}><summary><strong>{escape(value)}</strong> {first.ends} ends, "
                f"{first.holds} holds, {first.clusters} speakers or calls{hint}</summary>"
            )
            yield from _table(models)
            yield from _gains(result.differences(models))
            yield "</details>"


def _overview(kind: str, values: Mapping[str, Mapping[str, Evaluation]]) -> Iterator[str]:
    """One line for each of many languages, or sources."""
    models = list(next(iter(values.values())))
    rows = []
    for value, found in values.items():
        first = found[models[0]]
        cells = [f"<td>{escape(value)}</td><td>{first.ends}</td><td>{first.holds}</td>"]
        for model in models:
            results = [r for family in found[model].families[:1] for r in family.budgets if r.budget == OVERVIEW]
            cells += [_budget_cell(r) for r in results] or ["<td>-</td>"]
        few = min(first.holds, first.ends) < FEW
        rows.append(f"<tr{' class=soft' if few else ''}>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(label)}</th>" for label in (kind, "ends", "holds", *models))
    yield (
        f'<p class="small soft">{escape(OVERVIEW.label)} cutoffs; grey: fewer than {FEW} ends or holds, take the '
        "figures as hints.</p>"
    )
    yield f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _left_out(result: Benchmark) -> Iterator[str]:
    yield "<h2>What was left out, or is to be looked at</h2>"
    if not result.problems:
        yield "<p>Nothing.</p>"
        return
    rows = "".join(
        f"<tr><td>{escape(p.item)}</td><td>{escape(p.message)}</td>"
        f"<td>{'left out' if p.left_out else 'counted'}</td></tr>"
        for p in result.problems
    )
    yield (
        f"<details{' open' if len(result.problems) <= 20 else ''}><summary>{len(result.problems)} messages</summary>"
        f'<div class="wide"><table><tbody>{rows}</tbody></table></div></details>'
    )
