"""What ``eot tune`` takes. What it refuses with a whole run behind it: ``test_tune.py``."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from eot_core.cli.tune_arguments import add_arguments, check_arguments


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
