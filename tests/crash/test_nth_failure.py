"""Every file call and every allocation fails once: ebb says so in a line and
ends with a documented code, or goes on; the next start finishes."""

import pytest
from ebbtest import (Failures, Workload, count_calls, ebb_bin, fault_bin, once,
                     run_with_fault, setting, spread)

# How many of the calls (of each kind) are tried; all with EBB_NTH=all.
TRIED = setting("EBB_NTH", 80)
PARTS = 6
ITEMS = 2


def small(box):
    return Workload(box, ITEMS, options=["--retry-delay", "10ms"], pause=0)


@pytest.fixture
def calls(fast_box, tmp_path_factory):
    ebb_bin()
    fault_bin()
    return once(tmp_path_factory, "calls", lambda: count_calls(small(fast_box)))


@pytest.mark.limit(115)
@pytest.mark.parametrize("part", range(PARTS))
def test_each_file_call_fails_once(box_maker, calls, part, tally):
    failures = Failures()
    for i, n in enumerate(spread(calls[0], TRIED)[part::PARTS]):
        errno = ("ENOSPC", "EIO")[(i + part) % 2]
        box = box_maker()
        failures.attempt("call %d of %d, %s" % (n, calls[0], errno), box, run_with_fault, small(box),
                         EBB_FAULT_FAIL="%d:%s" % (n, errno))
        tally("file calls that failed once", "tried", 1)
    if part == 0:
        tally("file calls that failed once", "in one run", calls[0])
    failures.check()


@pytest.mark.limit(115)
@pytest.mark.parametrize("part", range(PARTS))
def test_each_allocation_fails_once(box_maker, calls, part, tally):
    failures = Failures()
    for n in spread(calls[1], TRIED)[part::PARTS]:
        box = box_maker()
        failures.attempt("allocation %d of %d" % (n, calls[1]), box, run_with_fault, small(box),
                         EBB_FAULT_ALLOC=n)
        tally("allocations that failed once", "tried", 1)
    if part == 0:
        tally("allocations that failed once", "in one run", calls[1])
    failures.check()


@pytest.mark.limit(115)
@pytest.mark.parametrize("errno", ["ENOSPC", "EIO", "EROFS"])
def test_all_calls_fail_from_one_on(box_maker, calls, errno, tally):
    """A disk that has gone for good: ebb tries again for a while (10 s a group
    of the ledger's), ends, and says what it was."""
    failures = Failures()
    for n in spread(calls[0], 4):
        box = box_maker()
        failures.attempt("all calls from %d on" % n, box, run_with_fault, small(box),
                         EBB_FAULT_FAIL="%d:%s" % (n, errno), EBB_FAULT_FAIL_EVERY=1)
        tally("disks gone for good", "tried", 1)
    failures.check()
