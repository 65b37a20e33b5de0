"""kill -9 of a pipeline at every crash point, at every occurrence: in its first
run, and in the one after an input has changed, which takes over what is done.
The same line, started again, ends with the same bytes, and repeats nothing but
what was running."""

import pytest
from ebbtest import (UNFINISHED, Failures, decided, ebb_bin, fault_bin, is_finished, once,
                     points_in, setting, spread)
from pipework import Pipeline

PARTS = 4
# Of the points around the commits of the ledger, which are most of them and
# much alike; of all others each is tried.
COMMITS = setting("EBB_COMMITS", 12)
NAMES = {"first": ("plan.", "guardian.spawn.", "guardian.end", "checkpoint.", "restore.", "join.", "accept.",
                   "publish.rename.", "published.", "seal."),
         "second": ("generation.", "plan.", "publish.rename.", "seal.")}


def first_run(box):
    return Pipeline(box)


def after_a_change(box):
    """One range more in the last file: the others are carried."""
    work = Pipeline(box)
    work.finish(ebb_bin())
    box.log.write_text("")
    work.inputs["small"] = 20
    work.write_inputs()
    return work


KINDS = {"first": first_run, "second": after_a_change}


def passed_points(box, kind):
    """[point, occurrence] of an undisturbed run, in order."""
    path = box.top / "points"
    work = KINDS[kind](box)
    work.finish(fault_bin(), EBB_FAULT_COUNT=path)
    work.check()
    assert not work.copies()
    return points_in(path)


def chosen(points):
    commits = [p for p in points if p[0].startswith("ledger.")]
    some = {n - 1 for n in spread(len(commits), COMMITS)}
    kept = [p for i, p in enumerate(commits) if i in some]
    return [p for p in points if not p[0].startswith("ledger.") or p in kept]


def crash_at(work, point, occurrence):
    """Runs up to the crash; returns the exit code."""
    r = work.run(fault_bin(), 30, EBB_FAULT_CRASH="%s:%s" % (point, occurrence))
    if r.code != -9:
        r.check_words()
    work.box.wait_alone()
    return r.code


def safe_items(work):
    """What must not run again, as parse.sh names it."""
    if is_finished(work.box):
        return set(work.box.starts())
    return {"parse:" + name for name in decided(work.box)}


def restart_and_check(work):
    """Returns (lost, twice) after the same line was run again."""
    box = work.box
    safe = safe_items(work)
    before = len(box.log_lines())
    work.finish(ebb_bin())
    again = box.starts(before)
    lost, foreign = work.problems()
    assert not foreign, "left behind: %s" % foreign
    assert not work.copies(), "left behind: %s" % work.copies()
    # The careful one leaves once to be run again.
    may_twice = {line[1] for line in box.log_lines(before) if line[0] == "again"}
    twice = [item for item in set(again) if item in safe or
             again.count(item) > 1 + (item in may_twice)]
    return lost, twice


def try_point(box, kind, point, occurrence, tally):
    work = KINDS[kind](box)
    code = crash_at(work, point, occurrence)
    if code == 0:  # fewer groups this time: the point was not passed so often
        work.check()
        tally("pipeline points", "not reached", 1)
        return
    assert code == -9 or code in UNFINISHED, "exit code %d" % code
    lost, twice = restart_and_check(work)
    tally("pipeline points", "tried", 1)
    tally("pipeline points", "lost", len(lost))
    tally("pipeline points", "twice", len(twice))
    assert not lost and not twice, "lost %s twice %s" % (lost, twice)


@pytest.fixture
def all_points(box_maker, tmp_path_factory):
    fault_bin()

    def get(kind):
        return once(tmp_path_factory, "pipeline-points-" + kind,
                    lambda: passed_points(box_maker(), kind))
    return get


@pytest.mark.parametrize("kind", KINDS)
def test_there_are_points_around_what_is_durable(all_points, kind, tally):
    points = all_points(kind)
    names = {name for name, _ in points}
    for word in NAMES[kind]:
        assert any(n.startswith(word) for n in names), "no point around %s: %s" % (word, names)
    tally("pipeline points", "passed in the %s run" % kind, len(points))


@pytest.mark.limit(110)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_at_every_point_of_a_pipeline(box_maker, all_points, kind, part, tally):
    failures = Failures()
    for point, occurrence in chosen(all_points(kind))[part::PARTS]:
        box = box_maker()
        failures.attempt("%s:%s" % (point, occurrence), box, try_point, box, kind, point,
                         occurrence, tally)
    failures.check()


def test_a_state_that_was_moved_goes_on(box):
    """Accepted under names that are not there any more: neither private nor
    final files, so they are made again."""
    work = first_run(box)
    box.env["EBB_STATE"] = str(box.root / "before")
    r = work.run(fault_bin(), EBB_FAULT_CRASH="accept.after:1")
    assert r.code == -9
    box.wait_alone()
    (box.root / "before").rename(box.root / "after")
    box.env["EBB_STATE"] = str(box.root / "after")
    work.finish(ebb_bin())
    work.check()
