"""ebb frozen by SIGSTOP. Past its lease another start takes over and the frozen
one commits nothing; not taken over, it goes on when it wakes."""

import os
import signal
import time

import pytest
from ebbtest import (UNFINISHED, Workload, fault_bin, guardian_of, kill, state_of, wait_until)

ITEMS = 8
ALREADY_RUNNING = 4


@pytest.fixture
def work(box):
    made = Workload(box, ITEMS, options=["--lease", "1s"], pause=0.1)
    yield made
    for pid in box.alive():
        kill(pid, signal.SIGCONT)


def freeze(pid):
    kill(pid, signal.SIGSTOP)
    wait_until(lambda: state_of(pid) in ("T", "t", ""), 5, "stopped")


def take_over(work, frozen, program=None):
    """Starts the same line until it is no longer told that the run is going on."""
    end = time.monotonic() + 20
    while True:
        r = work.run(program, seconds=30)
        if r.code != ALREADY_RUNNING:
            break
        assert time.monotonic() < end, "never took over\n" + r.err
    assert r.code == 0, "exit code %d\n%s" % (r.code, r.err)
    r.check_words()
    # The holder was ended, not only passed by.
    assert frozen.wait(5).code == -signal.SIGKILL
    work.box.wait_alone()


def check_nothing_twice(work, safe, log_at):
    again = work.box.starts(log_at)
    assert not [item for item in again if item in safe], "run again: %s" % again
    work.check()


@pytest.mark.parametrize("who", ["ebb", "ebb and guardian"])
def test_frozen_past_the_lease_is_taken_over(work, who):
    box = work.box
    run = work.start()
    wait_until(lambda: len(work.in_place()) >= 2, 15, "two outputs")
    guardian = guardian_of(run.pid)
    freeze(run.pid)
    if who != "ebb":
        freeze(guardian)
    safe = work.in_place()
    log_at = len(box.log_lines())
    take_over(work, run)
    check_nothing_twice(work, safe, log_at)
    assert {item: work.in_place()[item] for item in safe} == safe


def test_the_guardian_ends_the_children_at_the_fence(work):
    """Nobody takes over: at the end of the lease the frozen worker's children
    are ended, so that a successor elsewhere would be alone."""
    box = work.box
    hold = box.top / "hold"
    hold.touch()
    box.env["EBBTEST_HOLD"] = str(hold)
    run = work.start()
    wait_until(lambda: len(box.starts()) >= 2, 15, "two items running")
    guardian = guardian_of(run.pid)
    freeze(run.pid)
    wait_until(lambda: set(box.alive()) <= {run.pid, guardian}, 5, "children gone at the fence")
    hold.unlink()
    kill(run.pid, signal.SIGCONT)
    r = run.wait(30)
    r.check_words()
    assert r.code == 0, r.err
    box.wait_alone()
    work.check()


@pytest.mark.parametrize("seconds", [0.2, 2.0])
def test_frozen_and_woken_goes_on(work, seconds):
    """Shorter than the lease, and longer without anybody taking over."""
    run = work.start()
    wait_until(lambda: len(work.in_place()) >= 1, 15, "an output")
    freeze(run.pid)
    signal.sigtimedwait([], seconds)  # the length of the freeze is the test
    kill(run.pid, signal.SIGCONT)
    r = run.wait(30)
    r.check_words()
    assert r.code == 0, r.err
    work.box.wait_alone()
    work.check()


@pytest.mark.parametrize("point", ["accept.before", "accept.after", "publish.rename.before",
                                   "publish.rename.after", "published.before", "published.after"])
def test_frozen_in_the_middle_of_a_commit(work, point):
    """Stopped by itself between two steps; whoever takes over finishes them."""
    box = work.box
    run = work.start(fault_bin(), EBB_FAULT_STOP=point + ":2")
    wait_until(lambda: state_of(run.pid) == "T" or run.poll() is not None, 15, "stopped")
    assert run.poll() is None, "the point was not passed twice"
    safe = work.in_place()
    log_at = len(box.log_lines())
    take_over(work, run)
    check_nothing_twice(work, safe, log_at)


def test_a_second_start_is_refused_while_the_first_is_well(work):
    box = work.box
    hold = box.top / "hold"
    hold.touch()
    box.env["EBBTEST_HOLD"] = str(hold)
    run = work.start()
    wait_until(box.starts, 15, "the first item")
    r = work.run()
    r.check_words()
    assert r.code == ALREADY_RUNNING, (r.code, r.err)
    assert "running" in r.err, r.err
    hold.unlink()
    assert run.wait(30).code == 0
    box.wait_alone()
    work.check()


def test_ebb_ends_when_its_guardian_is_gone(work):
    """Or goes on with another one; never does it hang or crash."""
    run = work.start()
    wait_until(lambda: len(work.in_place()) >= 1, 15, "an output")
    guardian = guardian_of(run.pid)
    assert guardian
    kill(guardian)
    r = run.wait(30)
    r.check_words()
    assert r.code == 0 or r.code in UNFINISHED, r.err
    work.box.wait_alone()
    assert not os.path.exists("/proc/%d" % guardian)
    if r.code != 0:
        work.finish()
    work.check()
