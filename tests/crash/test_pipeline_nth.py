"""Every file call and every allocation of a pipeline's run fails once, and the
disk is full while checkpoints are made: ebb says so and ends with a documented
code, or goes on; the next start finishes with the same bytes."""

import pytest
from ebbtest import Failures, count_calls, ebb_bin, once, run_with_fault, setting, spread
from pipework import Pipeline

# How many of the calls (of each kind) are tried; all with EBB_PIPELINE_NTH=all.
TRIED = setting("EBB_PIPELINE_NTH", 36)
PARTS = 2


def small(box):
    return Pipeline(box, big=4, careful=9, pause=0)


@pytest.fixture
def calls(fast_box, tmp_path_factory):
    ebb_bin()
    return once(tmp_path_factory, "pipeline-calls", lambda: count_calls(small(fast_box)))


def try_one(work, **env):
    r = run_with_fault(work, **env)
    if r.code == 0:  # then there is nothing to do
        work.finish()
        work.check()
    assert not work.copies(), "left behind: %s\n%s" % (work.copies(), r.err)


def some(count, part):
    return spread(count, TRIED)[part::PARTS]


@pytest.mark.limit(115)
@pytest.mark.parametrize("part", range(PARTS))
def test_each_file_call_of_a_pipeline_fails_once(box_maker, calls, part, tally):
    failures = Failures()
    for i, n in enumerate(some(calls[0], part)):
        errno = ("ENOSPC", "EIO")[(i + part) % 2]
        box = box_maker()
        failures.attempt("call %d of %d, %s" % (n, calls[0], errno), box, try_one, small(box),
                         EBB_FAULT_FAIL="%d:%s" % (n, errno))
        tally("pipeline file calls that failed once", "tried", 1)
    if part == 0:
        tally("pipeline file calls that failed once", "in one run", calls[0])
    failures.check()


@pytest.mark.limit(115)
@pytest.mark.parametrize("part", range(PARTS))
def test_each_allocation_of_a_pipeline_fails_once(box_maker, calls, part, tally):
    failures = Failures()
    for n in some(calls[1], part):
        box = box_maker()
        failures.attempt("allocation %d of %d" % (n, calls[1]), box, try_one, small(box),
                         EBB_FAULT_ALLOC=n)
        tally("pipeline allocations that failed once", "tried", 1)
    if part == 0:
        tally("pipeline allocations that failed once", "in one run", calls[1])
    failures.check()
