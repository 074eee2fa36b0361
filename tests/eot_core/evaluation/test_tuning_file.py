"""The calibration file, read back by those who use it, and what is printed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from own_head_files import moved_head
from test_tuning import CUTOFF, QUICK, pauses, tuned

from eot_core.endpointing import EndpointingOptions
from eot_core.evaluation.sweep import Budget
from eot_core.evaluation.tuning import Tuning
from eot_core.evaluation.tuning_budgets import NAMED, budget_name
from eot_core.evaluation.tuning_file import calibration, report_lines, write_calibration
from eot_core.evaluation.tuning_head import HeadTrial
from eot_core.evaluation.tuning_measure import Measured
from eot_core.evaluation.tuning_own import TunedHead, TunedLanguage
from eot_core.models.own_head import checksum
from eot_core.operating_points import OperatingPoint
from eot_core.policy_table import OperatingPointError, PolicyTable


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    return tuned(pauses(), *NAMED, curves=["step"])


def content(*tunings: Tuning) -> dict[str, object]:
    return calibration("my-calls", [TunedLanguage(t) for t in tunings], {"a-model": "ab" * 32}, {"seed": 0})


def lines_of(tuning: Tuning, budget: Budget) -> list[str]:
    return list(report_lines(TunedLanguage(tuning), budget))


class TestFile:
    def test_the_names_resolve_from_it(self, tuning: Tuning, tmp_path: Path) -> None:
        path = tmp_path / "c.json"
        write_calibration(path, content(tuning))
        for budget, name in NAMED.items():
            found = OperatingPoint(name, calibration=path).resolve("a-model", "en")  # type: ignore[arg-type]
            assert found.within_budget, name
            assert found.options.min_delay >= 0.3
            if budget in (QUICK, CUTOFF):
                assert any(
                    found.options == p.policy.options and found.threshold == pytest.approx(p.policy.threshold, abs=1e-6)
                    for p in tuning.points
                )
        patient = OperatingPoint(max_cutoff_rate=0.05, calibration=path).resolve("a-model", "en-GB")
        point = tuning.point(CUTOFF)
        assert point is not None
        assert patient.threshold == pytest.approx(point.policy.threshold, abs=1e-6)
        assert patient.options == point.policy.options
        assert patient.cutoff_rate == pytest.approx(point.held_out.cutoff_rate, abs=1e-6)
        assert patient.provenance.startswith("eot tune on my-calls (12 calls or speakers). Each figure is of calls")
        assert json.loads(path.read_text())["models"]["a-model"]["sha256"] == "ab" * 32

    def test_what_was_chosen_for_less_and_took_more_is_not_taken(self) -> None:
        """ "quick" asks for 0.3 s on average, where nothing ends before 0.3 s: whoever asks for 0.35 s does not mean
        the 0.39 s that come of it."""

        def point(budget: str, value: float, rate: float, latency: float) -> dict[str, Any]:
            return {"budget": budget, "value": value, "threshold": rate, "min_delay": 0.3, "max_delay": 2.5,
                    "cutoff_rate": rate, "latency": latency}  # fmt: skip

        points = [
            point("latency", 0.3, 0.03, 0.39),
            point("cutoff", 0.15, 0.14, 0.32),
            point("cutoff", 0.02, 0.06, 0.5),
        ]
        rows = {"en": {"points": points}}
        table = PolicyTable.from_json({"schema": "eot-calibration/1", "models": {"a-model": {"languages": rows}}})

        def threshold(**asked: float) -> float:
            return OperatingPoint(**asked, calibration=table).resolve("a-model", "en").threshold  # type: ignore[arg-type]

        assert threshold(max_latency=0.35) == 0.14
        assert threshold(max_latency=0.3) == 0.03, "chosen for just that"
        assert threshold(max_latency=0.4) == 0.03
        assert threshold(max_cutoff_rate=0.05) == 0.03
        assert OperatingPoint(max_cutoff_rate=0.02, calibration=table).resolve("a-model").within_budget

    def test_curves(self, tmp_path: Path) -> None:
        result = tuned(pauses(later=True), curves=["rescored"])
        write_calibration(tmp_path / "c.json", content(result))
        options = OperatingPoint(max_cutoff_rate=0.05, calibration=tmp_path / "c.json").resolve("a-model").options
        assert options.rescore_every == 0.2
        assert options.exponent == pytest.approx(result.points[0].policy.options.exponent, abs=1e-6)

    def test_languages_and_models(self, tuning: Tuning) -> None:
        table = PolicyTable.from_json(content(tuning, replace(tuning, language="de"), replace(tuning, model="another")))
        assert {m: set(p.languages) for m, p in table.models.items()} == {"a-model": {"en", "de"}, "another": {"en"}}
        assert table.models["another"].sha256 is None

    def test_what_is_missing_is_in_it(self) -> None:
        result = tuned(pauses(12, 5), CUTOFF, Budget("cutoff", 0.01))
        row = content(result)["models"]["a-model"]["languages"]["en"]  # type: ignore[index]
        assert row["missing"] == [
            {"budget": "cutoff", "value": 0.01, "why": "too little data: 60 pauses inside turns, needs 200"}
        ]
        assert (row["calls"], row["ends"], row["holds"]) == (12, 60, 60)

    def test_nothing_to_write(self, tuning: Tuning) -> None:
        with pytest.raises(ValueError, match="nothing to write for a-model en"):
            content(replace(tuning, points=()))
        with pytest.raises(ValueError, match="nothing to write for any model"):
            content()

    def test_whole_or_not_at_all(self, tuning: Tuning, tmp_path: Path) -> None:
        path = tmp_path / "c.json"
        path.write_text("before")
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_calibration(path, {"x": float("nan")})
        assert [p.name for p in tmp_path.iterdir()] == ["c.json"]
        assert path.read_text() == "before"


class TestEditedByHand:
    def test_a_mark_that_an_editor_put_first(self, tuning: Tuning, tmp_path: Path) -> None:
        path = tmp_path / "c.json"
        path.write_text(json.dumps(content(tuning)), encoding="utf-8-sig")
        assert OperatingPoint("patient", calibration=path).knows("a-model")

    @pytest.mark.parametrize(("name", "value"), [("max_delay", 1250), ("min_delay", 300.0), ("max_delay", 10**400)])
    def test_milliseconds(self, tuning: Tuning, name: str, value: float) -> None:
        """A caller would wait for twenty minutes."""
        edited: Any = content(tuning)
        point = edited["models"]["a-model"]["languages"]["en"]["points"][0]
        point.update({"max_delay": max(value, point["max_delay"]), name: value})
        with pytest.raises(OperatingPointError, match=rf"point 0: {name} is in seconds, at most 60, got {value}"[:70]):
            PolicyTable.from_json(edited)

    def test_a_checksum_that_is_none(self, tuning: Tuning) -> None:
        edited: Any = content(tuning)
        edited["models"]["a-model"]["sha256"] = "ab" * 31
        with pytest.raises(OperatingPointError, match="a-model: sha256 must be 64 hexadecimal digits, got 'abab"):
            PolicyTable.from_json(edited)


class TestText:
    def test_a_table(self, tuning: Tuning) -> None:
        lines = lines_of(tuning, CUTOFF)
        assert lines[0] == "a-model, en: 12 calls or speakers, 120 ends, 120 holds, AUC .974"
        assert lines[2].startswith("  cutoff 5 % (patient, asked for)  step   0.")
        assert lines[5].startswith("  (today's settings)               step   0.500")
        assert lines[6].startswith("  against today, with cutoff 5 %: cutoffs ")
        assert " points [" in lines[6]

    @pytest.mark.parametrize(
        "held_out", [[(0.3, 0.4), (0.1, 0.5), (0.05, 0.6)], [(0.05, 0.4), (0.1, 0.36), (0.05, 0.39)]]
    )
    def test_a_name_stands_where_it_will_be_taken_from(
        self, tuning: Tuning, held_out: list[tuple[float, float]]
    ) -> None:
        points = [
            replace(point, held_out=replace(point.held_out, cutoff_rate=rate, latency=latency))
            for point, (rate, latency) in zip(tuning.points, held_out, strict=True)
        ]
        changed = replace(tuning, points=points)
        table = PolicyTable.from_json(content(changed))
        lines = lines_of(changed, Budget("cutoff", 0.2))
        for name in NAMED.values():
            found = OperatingPoint(name, calibration=table).resolve("a-model", "en")  # type: ignore[arg-type]
            (line,) = (line for line in lines if name in line)
            assert f"{found.threshold:.3f} " in line
            assert f"{found.latency:.3f} s" in line

    @pytest.mark.parametrize(
        ("held_out", "asked"),
        [
            ([(0.046, 0.690), (0.094, 0.450), (0.052, 0.691)], CUTOFF),  # its own row is worse in both
            ([(0.120, 0.400), (0.046, 0.390), (0.070, 0.500)], CUTOFF),  # another was chosen for more, and is quicker
            ([(0.300, 0.390), (0.100, 0.300), (0.050, 0.600)], QUICK),
            ([(0.300, 0.390), (0.100, 0.500), (0.050, 0.600)], CUTOFF),  # its own
        ],
    )
    def test_what_was_asked_for_is_what_will_run(
        self, tuning: Tuning, held_out: list[tuple[float, float]], asked: Budget
    ) -> None:
        points = [
            replace(
                point,
                held_out=replace(point.held_out, cutoff_rate=rate, latency=latency),
                change=Measured(rate - 0.2, latency - 0.3, None, None),
            )
            for point, (rate, latency) in zip(tuning.points, held_out, strict=True)
        ]
        changed = replace(tuning, points=points)
        limit = "max_cutoff_rate" if asked == CUTOFF else "max_latency"
        meant = OperatingPoint(**{limit: asked.value}, calibration=PolicyTable.from_json(content(changed)))  # type: ignore[arg-type]
        found = meant.resolve("a-model", "en")
        (runs,) = (p for p in points if p.held_out.latency == found.latency)
        lines = lines_of(changed, asked)
        own = runs.budget == asked
        name = budget_name(asked)
        assert lines[2].startswith(f"  {budget_name(runs.budget)} (")
        assert f"asked for)  step   {found.threshold:.3f} " if own else f"runs for {name})  step" in lines[2]
        assert f"{found.latency:.3f} s" in lines[2]
        assert sum("asked for" in line or "runs for" in line for line in lines[2:6]) == 1
        (against,) = (line for line in lines if line.startswith("  against today"))
        assert against == (
            f"  against today, with {'' if own else 'what runs for '}{name}: "
            f"cutoffs {(found.cutoff_rate - 0.2) * 100:+.1f} points, latency {found.latency - 0.3:+.3f} s"
        )
        if asked == CUTOFF:
            assert not any("above the budget" in line for line in lines), "what runs is not"

    def test_what_runs_for_a_budget_that_is_not_there(self) -> None:
        asked = Budget("cutoff", 0.01)
        result = tuned(pauses(12, 5), asked, CUTOFF, Budget("cutoff", 0.3), curves=["step"])
        found = OperatingPoint(max_cutoff_rate=0.01, calibration=PolicyTable.from_json(content(result))).resolve(
            "a-model", "en"
        )
        lines = lines_of(result, asked)
        (line,) = (line for line in lines if "runs for cutoff 1 %)" in line)
        assert f"{found.threshold:.3f} " in line
        assert f"{found.latency:.3f} s" in line
        assert not any("against today" in line for line in lines)

    def test_what_is_missing(self) -> None:
        lines = lines_of(tuned(pauses(12, 5), QUICK, Budget("cutoff", 0.01)), QUICK)
        assert lines[-1] == "  cutoff 1 %: too little data: 60 pauses inside turns, needs 200"
        assert any(line.startswith("  nothing ends before 0.3 s") for line in lines)

    def test_the_nearest_of_what_can_be(self) -> None:
        """Of the same kind where there is one; else whatever there is."""
        asked = Budget("cutoff", 0.01)
        result = tuned(pauses(12, 5), asked, QUICK, Budget("cutoff", 0.15), CUTOFF, Budget("cutoff", 0.3))
        why = (
            "  cutoff 1 % (asked for): too little data: 60 pauses inside turns, needs 200. Nearest to it that can be: "
        )
        assert lines_of(result, asked)[-1] == f"{why}cutoff=0.05, cutoff=0.15"
        assert lines_of(tuned(pauses(12, 5), asked, QUICK), asked)[-1] == f"{why}latency=0.3"
        assert "Nearest" not in lines_of(tuned(pauses(12, 5), asked), asked)[-1]

    def test_a_curve_without_a_threshold_and_no_intervals(self) -> None:
        lines = lines_of(tuned(pauses(), curves=["continuous"], resamples=0), CUTOFF)
        assert "exponent" in lines[2]
        assert "[" not in lines[2] + lines[-1]

    def test_today_is_good_enough(self, tuning: Tuning) -> None:
        better = replace(tuning, today=Measured(0.01, 0.31, None, None))
        assert any("today's settings keep to that as well" in line for line in lines_of(better, CUTOFF))

    def test_above_the_budget_on_others(self, tuning: Tuning) -> None:
        def worse(budget: Budget, **more: float) -> list[str]:
            point = tuning.point(budget) or tuning.points[0]
            measured = replace(point.held_out, **more)
            points = (replace(point, budget=budget, held_out=measured),)
            bad = Measured(0.9, 2.0, None, None)
            return lines_of(replace(tuning, points=points, today=bad), budget)

        assert any("above the budget (7.0%)" in line for line in worse(CUTOFF, cutoff_rate=0.07))
        assert any("above the budget (0.800 s)" in line for line in worse(Budget("latency", 0.6), latency=0.8))
        assert any("above the budget (5.2%)" in line for line in worse(CUTOFF, cutoff_rate=0.052))
        for same in (0.05, 0.0504):  # as the table has it
            assert not any("above the budget" in line for line in worse(CUTOFF, cutoff_rate=same))

    def test_no_ends(self) -> None:
        data = pauses()
        lines = lines_of(tuned(data.where(~data.is_end)), CUTOFF)
        assert lines[2].split()[-1] == "-"

    def test_delays_of_today(self, tuning: Tuning) -> None:
        assert tuning.today_policy.options == EndpointingOptions(0.3, 2.5)


class TestHeads:
    """Three outcomes: written, tried in vain, too little data."""

    @pytest.fixture(scope="class")
    @staticmethod
    def with_head(tuning: Tuning) -> TunedLanguage:
        point = tuning.point(CUTOFF)
        assert point is not None
        point = replace(point, policy=replace(point.policy, threshold=0.123))
        trial = HeadTrial(24, 120, 130, (), 0.9, 0.95, 0.05, (0.02, 0.08), 0.01)
        moved = moved_head("eot-open-1", 0.5)
        change = Measured(-0.01, -0.2, None, None)
        return TunedLanguage(tuning, TunedHead(trial, "AUC .950", replace(tuning, points=(point,)), moved, change))

    def test_a_head_and_its_points(self, with_head: TunedLanguage, tmp_path: Path) -> None:
        write_calibration(tmp_path / "c.json", calibration("my-calls", [with_head], {}, {}))
        point = OperatingPoint(max_cutoff_rate=0.05, calibration=tmp_path / "c.json")
        head = point.heads("a-model")["en"]
        assert head.document["format"] == "eot-open-head/1"
        assert head.sha256 == checksum(head.document)
        shipped, own = point.resolve("a-model", "en"), point.resolve("a-model", "en", head="en")
        assert own.threshold == 0.123 != shipped.threshold
        row = json.loads((tmp_path / "c.json").read_text())["models"]["a-model"]["languages"]["en"]
        assert row["head_trial"] == {
            "written": True,
            "verdict": "AUC .950",
            "auc": 0.95,
            "shipped_auc": 0.9,
            "gain": 0.05,
            "gain_interval": [0.02, 0.08],
            "change_against_shipped": {
                "cutoff_rate": -0.01,
                "cutoff_interval": None,
                "latency": -0.2,
                "latency_interval": None,
            },
        }

    def test_as_text(self, with_head: TunedLanguage) -> None:
        lines = list(report_lines(with_head, CUTOFF))
        assert lines[1] == "  a head of your own: AUC .950"
        assert " 0.123 [" in lines[3]
        assert lines[-1] == "  with the head against without it: cutoffs -1.0 points, latency -0.200 s"

    def test_the_change_is_told_for_what_it_was_measured_for(self, with_head: TunedLanguage, tuning: Tuning) -> None:
        """Another row runs: the two that were held against each other are those that were chosen for the budget."""
        assert with_head.head is not None
        assert with_head.head.tuning is not None
        (own,) = with_head.head.tuning.points
        better = replace(own, budget=QUICK, held_out=Measured(0.0, 0.3, None, None))
        head = replace(with_head.head, tuning=replace(tuning, points=(own, better)))
        lines = list(report_lines(replace(with_head, head=head), CUTOFF))
        expected = (
            "  with the head against without it, both chosen for cutoff 5 %: cutoffs -1.0 points, latency -0.200 s"
        )
        assert expected in lines

    def test_tried_in_vain(self, with_head: TunedLanguage) -> None:
        assert with_head.head is not None
        tried = replace(with_head, head=TunedHead(with_head.head.trial, "no clear gain"))
        row = calibration("my-calls", [tried], {}, {})["models"]["a-model"]["languages"]["en"]
        assert "head" not in row
        assert (row["head_trial"]["written"], row["head_trial"]["gain"]) == (False, 0.05)
        assert tried.best is tried.shipped

    def test_too_little(self, tuning: Tuning) -> None:
        lacking = TunedLanguage(tuning, TunedHead(HeadTrial(6, 30, 30, ("6 calls, needs 20",)), "too little data"))
        row = calibration("my-calls", [lacking], {}, {})["models"]["a-model"]["languages"]["en"]
        assert row["head_trial"] == {"written": False, "verdict": "too little data"}
        assert list(report_lines(lacking, CUTOFF))[1] == "  a head of your own: too little data"
