from __future__ import annotations

import os
from pathlib import Path

import pytest

from eot_core.cpu import MAX_WORKERS, available_cpus, worker_count


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 64 CPUs and no cgroups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    (tmp_path / "fs").mkdir()
    return tmp_path


def group(machine: Path, line: str, folder: str, **files: str) -> None:
    with (machine / "membership").open("a") as file:
        file.write(line + "\n")
    where = machine / "fs" / folder
    where.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (where / name.replace("__", ".")).write_text(text)


def cpus(machine: Path) -> float:
    return available_cpus(cgroups=machine / "fs", membership=machine / "membership")


def workers(machine: Path) -> int:
    return worker_count(cgroups=machine / "fs", membership=machine / "membership")


def test_no_cgroup_at_all(machine: Path) -> None:
    assert cpus(machine) == 64
    assert workers(machine) == MAX_WORKERS


def test_affinity(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert cpus(machine) == workers(machine) == 3


@pytest.mark.parametrize(("count", "expected"), [(2, 2), (None, 1)])
def test_where_there_is_no_affinity(
    machine: Path, monkeypatch: pytest.MonkeyPatch, count: int | None, expected: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert cpus(machine) == expected


@pytest.mark.parametrize(
    ("text", "expected", "threads"),
    [("250000 100000\n", 2.5, 2), ("50000 100000", 0.5, 1), ("max 100000", 64, 4), ("rubbish", 64, 4), ("1 0", 64, 4)],
)
def test_v2_quota(machine: Path, text: str, expected: float, threads: int) -> None:
    group(machine, "0::/", "", cpu__max=text)
    assert cpus(machine) == expected
    assert workers(machine) == threads


def test_v2_the_tightest_group_on_the_way_up_binds(machine: Path) -> None:
    group(machine, "0::/pod/box", "pod/box", cpu__max="300000 100000")
    (machine / "fs" / "pod" / "cpu.max").write_text("200000 100000")
    (machine / "fs" / "cpu.max").write_text("max 100000")
    assert cpus(machine) == 2


def test_v2_in_a_container_that_sees_the_hosts_path(machine: Path) -> None:
    group(machine, "0::/kubepods/pod1/abc", "", cpu__max="100000 100000")
    assert cpus(machine) == 1


def test_a_group_outside_the_mount_ends_the_walk(machine: Path) -> None:
    group(machine, "0::/../../other", "", cpu__max="100000 100000")
    assert cpus(machine) == 1


def test_v1_quota(machine: Path) -> None:
    group(machine, "7:cpuset:/", "cpuset")
    group(machine, "4:cpu,cpuacct:/box", "cpu,cpuacct/box", cpu__cfs_quota_us="150000", cpu__cfs_period_us="100000")
    assert cpus(machine) == 1.5
    assert workers(machine) == 1


def test_v1_unlimited(machine: Path) -> None:
    group(machine, "4:cpu:/", "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert cpus(machine) == 64


def test_this_machine() -> None:
    assert 0 < available_cpus() <= (os.cpu_count() or 1)
    assert 1 <= worker_count() <= MAX_WORKERS
