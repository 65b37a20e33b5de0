"""kill -9 at every crash point, at every occurrence: the same line, started
again, finishes with the same bytes and repeats nothing that was accepted."""

import pytest
from ebbtest import (UNFINISHED, Failures, Workload, decided, ebb_bin, fault_bin, is_finished,
                     once, points_in, setting, spread)

ITEMS = 10
SLOTS = 2
PARTS = 8
# Operations that may be waiting for one durable step of the ledger
# (COMMITTER_GROUP_MAX in worker/committer.h).
COMMIT_GROUP = 64


def passed_points(box):
    """[point, occurrence] of an undisturbed run, in order."""
    path = box.top / "points"
    work = Workload(box, ITEMS, slots=SLOTS)
    work.finish(fault_bin(), EBB_FAULT_COUNT=path)
    work.check()
    return points_in(path)


@pytest.fixture
def points(fast_box, tmp_path_factory):
    fault_bin()
    ebb_bin()
    found = once(tmp_path_factory, "points", lambda: passed_points(fast_box))
    fast_box.log.write_text("")
    return found


def test_the_children_get_three_descriptors(box):
    r = box.run(["map", "--out", "out/{}.txt", "--", "sh", "-c", "cd /proc/$$/fd && echo * {}",
                 ":::", "x"], ebb_bin())
    assert r.code == 0, r.err
    # Looking for the names takes one more: the lowest that is free.
    assert (box.root / "out/x.txt").read_text() == "0 1 2 3 x\n"


def test_the_points_are_where_something_becomes_durable(points, tally):
    names = {name for name, _ in points}
    tally("points of one run", "names", len(names))
    tally("points of one run", "passed", len(points))
    for word in ("plan.", "accept.", "publish.", "published.", "seal."):
        assert any(n.startswith(word) for n in names), "no point around %s: %s" % (word, names)
    assert [n for n, _ in points].count("publish.rename.after") == ITEMS


def crash_at(work, point, occurrence):
    """Runs up to the crash; returns the exit code."""
    run = work.start(fault_bin(), EBB_FAULT_CRASH="%s:%s" % (point, occurrence))
    r = run.wait(30)
    if r.code != -9:
        r.check_words()
    work.box.wait_alone()
    return r.code


def restart_and_check(work):
    """Returns (lost, twice) after the same line was run again. A run that was
    sealed is finished, though nobody was told: all of it is run again, once."""
    box = work.box
    safe = set() if is_finished(box) else set(work.in_place()) | decided(box)
    before = len(box.log_lines())
    first = box.starts()
    work.finish(ebb_bin())
    again = box.starts(before)
    lost, foreign = work.problems()
    assert not foreign, "left behind: %s" % foreign
    twice = [item for item in again if item in safe]
    twice += [item for item in set(again) if again.count(item) > 1]
    if len(first) + len(again) - ITEMS > SLOTS + COMMIT_GROUP:
        twice += again
    return lost, twice


def try_point(work, point, occurrence, tally):
    code = crash_at(work, point, occurrence)
    if code == 0:  # fewer groups this time: the point was not passed so often
        work.check()
        tally("points", "not reached", 1)
        return
    assert code == -9 or code in UNFINISHED, "exit code %d" % code
    lost, twice = restart_and_check(work)
    tally("points", "tried", 1)
    tally("points", "lost", len(lost))
    tally("points", "twice", len(twice))
    assert not lost and not twice, "lost %s twice %s" % (lost, twice)


@pytest.mark.limit(110)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_at_every_point(box_maker, points, part, tally):
    some = spread(len(points), setting("EBB_POINTS", "all"))
    failures = Failures()
    for number in some[part::PARTS]:
        point, occurrence = points[number - 1]
        box = box_maker()
        work = Workload(box, ITEMS, slots=SLOTS)
        failures.attempt("%s:%s" % (point, occurrence), box, try_point, work, point, occurrence,
                         tally)
    failures.check()


# Clean-up has points of its own; what it is about to remove is nobody's any more.
@pytest.mark.limit(110)
def test_a_crash_while_cleaning_up(box, tally):
    work = Workload(box, 4)
    work.finish(ebb_bin())
    path = box.top / "points"
    r = box.run(["gc"], fault_bin(), EBB_FAULT_COUNT=path)
    assert r.code == 0, r.err
    passed = points_in(path)
    assert passed, "gc passes no point"
    for point, occurrence in passed:
        r = box.run(["gc"], fault_bin(), EBB_FAULT_CRASH="%s:%s" % (point, occurrence))
        assert r.code in (0, -9), r
        assert box.run(["gc"]).code == 0
        work.check()
        tally("points in gc", "tried", 1)
    work.finish(ebb_bin())
    work.check()
