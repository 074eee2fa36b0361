"""The section of the HTML report in which a model's errors can be seen and heard."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import quote

from .benchmark import Benchmark
from .errors import Clip, Mistake, clips, mistakes
from .output_file import write_output
from .scorers import ELAPSED, VAD
from .scoring import ScoredPause, ScoredSet
from .simulation import Policy
from .sweep import Budget

ERRORS_AT = Budget("latency", 0.6)
"""The policy whose errors are listed: the fewest cutoffs at a mean latency of 600 ms."""


def error_section(
    result: Benchmark, scored: ScoredSet, path: Path, audio: str, on_progress: Callable[[int, int], None]
) -> tuple[list[str], dict[str, str]]:
    """The section, and what its buttons play: by number of the pause, a data URL or a link.

    Args:
        result: whose policies are taken.
        scored: what was scored.
        path: of the report; a folder next to it takes the audio that is linked.
        audio: "embed", "link" or "none".
        on_progress: told after each recording: how many are done, of how many.
    """
    lists: dict[str, tuple[Policy, list[Mistake]]] = {}
    for model in result.models:
        families = result.overall[model].families
        best = next((r.best for f in families[:1] for r in f.budgets if r.budget == ERRORS_AT), None)
        if model not in (VAD, ELAPSED) and best is not None:
            policy = Policy.of(families[0].name, best.parameters)
            lists[model] = (policy, mistakes(scored, model, policy))
    if not lists:
        return [], {}
    # In the order of the dataset: a parquet file is read in parts.
    listed = {m.number: m.pause for _, found in lists.values() for m in found}
    wanted: dict[int, ScoredPause] = dict(sorted(listed.items()))
    sounds: dict[str, str] = {}
    heard: dict[int, Clip | str] = {}
    if audio != "none":
        folder = audio_folder(path)
        if audio == "link":
            folder.mkdir(exist_ok=True)
        cut = clips(list(wanted.values()), scored.options.channel)
        for done, (number, clip) in enumerate(zip(wanted, cut, strict=True), start=1):
            heard[number] = clip
            if isinstance(clip, Clip):
                sounds[str(number)] = _sound(clip, number, folder if audio == "link" else None)
            on_progress(done, len(wanted))
    parts = ['<h2 id="errors">Errors</h2>']
    parts.append(
        f'<p class="small soft">At the policy with the fewest cutoffs within {ERRORS_AT.value * 1000:g} ms. Orange '
        "line: the turn would have been ended here. Grey: the pause. Blue line: the speaker goes on. The button plays "
        "from the turn's beginning, or 8 s before the pause; a click on the waveform plays from there.</p>"
    )
    parts.append(_chooser("model", [(m, m) for m in lists]))
    parts.append(_chooser("kind", [("all", "all"), ("cutoff", "cut off"), ("late", "ended late")]))
    for model, (policy, found) in lists.items():
        cutoffs = sum(m.kind == "cutoff" for m in found)
        rows = "".join(_row(m, heard.get(m.number)) for m in found)
        options = policy.options
        parts.append(
            f'<div class="errors" data-model="{escape(model)}"><p class="small">{escape(model)}: threshold '
            f"{policy.threshold:g}, {options.min_delay:g} s, else {options.max_delay:g} s: {cutoffs} cut off, "
            f"{len(found) - cutoffs} ended late.</p>{rows}</div>"
        )
    return parts, sounds


def audio_folder(path: Path) -> Path:
    """Where the audio of a report is, where it is linked."""
    return path.with_name(path.stem + "_audio")


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
    # A name that no recording of somebody else's has.
    file = folder / f"eot-bench-{number}{'.mp3' if clip.mime == 'audio/mpeg' else '.wav'}"
    write_output(file, clip.encoded)
    return quote(f"{folder.name}/{file.name}")


def _row(mistake: Mistake, clip: Clip | str | None) -> str:
    pause = mistake.pause
    span = pause.span
    if mistake.kind == "cutoff":
        what = f"<b>cut off</b> after {mistake.delay:.2f} s of a pause of {span.duration:.2f} s"
    else:
        what = f"<b>ended late</b>, after {mistake.delay:.2f} s"
    where = f"<bdi>{escape(pause.item.id)}</bdi>, {span.start:.2f} s, {escape(pause.item.language)}"
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
