"""How many CPUs this process may use: in a container that is its quota, not what the host has."""

from __future__ import annotations

import os
from pathlib import Path

MAX_WORKERS = 4
"""A pause is scored in some 30 ms on one core and comes every few seconds in a call, so four workers keep up with
hundreds of calls; more would only take the CPU from the speech recognition beside them."""

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def available_cpus(*, cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> float:
    """CPUs that this process may use, more than 0; a quota may make it a fraction.

    The least of: the quota of its cgroup and of every group above it (v2 ``cpu.max``, v1 ``cpu.cfs_quota_us``), the
    scheduling affinity, and the number of CPUs in the machine.

    Args:
        cgroups: where cgroups are mounted.
        membership: file that says to which group this process belongs.
    """
    limits = [float(_schedulable()), *_quotas(cgroups, membership)]
    return min(limits)


def worker_count(*, cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Threads for inference: one per whole CPU that may be used, at least 1, at most ``MAX_WORKERS``."""
    return max(1, min(MAX_WORKERS, int(available_cpus(cgroups=cgroups, membership=membership))))


def _schedulable() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1  # macOS and Windows have no affinity to ask for


def _quotas(cgroups: Path, membership: Path) -> list[float]:
    found: list[float] = []
    for root, group in _groups(cgroups, membership):
        # A parent's quota binds its children. In a container the group's path is often the host's and not mounted:
        # then its own quota is at the root of the mount, where the walk ends.
        folder = root / group.lstrip("/")
        above = [parent for parent in folder.parents if parent == root or root in parent.parents]
        found += [quota for quota in map(_quota, (folder, *above)) if quota is not None]
    return found


def _groups(cgroups: Path, membership: Path) -> list[tuple[Path, str]]:
    """Each hierarchy that may hold a CPU quota: where it is mounted, and this process's group in it."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    groups = []
    for line in lines:
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            groups.append((cgroups, group))  # v2: one hierarchy for all
        elif "cpu" in controllers.split(","):
            groups += [(cgroups / controllers, group), (cgroups / "cpu", group)]
    return groups or [(cgroups, ""), (cgroups / "cpu", "")]


def _quota(folder: Path) -> float | None:
    """CPUs' worth of the folder's quota; None where there is none, or none that can be read."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        cpus = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" means unlimited, as -1 does in v1
        return None
    return cpus if cpus > 0 else None
