"""The frame of the HTML report: style and script. Nothing is fetched from anywhere."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #5b6570; --line: #d9dee3; --hold: #d55e00; --end: #0072b2; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); margin: 0 auto; padding: 1.5rem; max-width: 1180px; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { max-width: 75ch; margin: .4rem 0; } .soft { color: var(--soft); } .small { font-size: .87rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0; }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; font-size: .87rem; } td small { color: var(--soft); display: block; white-space: nowrap; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
.plots + .plots { margin-top: 1rem; } .plots svg { max-width: 100%; height: auto; }
details { margin: .5rem 0; } summary { cursor: pointer; }
nav button, .filter button { font: inherit; border: 1px solid var(--line); background: #fff; padding: .25rem .7rem;
  border-radius: 6px; cursor: pointer; margin-right: .3rem; }
button[aria-pressed=true] { background: var(--ink); color: #fff; border-color: var(--ink); }
.error { display: grid; grid-template-columns: 2.6rem minmax(260px, 1fr) 17rem; gap: .8rem; align-items: center;
  border-bottom: 1px solid var(--line); padding: .35rem 0; }
.error button { width: 2.4rem; height: 2.4rem; border-radius: 50%; border: 1px solid var(--line); background: #fff;
  cursor: pointer; font-size: 1rem; line-height: 1; }
.error button:hover { border-color: var(--ink); } .error svg { width: 100%; height: 52px; display: block; }
.error .what { overflow-wrap: anywhere; } .error svg { cursor: pointer; }
.error b { font-weight: 600; } .cutoff b { color: var(--hold); } .late b { color: var(--end); }
[hidden] { display: none !important; }
@media (max-width: 720px) { .error { grid-template-columns: 2.6rem 1fr; } .error .what { grid-column: 2; } }
@media print {
  :root, body { font-size: 11px; } body { padding: 0; max-width: none; }
  .wide { overflow: visible; } th, td { padding-right: .5rem; }
  .filter, .error button { display: none; }
  .error, .plots svg, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
}
"""

SCRIPT = """
const clips = JSON.parse(document.getElementById('clips').textContent);
const player = new Audio(); let current = null, frame = 0;
function move(button, x) {
  const head = button.closest('.error').querySelector('.head');
  if (head) { head.setAttribute('x1', x); head.setAttribute('x2', x); }
}
function stop() {
  player.pause(); cancelAnimationFrame(frame);
  if (current) { current.textContent = '\\u25b6'; current.setAttribute('aria-label', 'play');
    move(current, -9); }
  current = null;
}
function follow() {
  if (!current) return;
  move(current, player.duration ? 480 * player.currentTime / player.duration : -9);
  frame = requestAnimationFrame(follow);
}
function start(button, share) {
  current = button; button.textContent = '\\u25a0'; button.setAttribute('aria-label', 'stop');
  player.src = clips[button.dataset.clip];
  player.onloadedmetadata = () => { if (share) player.currentTime = share * player.duration; };
  // What was begun before it was ready is refused when the next is begun: that is not the next one's end.
  player.play().then(follow, () => { if (current === button) stop(); });
}
player.addEventListener('ended', stop);
document.addEventListener('click', event => {
  const play = event.target.closest('.error button');
  if (play) { const same = play === current; stop(); if (!same) start(play, 0); return; }
  const wave = event.target.closest('.error svg');
  if (wave) {
    const box = wave.getBoundingClientRect();
    stop(); start(wave.closest('.error').querySelector('button'), (event.clientX - box.left) / box.width); return;
  }
  const choice = event.target.closest('[data-choose]');
  if (choice) {
    for (const other of choice.parentElement.querySelectorAll('[data-choose]'))
      other.setAttribute('aria-pressed', other === choice);
    apply();
  }
});
function apply() {
  const chosen = {};
  for (const on of document.querySelectorAll('[data-choose][aria-pressed=true]'))
    chosen[on.dataset.choose] = on.dataset.value;
  for (const list of document.querySelectorAll('.errors')) {
    list.hidden = chosen.model !== undefined && list.dataset.model !== chosen.model;
    for (const row of list.querySelectorAll('.error'))
      row.hidden = chosen.kind !== 'all' && !row.classList.contains(chosen.kind);
  }
}
apply();
"""


def page(title: str, body: str, clips_json: str) -> str:
    """A whole page. ``title`` and ``body`` are HTML, ``clips_json`` is JSON without "<"."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n{body}\n"
        f'<script type="application/json" id="clips">{clips_json}</script>\n'
        f"<script>{SCRIPT}</script>\n</body></html>\n"
    )
