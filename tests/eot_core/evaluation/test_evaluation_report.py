from __future__ import annotations

import base64
import html
import io
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from known_set import RATE, Problems, row, toy_model, turn, write_known, write_rows, write_wav

from eot_core import EndpointingOptions
from eot_core.evaluation import Pauses
from eot_core.evaluation.benchmark import Benchmark, benchmark, from_scored
from eot_core.evaluation.dataset import DatasetError, read_dataset
from eot_core.evaluation.errors import Clip, clips, encode, mistakes
from eot_core.evaluation.items import Problem
from eot_core.evaluation.progress import Progress
from eot_core.evaluation.scorers import ElapsedScorer, VadScorer
from eot_core.evaluation.scoring import ScoredSet, ScoringOptions, score_items
from eot_core.evaluation.simulation import Policy
from eot_core.evaluation.tables import plain, report_lines

POLICY = Policy(0.5, EndpointingOptions(0.2, 1.5))


def known(folder: Path, dataset: str = "known") -> tuple[Benchmark, ScoredSet]:
    items = read_dataset(write_known(folder), on_problem=Problems())
    scorers = [toy_model(folder), VadScorer(), ElapsedScorer()]
    scored = score_items(items, scorers, ScoringOptions(check_speech=False), on_problem=Problems())
    return from_scored(dataset, scored, resamples=10), scored


class TestMistakes:
    def test_cutoffs_and_late_ends(self, tmp_path: Path) -> None:
        _, scored = known(tmp_path)
        found = [(m.kind, m.pause.item.id, round(m.score, 2), m.delay) for m in mistakes(scored, "toy", POLICY)]
        # The hold of 0.8 s scores 0.6; the one of 2.0 s outlasts the time-out; one end scores 0.4.
        assert found == [("cutoff", "b-1", 0.6, 0.2), ("cutoff", "b-2", 0.3, 1.5), ("late", "b-2", 0.4, 1.5)]

    def test_clips(self, tmp_path: Path) -> None:
        _, scored = known(tmp_path)
        pauses = [m.pause for m in mistakes(scored, "toy", POLICY)]
        (tmp_path / "b-1.wav").unlink()
        gone, hold, end = list(clips(pauses))
        assert isinstance(gone, str)
        assert "no such file" in gone
        assert isinstance(hold, Clip)
        assert isinstance(end, Clip)
        # From 4 s before the pause, as far as there is anything, to 1.5 s after it; an end stops where it stops.
        assert (hold.begin, hold.end) == (0.0, 4.0)
        assert (end.begin, end.end) == (0.0, 4.0)
        assert len(hold.envelope) == 240
        assert max(hold.envelope) == 1.0

    def test_encoding(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pcm = np.random.default_rng(0).integers(-9000, 9000, RATE).astype(np.int16)
        encoded, mime = encode(pcm)
        assert mime in ("audio/mpeg", "audio/wav")
        monkeypatch.setitem(sys.modules, "soundfile", None)
        encoded, mime = encode(pcm)
        assert mime == "audio/wav"
        assert np.array_equal(np.frombuffer(encoded[-2 * RATE :], "<i2"), pcm)


class TestReport:
    @pytest.fixture(autouse=True)
    def plots(self) -> None:
        pytest.importorskip("matplotlib")

    def test_one_file_with_everything_in_it(self, tmp_path: Path) -> None:
        from eot_core.evaluation.report import write_report

        result, scored = known(tmp_path)
        result.problems = [Problem("a<b>", "is <bad>")]
        result.notes = ["1 recording at 8000 Hz"]
        result.failed = {"other": "not installed"}
        path = tmp_path / "out.html"
        write_report(path, result, scored)
        text = path.read_text()
        assert "http" not in re.sub(r'"http://www\.w3\.org[^"]*"|xlink', "", text.split("<svg")[0])
        assert not re.search(r'(src|href)="(?!#)', text)  # nothing is fetched
        assert "a&lt;b&gt;" in text
        assert "is &lt;bad&gt;" in text
        assert "<strong>other is missing:</strong>" in text
        sounds = json.loads(re.search(r'id="clips">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
        buttons = re.findall(r'data-clip="(\d+)"', text)
        assert buttons
        assert set(buttons) == set(sounds)
        for sound in sounds.values():
            kind, data = sound.split(";base64,")
            assert kind.startswith("data:audio/")
            assert len(base64.b64decode(data)) > 1000
        assert "cut off</b> after" in text

    def test_linked_and_without_audio(self, tmp_path: Path) -> None:
        from eot_core.evaluation.report import write_report

        result, scored = known(tmp_path)
        path = tmp_path / "out.html"
        write_report(path, result, scored, audio="link")
        sounds = json.loads(re.search(r'id="clips">(.*?)</script>', path.read_text(), re.DOTALL)[1])  # type: ignore[index]
        assert sounds
        for sound in sounds.values():
            assert (tmp_path / sound).stat().st_size > 1000
        write_report(path, result, scored, audio="none")
        assert "data-clip" not in path.read_text()
        write_report(path, result, None)
        assert "Errors</h2>" not in path.read_text()
        assert "#errors" not in path.read_text()

    def test_thousands_of_errors_hide_nothing(self, tmp_path: Path) -> None:
        """They come last, and how far their audio is, is told."""
        from eot_core.evaluation.report import write_report

        result, scored = known(tmp_path)
        told: list[tuple[int, int]] = []
        write_report(tmp_path / "out.html", result, scored, on_progress=lambda done, of: told.append((done, of)))
        text = (tmp_path / "out.html").read_text()
        heads = re.findall(r"<h[12][^>]*>(.*?)</h", text)
        assert heads[-2:] == ["What was left out, or is to be looked at", "Errors"]
        assert text.index('<a href="#errors">') < text.index("<h2>Figures") < text.index('<h2 id="errors">')
        of = len(set(re.findall(r'data-clip="(\d+)"', text)))
        assert told == [(i + 1, of) for i in range(of)]

    def test_a_click_on_the_waveform(self, tmp_path: Path) -> None:
        from eot_core.evaluation.report import write_report

        result, scored = known(tmp_path)
        write_report(tmp_path / "out.html", result, scored)
        text = (tmp_path / "out.html").read_text()
        assert "player.currentTime = share * player.duration" in text
        assert re.search(r'aria-label="waveform of \d\.\d s"', text)

    def test_links_to_a_folder_with_any_name(self, tmp_path: Path) -> None:
        from eot_core.evaluation.report import write_report

        result, scored = known(tmp_path)
        path = tmp_path / "50% #1?.html"
        write_report(path, result, scored, audio="link")
        sounds = json.loads(re.search(r'id="clips">(.*?)</script>', path.read_text(), re.DOTALL)[1])  # type: ignore[index]
        for sound in sounds.values():
            assert sound.startswith("50%25%20%231%3F_audio/")
            assert (tmp_path / unquote(sound)).stat().st_size > 1000

    def test_few_pauses_are_told(self, tmp_path: Path) -> None:
        """As in the table on the terminal: who gets the page alone must not take 4 ends for a measurement."""
        from eot_core.evaluation.report import write_report

        hint = "Fewer than 30 ends or pauses: take the figures as hints."
        for name, result in (("few", known(tmp_path)[0]), ("many", benchmark("d", {"a": spread(80)}, resamples=0))):
            write_report(tmp_path / f"{name}.html", result, None)
            assert (hint in (tmp_path / f"{name}.html").read_text()) is (name == "few")

    def test_on_paper_tables_are_whole(self, tmp_path: Path) -> None:
        """On the screen a wide table is scrolled."""
        from eot_core.evaluation.report import write_report

        result, scored = known(tmp_path)
        write_report(tmp_path / "out.html", result, scored)
        style = (tmp_path / "out.html").read_text().partition("@media print {")[2].partition("</style>")[0]
        assert ".wide { overflow: visible; }" in style
        assert ".filter, .error button { display: none; }" in style

    def test_half_a_surrogate_pair_in_a_name(self, tmp_path: Path) -> None:
        from eot_core.evaluation.report import write_report

        result, _ = known(tmp_path)
        result.problems = [Problem("x\ud800y", "is empty")]
        write_report(tmp_path / "out.html", result, None)
        assert "x&#55296;y" in (tmp_path / "out.html").read_text()

    def test_ends_alone(self, tmp_path: Path) -> None:
        from eot_core.evaluation.report import write_report

        some = spread(40)
        result = benchmark("d", {"a": some.where(some.is_end)}, resamples=0)
        write_report(tmp_path / "out.html", result, None)
        why = "there are no holds (pauses of 0.2 to 5 s inside a turn) among the pauses that could be scored"
        assert why in (tmp_path / "out.html").read_text()
        assert why in "\n".join(report_lines(result))
        assert benchmark("d", {"a": some.where(~some.is_end)}, resamples=0).notes[0].startswith("there are no ends")

    @pytest.mark.parametrize(("score", "seconds", "at"), [(1.0, 0.5, 0.0), (0.0, 4.0, 100.0)])
    def test_one_policy_alone_is_a_line_too(self, score: float, seconds: float, at: float) -> None:
        """A model without errors, and one that nothing helps."""
        from eot_core.evaluation.plots import frontier

        some = spread(40)
        some = Pauses(np.where(some.is_end, score, 1 - score), np.full(40, seconds), some.is_end, some.cluster)
        result = benchmark("d", {"a": some}, resamples=0)
        assert len(result.overall["a"].families[0].frontier) == 1
        (axes,) = frontier(result).axes
        line = axes.lines[0]
        assert line.get_xdata() == pytest.approx([0.2, 0.2, 2.0])
        assert line.get_ydata() == pytest.approx([105.0, at, at])
        low, high = axes.get_ylim()
        assert low < at < high

    def test_hostile_names_stay_text(self, tmp_path: Path) -> None:
        from eot_core.evaluation.report import write_report

        name = "</script><script>alert(1)</script>\u202e"  # the last turns what follows it around
        pcm, spans = turn([(0.5, 2.0, 0.9), (0.5, 1.0, 0.1)])
        write_wav(tmp_path / "x.wav", pcm)
        path = write_rows(tmp_path / "r.jsonl", [row(name, "x.wav", spans)])
        scored = score_items(
            read_dataset(path, on_problem=Problems()),
            [toy_model(tmp_path)],
            ScoringOptions(check_speech=False),
            on_problem=Problems(),
        )
        write_report(tmp_path / "out.html", from_scored(name, scored, resamples=0), scored)
        text = (tmp_path / "out.html").read_text()
        assert "<script>alert" not in text
        shown = f"<bdi>{html.escape(name)}</bdi>, "
        assert text.count(shown) == text.count('<div class="error ') > 0

    def test_the_same_for_the_same(self, tmp_path: Path) -> None:
        from eot_core.evaluation.report import write_report

        result, scored = known(tmp_path)
        write_report(tmp_path / "1.html", result, scored)
        write_report(tmp_path / "2.html", result, scored)
        assert (tmp_path / "1.html").read_text() == (tmp_path / "2.html").read_text()

    def test_plots(self, tmp_path: Path) -> None:
        from eot_core.evaluation.plots import style, write_plots

        result, _ = known(tmp_path)
        paths = write_plots(result, tmp_path)
        assert [p.name for p in paths] == ["frontier.png", "budgets.png"]
        assert all(p.read_bytes().startswith(b"\x89PNG") and p.stat().st_size > 5000 for p in paths)
        many = [str(i) for i in range(8)]
        looks = {json.dumps(style(many, m)) for m in many}
        assert len(looks) == 8

    def test_sets_without_holds(self, tmp_path: Path) -> None:
        from eot_core.evaluation.plots import write_plots
        from eot_core.evaluation.report import write_report

        pcm, spans = turn([(0.5, 1.0, 0.5)])
        write_wav(tmp_path / "x.wav", pcm)
        path = write_rows(tmp_path / "r.jsonl", [row("x", "x.wav", spans)])
        scored = score_items(
            read_dataset(path, on_problem=Problems()),
            [toy_model(tmp_path)],
            ScoringOptions(check_speech=False),
            on_problem=Problems(),
        )
        result = from_scored("x", scored, resamples=0)
        write_report(tmp_path / "out.html", result, scored)
        assert "1 ends of a turn and 0 pauses" in (tmp_path / "out.html").read_text()
        assert write_plots(result, tmp_path) == []


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    from eot_core.evaluation.plots import matplotlib

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DatasetError, match=r"need matplotlib: pip install 'eot-adapters\[plot\]'"):
        matplotlib()


def test_tables(tmp_path: Path) -> None:
    result, _ = known(tmp_path)
    text = "\n".join(report_lines(result))
    assert "all: 4 ends, 4 holds, 2 speakers or calls  (fewer than 30 of one kind" in text
    assert re.search(r"toy +\.938 +\.950 +\.250 \(1\)", text)
    assert re.search(r"vad +- +- +\.750 \(3\)", text)
    assert "eot-bench's own sweep" in text
    assert (plain(float("nan")), plain(1.0), plain(0.5), plain(0.0)) == ("-", "1.000", ".500", ".000")


def spread(n: int = 240) -> Pauses:
    """Two languages, one of them with few pauses, and many speakers."""
    rng = np.random.default_rng(0)
    is_end = np.arange(n) % 2 == 0
    language = np.where(np.arange(n) < 20, "de", "en")
    score = np.clip(rng.normal(0.3, 0.2, n) + 0.4 * is_end, 0, 1)
    return Pauses(score, rng.uniform(0.2, 2.0, n), is_end, (np.arange(n) // 4).astype(str), language=language)


def test_tables_of_groups() -> None:
    worse = spread().with_scores(np.full(240, 0.5) + 0.01 * spread().is_end)
    result = benchmark("d", {"b": worse, "a": spread()}, resamples=20)
    result.notes = ["8 kHz"]
    text = "\n".join(report_lines(result))
    assert "language en: 110 ends, 110 holds, 55 speakers or calls" in text
    assert "languages with fewer than 30 ends or holds, in --json and --html only: de (10/10)" in text
    assert re.search(r"a +\.\d{3} \[\.\d{3}, \.\d{3}\] +\.\d{3} +\.\d{3} \(\d+\) \[.*\] / \.\d{3} at 0\.\d\d s", text)
    assert "note: 8 kHz" in text
    assert re.search(r"  a against b: AUC -\.\d{3} \[-\.\d{3}, -\.\d{3}\], cutoffs @300 ms \+", text)


def test_a_report_of_groups(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from eot_core.evaluation.report import write_report

    write_report(tmp_path / "out.html", benchmark("d", {"a": spread()}, resamples=20), None)
    text = (tmp_path / "out.html").read_text()
    assert "<h2>By language</h2>" in text
    assert "<details><summary><strong>de</strong> 10 ends, 10 holds" in text
    assert "<details open><summary><strong>en</strong>" in text
    assert "elsewhere ." in text


def test_a_report_of_many_languages(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from eot_core.evaluation.report import write_report

    some = spread(300)
    names = np.array(["ar", "de", "en", "fr", "zh"])
    some = Pauses(
        some.score, some.duration, some.is_end, some.cluster, language=names[np.minimum(np.arange(300) // 70, 4)]
    )
    result = benchmark("d", {"a": some, "b": some.with_scores(1 - some.score)}, resamples=0)
    write_report(tmp_path / "out.html", result, None)
    text = (tmp_path / "out.html").read_text()
    assert "<th>language</th><th>ends</th><th>holds</th><th>a</th><th>b</th>" in text
    rows = re.findall(r"<tr( class=soft)?><td>(\w\w)</td><td>(\d+)</td><td>(\d+)</td>", text)
    assert rows == [("", name, "35", "35") for name in names[:4]] + [(" class=soft", "zh", "10", "10")]
    assert "<details open><summary><strong>" not in text


def test_a_budget_that_nothing_keeps_to(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from eot_core.evaluation.plots import write_plots
    from eot_core.evaluation.report import write_report

    some = spread(40)
    some = Pauses(some.score, np.full(40, 4.0), some.is_end, some.cluster)  # every hold outlasts every time-out
    result = benchmark("d", {"vad": some}, resamples=0)
    assert "none keeps to it" in "\n".join(report_lines(result))
    write_report(tmp_path / "out.html", result, None)
    assert "none keeps to it" in (tmp_path / "out.html").read_text()
    assert len(write_plots(result, tmp_path)) == 2


class TestProgress:
    def test_lines_where_there_is_no_terminal(self) -> None:
        now = [0.0]
        err = io.StringIO()
        progress = Progress("scoring", err, clock=lambda: now[0])
        progress(1, 4)
        now[0] = 12.0
        progress(2, 4)
        progress.say("a problem")
        progress(3, 4)
        progress(4, 4)
        progress.close()
        assert err.getvalue().splitlines() == [
            "scoring: 2 of 4 (12 s, 12 s left)",
            "a problem",
            "scoring: 4 of 4 (12 s)",
        ]

    @pytest.mark.parametrize("installed", [True, False])
    def test_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        if installed:
            pytest.importorskip("tqdm")
        else:
            monkeypatch.setitem(sys.modules, "tqdm", None)
        err = Terminal()
        progress = Progress("scoring", err)
        progress(1, 2)
        progress.say("a problem")
        progress(2, 2)
        progress.close()
        progress.close()
        assert "a problem" in err.getvalue()
        assert ("2/2" if installed else "2 of 2") in err.getvalue()
