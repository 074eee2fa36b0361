"""Pauses from decision logs: labels from what happened next."""

from __future__ import annotations

import errno
import json
import os
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeModel, fake_spec
from known_set import Problems
from two_channel import voices

from eot_core.cli.audio_file import read_audio
from eot_core.cli.replay_core import replay_core
from eot_core.clock import ManualClock
from eot_core.data import demo_recording
from eot_core.decision_log import SCHEMA
from eot_core.detector import TurnDetector
from eot_core.evaluation.cache import ScoreCache
from eot_core.evaluation.dataset import DatasetError
from eot_core.evaluation.scorers import ModelScorer
from eot_core.evaluation.tuning_logs import LoggedPause, find_logs, read_logs, score_logged
from eot_core.models.base import ModelError, ModelLicenseError


class Log:
    """Writes lines as the decision log does."""

    def __init__(self, folder: Path, name: str = "log.jsonl") -> None:
        self.path = folder / name
        self.folder = folder
        self._number = 0

    def line(self, kind: str, at: float, stream: str = "s1", **more: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"schema": SCHEMA, "kind": kind, "at": at, "stream": stream, **more}) + "\n")

    def asked(self, at: float, stream: str = "s1", *, silence: float = 0.25, **more: Any) -> None:
        self._number += 1
        name = f"{stream}-{self._number}.wav"
        said = voices(1.0)[2][: round(2.8 * 16_000)]
        with wave.open(str(self.folder / name), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(np.concatenate((said, np.zeros(round(silence * 16_000), dtype=np.int16))).tobytes())
        row = {
            "asked_at": at,
            "request": name.removesuffix(".wav"),
            "model": "fake-model",
            "language": "en",
            "audio": f"/elsewhere/{name}",  # the log was moved together with its audio
        }
        self.line("prediction", at + 0.05, stream, **{**row, **more})


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def read(log: Log, problems: Problems | None = None, language: str | None = None) -> list[LoggedPause]:
    return read_logs([log.path], language=language, on_problem=Problems() if problems is None else problems)


class TestLabels:
    def test_what_came_next(self, log: Log) -> None:
        log.line("speech", 0.0)
        log.asked(1.0)
        log.line("speech", 1.6)  # spoke on
        log.asked(3.0)
        log.line("turn_ended", 3.3)
        log.line("speech", 9.0)  # the next turn
        log.asked(11.0)
        log.line("turn_ended", 11.3)
        log.line("speech", 11.9)  # was cut off
        log.asked(14.0)
        log.line("turn_ended", 14.5)
        log.asked(20.0)  # the next one, of which nobody told that it began
        log.line("turn_ended", 20.5)
        found = [(p.request, p.resumed_at) for p in read(log)]
        assert found == [("s1-1", 1.6), ("s1-2", None), ("s1-3", 11.9), ("s1-4", None), ("s1-5", None)]

    def test_asked_twice_in_a_pause(self, log: Log) -> None:
        log.asked(1.0)
        log.asked(1.4)
        log.line("turn_ended", 2.0)
        assert [(p.request, p.asked_at, p.resumed_at) for p in read(log)] == [("s1-1", 1.0, None)]

    def test_an_answer_that_came_after_the_caller_spoke_on(self, log: Log) -> None:
        log.line("speech", 1.2)
        log.asked(1.0, outcome="cancelled")  # its line is the later one
        log.line("turn_ended", 2.0)
        assert [(p.request, p.resumed_at) for p in read(log)] == [("s1-1", 1.2)]

    def test_what_is_not_known(self, log: Log) -> None:
        problems = Problems()
        log.line("turn_ended", 0.5)
        log.asked(1.0)
        log.line("speech", 1.5)
        log.asked(2.0)
        assert len(read(log, problems)) == 1
        assert "1 pauses were cut short by the end of the log" in problems[0].message

    def test_streams_are_kept_apart(self, log: Log) -> None:
        log.asked(1.0, "s1")
        log.asked(1.1, "s2")
        log.line("speech", 1.5, "s2")
        log.line("turn_ended", 1.6, "s1")
        assert {(p.stream, p.resumed_at) for p in read(log)} == {("s1", None), ("s2", 1.5)}

    def test_languages(self, log: Log) -> None:
        for at, tag in ((1.0, "de-AT"), (2.0, None), (3.0, "en")):
            log.asked(at, str(tag), language=tag)
            log.line("speech", at + 0.5, str(tag))
        problems = Problems()
        assert [p.language for p in read(log, problems)] == ["de", "en"]
        assert "1 pauses name no language: give --language TAG" in problems[0].message
        problems.clear()
        assert [p.language for p in read(log, problems, "de")] == ["de", "de"]
        assert "1 pauses are in another language than de" in problems[0].message

    def test_the_first_pause_of_a_conversation_has_its_language_from_the_next(self, log: Log) -> None:
        for at, tag in ((1.0, None), (2.0, "fr")):
            log.asked(at, language=tag)
            log.line("speech", at + 0.5)
        assert [p.language for p in read(log)] == ["fr", "fr"]


class TestWhatCannotBeUsed:
    def test_lines(self, log: Log) -> None:
        log.asked(1.0)
        log.line("speech", 1.5)
        log.line("fallback", 2.0)
        with log.path.open("a") as file:
            file.write('{"schema": "other"}\nnonsense\n\n{"schema": "eot-dec')
        problems = Problems()
        assert len(read(log, problems)) == 1
        (message,) = problems.messages("log.jsonl")
        assert message == "3 lines, the first is line 4: no line of a decision log (eot-decision-log/1)"

    def test_another_version_is_told_once(self, log: Log) -> None:
        """As a log has it that a newer version went on with."""
        log.asked(1.0)
        log.line("speech", 1.5)
        for at in (2.0, 3.0):
            log.line("speech", at, schema="eot-decision-log/2")
        problems = Problems()
        assert len(read(log, problems)) == 1
        (message,) = problems.messages("log.jsonl")
        assert message == (
            "2 lines, the first is line 3: eot-decision-log/2 is not known to this version, which reads "
            "eot-decision-log/1"
        )

    def test_v1_mini_decided(self, log: Log) -> None:
        log.asked(1.0, model="turn-detector-v1-mini")
        log.line("speech", 1.5)
        with pytest.raises(ModelLicenseError, match="LiveKit Model License"):
            read(log)
        log.asked(2.0)
        log.line("speech", 2.5)
        problems = Problems()
        assert [p.request for p in read(log, problems)] == ["s1-2"]
        assert "1 pauses were decided by turn-detector-v1-mini, whose scores tune nothing" in problems[0].message

    def test_v1_mini_took_over_in_a_pause(self, log: Log) -> None:
        log.asked(1.0)
        log.asked(1.4, model="turn-detector-v1-mini")
        log.line("turn_ended", 2.0)
        with pytest.raises(ModelLicenseError, match="LiveKit Model License"):
            read(log)

    def test_no_audio(self, log: Log) -> None:
        log.asked(1.0, audio=None)
        log.line("speech", 1.5)
        problems = Problems()
        with pytest.raises(DatasetError, match="no pause is left"):
            read(log, problems)
        assert "EOT_DECISION_LOG_AUDIO" in problems[0].message

    def test_a_log_that_is_gone(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="cannot be read"):
            read_logs([tmp_path / "gone.jsonl"], on_problem=Problems())


class TestFinding:
    def test_in_a_folder(self, tmp_path: Path) -> None:
        for name in ("log.jsonl", "log.jsonl.1"):
            Log(tmp_path, name).line("speech", 0.0)
        (tmp_path / "turns.jsonl").write_text('{"id": 1}\n')
        (tmp_path / "notes.txt").write_text(SCHEMA)
        (tmp_path / "folder.jsonl").mkdir()
        assert [f.name for f in find_logs(tmp_path)] == ["log.jsonl.1", "log.jsonl"]
        assert [f.name for f in find_logs(tmp_path / "log.jsonl")] == ["log.jsonl"]
        assert find_logs(tmp_path / "turns.jsonl") == find_logs(tmp_path / "notes.txt") == []

    @pytest.mark.parametrize("first", ['ms": 0.2}\n', '{"schema": "eot-decision-log/2", "kind": "new"}\n'])
    def test_whatever_its_first_line_is(self, tmp_path: Path, first: str) -> None:
        """The end of a log that was cut off, or one that another version began."""
        log = Log(tmp_path)
        log.path.write_text(first)
        log.line("speech", 0.0)
        assert find_logs(tmp_path) == find_logs(log.path) == [log.path]

    def test_of_another_name(self, tmp_path: Path) -> None:
        Log(tmp_path, "decisions.log").line("speech", 0.0)
        assert [f.name for f in find_logs(tmp_path)] == ["decisions.log"]


class TestScoring:
    def scorer(self, model: Any = None) -> ModelScorer:
        return ModelScorer(fake_spec(model or FakeModel(0.7)), fingerprint="fake-1")

    def test_durations_count_from_the_end_of_speech(self, log: Log) -> None:
        log.asked(1.0, silence=0.25)
        log.line("speech", 1.5)
        log.asked(3.0, silence=0.6)
        log.line("turn_ended", 4.0)
        result = score_logged(read(log), [self.scorer()], on_problem=Problems())
        pauses = result.for_model("fake-model")
        assert pauses.score.tolist() == [0.7, 0.7]
        assert pauses.is_end.tolist() == [False, True]
        assert pauses.answered_at == pytest.approx([0.25, 0.6], abs=0.1)
        assert pauses.duration[0] == pytest.approx(0.75, abs=0.1)
        assert pauses.cluster.tolist() == ["s1", "s1"]
        assert pauses.language.tolist() == ["en", "en"]

    def test_kept(self, log: Log, tmp_path: Path) -> None:
        log.asked(1.0)
        log.line("speech", 1.5)
        model = FakeModel(0.7)
        first = score_logged(read(log), [self.scorer(model)], cache=tmp_path / "cache", on_problem=Problems())
        again = score_logged(read(log), [self.scorer(model)], cache=tmp_path / "cache", on_problem=Problems())
        assert len(model.calls) == 1
        assert (first.scores, first.silences) == (again.scores, again.silences)

    def test_a_disk_that_becomes_full(self, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for at in (1.0, 2.0):
            log.asked(at)
            log.line("speech", at + 0.5)

        def full(self: ScoreCache, *args: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(ScoreCache, "put", full)
        errors: list[OSError] = []
        result = score_logged(
            read(log),
            [self.scorer(FakeModel(0.7))],
            cache=tmp_path / "cache",
            on_problem=Problems(),
            not_kept=errors.append,
        )
        assert result.scores == {"fake-model": [0.7, 0.7]}
        assert {error.errno for error in errors} == {errno.ENOSPC}

    def test_audio_that_cannot_be_used(self, log: Log) -> None:
        for at in (1.0, 2.0, 3.0):
            log.asked(at)
            log.line("speech", at + 0.5)
        (log.folder / "s1-1.wav").unlink()
        with wave.open(str(log.folder / "s1-2.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(bytes(32_000))
        problems = Problems()
        done: list[int] = []
        result = score_logged(
            read(log), [self.scorer()], on_problem=problems, on_progress=lambda number, of: done.append(number)
        )
        assert [p.request for p in result.pauses] == ["s1-3"]
        assert "no such file" in problems.messages("s1-1")[0]
        assert "no speech is heard in it" in problems.messages("s1-2")[0]
        assert done == [1, 2, 3]

    def test_a_model_that_fails(self, log: Log) -> None:
        log.asked(1.0)
        log.line("speech", 1.5)
        problems = Problems()
        scorers = [self.scorer(FakeModel(error=ModelError("broken")))]
        assert score_logged(read(log), scorers, on_problem=problems).pauses == []
        assert problems[0].message == "broken"


async def test_a_conversation_that_was_really_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's recording holds two hesitations of 0.9 s, and an end."""
    monkeypatch.setenv("EOT_DECISION_LOG", str(tmp_path / "log.jsonl"))
    monkeypatch.setenv("EOT_DECISION_LOG_AUDIO", str(tmp_path / "audio"))
    pcm, rate = read_audio(demo_recording())
    spec = fake_spec(FakeModel(0.1))  # never sure: every pause lasts until the maximum delay
    await replay_core(
        pcm, rate, detector=TurnDetector(model=spec, clock=ManualClock()), language="en", on_row=lambda row: None
    )
    pauses = read_logs(find_logs(tmp_path), on_problem=Problems())
    problems = Problems()
    scored = score_logged(pauses, [ModelScorer(spec)], on_problem=problems).for_model("fake-model")
    assert problems == []
    assert scored.is_end.tolist() == [False, False, True]
    assert scored.duration[:2] == pytest.approx([0.9, 0.9], abs=0.15)
    assert scored.answered_at == pytest.approx([0.22] * 3, abs=0.06)
    assert set(scored.language) == {"en"}


@pytest.mark.parametrize("pre_speech", [0.0, 0.1, 0.3])
async def test_a_pause_is_scored_as_it_was_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pre_speech: float
) -> None:
    """What was kept begins a little before the onset: a VAD that begins with it hears another one."""

    class Hears(FakeModel):
        def __init__(self) -> None:
            super().__init__(0.1)
            self.heard: list[bytes] = []

        def predict(self, pcm: Any) -> float:
            self.heard.append(np.ascontiguousarray(pcm).tobytes())
            return super().predict(pcm)

    monkeypatch.setenv("EOT_DECISION_LOG", str(tmp_path / "log.jsonl"))
    monkeypatch.setenv("EOT_DECISION_LOG_AUDIO", str(tmp_path / "audio"))
    pcm, rate = read_audio(demo_recording())
    model = Hears()
    spec = fake_spec(model, window=8.0, pre_speech=pre_speech)
    await replay_core(
        pcm, rate, detector=TurnDetector(model=spec, clock=ManualClock()), language="en", on_row=lambda row: None
    )
    in_the_call, model.heard = model.heard, []
    score_logged(read_logs(find_logs(tmp_path), on_problem=Problems()), [ModelScorer(spec)], on_problem=Problems())
    warm_up = 1
    assert len(in_the_call) == warm_up + 3
    assert model.heard[-3:] == in_the_call[-3:]
