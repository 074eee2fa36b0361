"""The HTML report: one file, nothing fetched; its errors can be listened to with one click."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import plots
from .benchmark import FEW, Benchmark
from .errors import Clip, Mistake, clips, mistakes
from .evaluate import BudgetResult, Evaluation, FamilyResult, Interval
from .report_page import page
from .scorers import ELAPSED, VAD
from .scoring import ScoredPause, ScoredSet
from .simulation import Policy
from .sweep import Budget
from .tables import CURVES, amount, gains, held_out_text, plain

ERRORS_AT = Budget("latency", 0.6)
"""The policy whose errors are listed: the fewest cutoffs at a mean latency of 600 ms."""


def write_report(path: Path, result: Benchmark, scored: ScoredSet | None, *, audio: str = "embed") -> None:
    """Write the report.

    Args:
        path: the HTML file.
        result: what to report.
        scored: for the errors and the distributions of the scores; None leaves them out.
        audio: "embed" puts the audio of the errors into the page (some 20 kB each), "link" into a folder next to it,
            "none" leaves it out.

    Raises:
        DatasetError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    parts = [*_head(result), *_headline(result), *_plots(result, scored)]
    errors: list[str] = []
    sounds: dict[str, str] = {}
    if scored is not None:
        errors, sounds = _errors(result, scored, path, audio)
    parts += errors
    parts += [*_curves(result), *_groups(result), *_left_out(result)]
    clips_json = json.dumps(sounds).replace("<", "\\u003c")
    text = page(f"Turn detection on {escape(result.dataset)}", "\n".join(parts), clips_json)

    # JSON may hold halves of a surrogate pair, which are no text.
    path.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")


def _head(result: Benchmark) -> Iterator[str]:
    first = next(iter(result.overall.values()))
    split = result.settings.get("split")
    yield f"<h1>Turn detection on {escape(result.dataset)}{f', {escape(str(split))}' if split else ''}</h1>"
    yield (
        f'<p class="soft">{first.ends} ends of a turn and {first.holds} pauses inside one, of {first.clusters} '
        f"speakers or calls. Scored {result.settings.get('score_at', 0.2):g} s into each pause; the audio that a model "
        "hears ends there.</p>"
    )
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


def _errors(result: Benchmark, scored: ScoredSet, path: Path, audio: str) -> tuple[list[str], dict[str, str]]:
    """The section of the errors, and what its buttons play."""
    lists: dict[str, tuple[Policy, list[Mistake]]] = {}
    for model in result.models:
        families = result.overall[model].families
        best = next((r.best for f in families[:1] for r in f.budgets if r.budget == ERRORS_AT), None)
        if model not in (VAD, ELAPSED) and best is not None:
            policy = Policy.of(families[0].name, best.parameters)
            lists[model] = (policy, mistakes(scored, model, policy))
    if not lists:
        return [], {}
    wanted: dict[int, ScoredPause] = {m.number: m.pause for _, found in lists.values() for m in found}
    sounds: dict[str, str] = {}
    heard: dict[int, Clip | str] = {}
    if audio != "none":
        folder = path.with_name(path.stem + "_audio")
        if audio == "link":
            folder.mkdir(exist_ok=True)
        for number, clip in zip(wanted, clips(list(wanted.values()), scored.options.channel), strict=True):
            heard[number] = clip
            if isinstance(clip, Clip):
                sounds[str(number)] = _sound(clip, number, folder if audio == "link" else None)
    parts = ["<h2>Errors</h2>"]
    parts.append(
        f'<p class="small soft">At the policy with the fewest cutoffs within {ERRORS_AT.value * 1000:g} ms. Orange '
        "line: the turn would have been ended here. Grey: the pause. Blue line: the speaker goes on. The button plays "
        "from the turn's beginning, or 8 s before the pause; a click on the waveform plays from there.</p>"
    )
    parts.append(_chooser("model", [(m, m) for m in lists]))
    parts.append(_chooser("kind", [("all", "all"), ("cutoff", "cut off"), ("late", "ended late")]))
    for model, (policy, found) in lists.items():
        cut = sum(m.kind == "cutoff" for m in found)
        rows = "".join(_row(m, heard.get(m.number)) for m in found)
        options = policy.options
        parts.append(
            f'<div class="errors" data-model="{escape(model)}"><p class="small">{escape(model)}: threshold '
            f"{policy.threshold:g}, {options.min_delay:g} s, else {options.max_delay:g} s: {cut} cut off, "
            f"{len(found) - cut} ended late.</p>{rows}</div>"
        )
    return parts, sounds


def _chooser(name: str, choices: list[tuple[str, str]]) -> str:
    buttons = "".join(
        f'<button data-choose="{name}" data-value="{escape(value)}" aria-pressed="{str(i == 0).lower()}">{escape(text)}'
        "</button>"
        for i, (value, text) in enumerate(choices)
    )
    return f'<p class="filter">{buttons}</p>'


def _sound(clip: Clip, number: int, folder: Path | None) -> str:
    if folder is None:
        return f"data:{clip.mime};base64,{base64.b64encode(clip.encoded).decode()}"
    file = folder / f"{number}{'.mp3' if clip.mime == 'audio/mpeg' else '.wav'}"
    file.write_bytes(clip.encoded)
    return quote(f"{folder.name}/{file.name}")


def _row(mistake: Mistake, clip: Clip | str | None) -> str:
    pause = mistake.pause
    span = pause.span
    if mistake.kind == "cutoff":
        what = f"<b>cut off</b> after {mistake.delay:.2f} s of a pause of {span.duration:.2f} s"
    else:
        what = f"<b>ended late</b>, after {mistake.delay:.2f} s"
    where = f"{escape(pause.item.id)}, {span.start:.2f} s, {escape(pause.item.language)}"
    button, wave = "", ""
    if isinstance(clip, Clip):
        button = f'<button data-clip="{mistake.number}" aria-label="play">\u25b6</button>'
        wave = _wave(clip, mistake)
    elif clip is not None:
        wave = f'<span class="small">{escape(clip)}</span>'
    return (
        f'<div class="error {mistake.kind}"><div>{button}</div><div>{wave}</div><div class="what small">{what}, score '
        f'{mistake.score:.2f}<br><span class="soft">{where}</span></div></div>\n'
    )


def _wave(clip: Clip, mistake: Mistake) -> str:
    width, height = 480.0, 52.0
    length = max(1e-6, clip.end - clip.begin)

    def x(at: float) -> float:
        return round(min(width, max(0.0, (at - clip.begin) / length * width)), 1)

    span = mistake.pause.span
    step = width / max(1, len(clip.envelope))
    bars = "".join(
        f"M{i * step:.0f} {height / 2 * (1 - e):.0f}V{height / 2 * (1 + e):.0f}" for i, e in enumerate(clip.envelope)
    )
    commit = span.start + mistake.delay
    marks = ""
    if commit <= clip.end + 1e-6:
        marks += _line(x(commit), "#d55e00", height)
    if not mistake.pause.is_end:
        marks += _line(x(span.end), "#0072b2", height)
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" preserveAspectRatio="none" role="img" aria-label="waveform of '
        f'{length:.1f} s">'
        f'<rect x="{x(span.start)}" width="{x(span.end) - x(span.start):.1f}" height="{height:.0f}" fill="#e6e9ec"/>'
        f'<path d="{bars}" stroke="#48525c" stroke-width="1.3" vector-effect="non-scaling-stroke"/>{marks}'
        f'<line class="head" x1="-9" x2="-9" y1="0" y2="{height:.0f}" stroke="#000" stroke-width="1"/></svg>'
    )


def _line(x: float, colour: str, height: float) -> str:
    return (
        f'<line x1="{x}" x2="{x}" y1="0" y2="{height:.0f}" stroke="{colour}" stroke-width="2.5" '
        'vector-effect="non-scaling-stroke"/>'
    )


def _curves(result: Benchmark) -> Iterator[str]:
    for curve, title in CURVES.items():
        if any(f.name == curve for e in result.overall.values() for f in e.families):
            yield f"<h3>{escape(title[0].upper() + title[1:])}</h3>"
            yield from _table(result.overall, curve)


def _groups(result: Benchmark) -> Iterator[str]:
    for kind, values in result.groups.items():
        yield f"<h2>By {escape(kind)}</h2>"
        for value, models in values.items():
            first = next(iter(models.values()))
            few = min(first.holds, first.ends) < FEW
            hint = " (few: take the figures as hints)" if few else ""
            yield (
                f"<details{'' if few else ' open'}><summary><strong>{escape(value)}</strong> {first.ends} ends, "
                f"{first.holds} holds, {first.clusters} speakers or calls{hint}</summary>"
            )
            yield from _table(models)
            yield from _gains(result.differences(models))
            yield "</details>"


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
