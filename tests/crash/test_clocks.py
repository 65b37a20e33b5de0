"""Clocks that jump while a pipeline runs: a person or a time service sets the wall
clock, the machine is suspended (CLOCK_BOOTTIME goes on and nothing ran), or it was
booted anew (all of its workers are dead, and times of the boot before say nothing)."""

import signal
import struct

import pytest
from ebbtest import OTHER_BOOT, UNFINISHED, fault_bin, kill, wait_until
from pipework import Pipeline

HOUR_S = 3600


@pytest.fixture
def work(box):
    made = Pipeline(box, big=60, careful=24, slots=2, pause=0.03, options=["--if-running", "join"])
    box.env["EBB_FAULT_CLOCKS"] = str(box.top / "clocks")
    move(box)
    return made


def move(box, boot_s=0, wall_s=0):
    """From now on, for all that run and will run. Written in place: it is mapped."""
    with open(box.top / "clocks", "r+b" if (box.top / "clocks").exists() else "w+b") as f:
        f.write(struct.pack("<qq", boot_s * 10**9, wall_s * 10**9))


def started(work, n=1):
    """So many ebb of the run, once it has published something."""
    runs = [work.start(fault_bin()) for _ in range(n)]
    wait_until(lambda: len(work.in_place()) >= 3, 20, "three outputs")
    return runs


def check_end(work, runs, codes):
    """The end of all, then of the run; what was published stays."""
    for run in runs:
        r = run.wait(30)
        r.check_words()
        assert r.code in codes, "exit code %d\n%s" % (r.code, r.err)
    safe = work.in_place()
    work.finish(fault_bin())
    work.check()
    assert {name: work.in_place()[name] for name in safe} == safe
    assert not work.copies()


@pytest.mark.parametrize("seconds", [30 * 24 * HOUR_S, -30 * 24 * HOUR_S])
@pytest.mark.parametrize("members", [1, 2])
def test_the_wall_clock_is_set(work, seconds, members):
    """Nothing that decides asks the wall clock."""
    runs = started(work, members)
    move(work.box, wall_s=seconds)
    check_end(work, runs, {0})


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("seconds", [20, HOUR_S])
def test_the_machine_was_suspended(work, seconds, members):
    """Within the lease, and past it: nobody was awake to take the run over, so all go
    on, and the leases are renewed."""
    runs = started(work, members)
    move(work.box, boot_s=seconds)
    check_end(work, runs, {0})


def test_suspended_while_it_drains(work):
    runs = started(work)
    kill(runs[0].pid, signal.SIGTERM)
    move(work.box, boot_s=HOUR_S)
    check_end(work, runs, UNFINISHED | {0})


@pytest.mark.parametrize("boot_s", [0, -HOUR_S])
def test_booted_anew(work, boot_s):
    """A boot's clock begins anew: leases of the one before lie far ahead."""
    runs = started(work, 2)
    for run in runs:
        kill(run.pid)
    work.box.wait_alone()
    move(work.box, boot_s=boot_s)
    safe = work.in_place()
    r = work.finish(fault_bin(), EBB_FAULT_BOOT_ID=OTHER_BOOT)
    assert "interrupted" not in r.err
    work.check()
    assert {name: work.in_place()[name] for name in safe} == safe
