"""What ``eot tune`` takes. What it refuses with a whole run behind it: ``test_tune.py``."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from eot_core.cli.tune_arguments import add_arguments, check_arguments, model_scorers, not_for


def parsed(*argv: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([*map(str, argv)])


def test_defaults(tmp_path: Path) -> None:
    args = parsed("calls", "-o", tmp_path / "c.json")
    check_arguments(args)
    assert (args.dataset, args.output, args.model) == ("calls", tmp_path / "c.json", None)
    assert (args.budget, args.curve, args.rescore) == ("cutoff=0.05", "auto", False)
    assert (args.caller_channel, args.agent_channel) == (0, None)


def test_there_must_be_somewhere_to_write_to() -> None:
    with pytest.raises(SystemExit):
        parsed("calls")


@pytest.mark.parametrize("name", ["--resamples", "--seed", "--caller-channel", "--agent-channel"])
def test_numbers_are_not_negative(name: str, tmp_path: Path) -> None:
    check_arguments(parsed("calls", "-o", tmp_path / "c.json", name, 0))
    with pytest.raises(ValueError, match=f"{name} must be 0 or more, got -1"):
        check_arguments(parsed("calls", "-o", tmp_path / "c.json", name, -1))


def test_the_output_takes_the_place_of_nothing_that_is_read(tmp_path: Path) -> None:
    for name in ("call00.flac", "in.jsonl"):
        (tmp_path / name).write_bytes(b"fLaC")
        with pytest.raises(ValueError, match=f"--output: .*{name} is there, and is nothing that this command wrote"):
            check_arguments(parsed(tmp_path, "-o", tmp_path / name))


def test_what_is_said_of_itself_reads_well() -> None:
    from eot_core.cli import bench, tune

    parsers = argparse.ArgumentParser().add_subparsers()
    for command in (tune, bench):
        command.add_parser(parsers)
    for parser in parsers.choices.values():
        assert "%%" not in parser.format_help()


@pytest.mark.parametrize("name", ["turn-detector-v1", "v1"])
def test_what_runs_in_the_cloud_is_not_unknown(name: str) -> None:
    with pytest.raises(ValueError, match=f"--model {name}: runs in the cloud, .*: name a local model"):
        model_scorers(["smart-turn-v3.2", name])


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("logs", ["--caller-channel", "--agent-channel", "--no-check", "--rescore"]),
        ("labels", ["--caller-channel", "--agent-channel"]),
        ("recordings", ["--no-check"]),
    ],
)
def test_arguments_that_say_nothing_of_the_data(kind: str, names: list[str], tmp_path: Path) -> None:
    given = ("--caller-channel", 1, "--agent-channel", 0, "--no-check", "--rescore")
    assert not_for(parsed("calls", "-o", tmp_path / "c.json", *given), kind) == names
    assert not_for(parsed("calls", "-o", tmp_path / "c.json"), kind) == []


def test_files_that_a_detector_could_not_tell_apart(tmp_path: Path) -> None:
    files = [tmp_path / "a" / "model.onnx", tmp_path / "b" / "model.onnx", tmp_path / "b" / "other.onnx"]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"a graph")
    with pytest.raises(ValueError, match=r"two files are called model\.onnx, .*: rename one"):
        model_scorers([*map(str, files[:2])])
    assert [scorer.name for scorer in model_scorers([*map(str, files[1:])])] == ["model", "other"]
