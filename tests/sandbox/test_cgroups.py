# SPDX-License-Identifier: Apache-2.0
"""Control groups: version 2's files in a tree of our own making, and real ones where we may have them."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from longshore.adapters.sandbox.cgroups import Bare, Quota, numbers, sweep, write
from longshore.adapters.sandbox.cgroups_found import _mounts, _own, _paths, open_groups
from longshore.adapters.sandbox.cgroups_v2 import OURSELVES, GroupV2, open_v2

QUOTA = Quota(cpus=0.5, memory=64 * 2**20, pids=32)


def tree(at: Path, controllers: str = "cpuset cpu io memory pids") -> Path:
    """A directory with the files of a version 2 group."""
    at.mkdir()
    for name, text in (
        ("cgroup.controllers", controllers),
        ("cgroup.subtree_control", ""),
        ("cgroup.procs", ""),
    ):
        (at / name).write_text(text)
    return at


def real_groups(name: str) -> list[Path]:
    """Directories in the real trees, or a skip."""
    groups = open_groups(name)
    groups.close()
    if isinstance(groups, Bare):
        pytest.skip("no control groups for us on this machine; the kinds without them are tested instead")
    return list(groups.places)


def test_limits_of_version_2_are_written_as_the_kernel_takes_them(tmp_path: Path) -> None:
    own = tree(tmp_path / "own")
    tree(own / "longshore-x")
    groups = open_v2(own, "longshore-x")
    assert groups is not None
    for name in ("memory.max", "memory.oom.group", "memory.swap.max", "pids.max", "cpu.max"):
        (tmp_path / name).touch()
    groups._limit(tmp_path, QUOTA)

    assert groups.controllers == {"memory", "pids", "cpu"}
    assert (own / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (tmp_path / "memory.max").read_text() == "67108864"
    assert (tmp_path / "memory.oom.group").read_text() == "1"
    assert (tmp_path / "memory.swap.max").read_text() == "0"
    assert (tmp_path / "pids.max").read_text() == "32"
    assert (tmp_path / "cpu.max").read_text() == "50000 100000"


def test_a_server_that_stepped_aside_before_uses_the_group_above(tmp_path: Path) -> None:
    own = tree(tmp_path / "own")
    tree(own / OURSELVES)
    tree(own / "longshore-x")

    groups = open_v2(own / OURSELVES, "longshore-x")

    assert groups is not None
    assert groups.at == own / "longshore-x"


def test_a_tree_without_controllers_is_none(tmp_path: Path) -> None:
    assert open_v2(tree(tmp_path / "own", "hugetlb"), "longshore-x") is None
    assert open_v2(tmp_path / "no-such-place", "longshore-x") is None


def test_figures_of_version_2_are_read(tmp_path: Path) -> None:
    (tmp_path / "memory.stat").write_text("anon 1048576\nfile 4096\nshmem 9999\n")
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 12500\nuser_usec 9\n")
    (tmp_path / "cgroup.procs").write_text("12\n34\n")
    group = GroupV2(tmp_path, frozenset({"memory", "pids", "cpu"}))

    assert group.anonymous() == 1048576
    assert group.oom_kills() == 2
    assert group.cpu_ms() == 12.5
    assert group.processes() == [12, 34]


def test_our_own_group_is_found_in_every_arrangement(tmp_path: Path) -> None:
    (tmp_path / "v2/a/b").mkdir(parents=True)
    mountinfo = (
        f"31 23 0:28 / /sys rw - sysfs sysfs rw\n"
        f"35 31 0:32 / {tmp_path}/v2 rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
        f"36 31 0:33 /docker/x {tmp_path}/v1 rw - cgroup cgroup rw,cpu,cpuacct\n"
    )
    v2, v1 = _mounts(mountinfo)
    paths = _paths("3:cpu,cpuacct:/docker/x\n0::/a/b\n")

    assert (v2.version, v1.version, v1.controllers >= {"cpu", "cpuacct"}) == (2, 1, True)
    assert _own(v2, paths[""]) == tmp_path / "v2/a/b"
    assert _own(v1, paths["cpu"]) == tmp_path / "v1"
    assert _own(v2, "/not/mounted/here") == tmp_path / "v2"


def test_groups_are_made_and_removed_where_we_may() -> None:
    name = f"longshore-test-{os.getpid()}"
    real_groups(name)
    groups = open_groups(name)
    try:
        group = groups.make("cell", QUOTA)

        assert all(path.exists() for path in group.joining())
        assert group.processes() == []
        assert group.remove()
    finally:
        groups.close()
    assert [place for place in groups.places if place.exists()] == []


def test_a_group_s_processes_are_killed_with_it_and_a_sweep_takes_all() -> None:
    name = f"longshore-test-{os.getpid()}"
    real_groups(name)
    groups = open_groups(name)
    try:
        group = groups.make("cell", QUOTA)
        script = "".join(f"echo 0 > {path}; " for path in group.joining()) + "sleep 600 & sleep 600"
        with subprocess.Popen(["/bin/sh", "-c", script]) as shell:
            while len(group.processes() or []) < 3:
                time.sleep(0.005)

            group.kill()

            shell.wait(10)
        for place in groups.places:
            sweep(place)
    finally:
        groups.close()
    assert [place for place in groups.places if place.exists()] == []


def test_who_comes_and_who_goes_is_listed_at_once() -> None:
    name = f"longshore-test-{os.getpid()}"
    real_groups(name)
    groups = open_groups(name)
    try:
        group = groups.make("cell", QUOTA)
        script = "".join(f"echo 0 > {path}; " for path in group.joining())
        asked = []
        for _ in range(3):
            with subprocess.Popen(["/bin/sh", "-c", f"{script} read line"], stdin=subprocess.PIPE) as shell:
                until = time.monotonic() + 10
                while group.processes() != [shell.pid] and time.monotonic() < until:
                    time.sleep(0.001)
                asked.append(group.processes() == [shell.pid])
                shell.communicate(b"\n")
            until = time.monotonic() + 10
            while group.processes() and time.monotonic() < until:
                time.sleep(0.001)
            asked.append(group.processes() == [])
    finally:
        groups.close()
    assert asked == [True] * 6


def test_the_kernel_kills_a_group_of_version_2_at_once() -> None:
    mounts = _mounts(Path("/proc/self/mountinfo").read_text())
    own = next((_own(one, "/") for one in mounts if one.version == 2 and os.access(one.point, os.W_OK)), None)
    if own is None:
        pytest.skip("no version 2 tree that we may write to on this machine")
    group = GroupV2(own / f"longshore-test-{os.getpid()}", frozenset())
    group.at.mkdir()
    try:
        script = f"echo 0 > {group.at}/cgroup.procs; sleep 600 & sleep 600"
        with subprocess.Popen(["/bin/sh", "-c", script]) as shell:
            until = time.monotonic() + 10
            while len(numbers(group.at / "cgroup.procs")) < 3 and time.monotonic() < until:
                time.sleep(0.005)

            group.kill()

            assert shell.wait(10) == -9
    finally:
        sweep(group.at)
    assert not group.at.exists()


def test_each_write_is_one_command(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    write(tmp_path / "file", "+cpu")

    assert (tmp_path / "file").read_text() == "+cpu"
