"""Several workers for one run: joining, draining, taking over, cancelling. What
comes out has the same bytes whatever happened, and nothing is done twice that
was done."""

import contextlib
import json
import os
import signal
import sqlite3
import time

import pytest

import ebbtest
from ebbcli import HELD, LOG, wait_for_done, wait_for_lines

COUNT = 24
PIPELINE = """version: 1
name: two
stages:
  parse:
    input: {count: %d}
    run: 'echo {} >>"$EBBTEST_LOG"; %s; sleep %s; seq {} | sort -r; echo {}'
  total:
    input: [{stage: parse}]
    shard: {by: all}
    run: 'echo total >>"$EBBTEST_LOG"; cat {}'
    output: out/total.txt
"""
WHOLE = "".join("".join("%s\n" % line for line in sorted(map(str, range(1, n + 1)), reverse=True)) +
                "%d\n" % n for n in range(COUNT)).encode()
ALL = sorted([str(n) for n in range(COUNT)] + ["total"])


@pytest.fixture
def two(box):
    """A box with the pipeline, in a folder of its own."""
    box.env["LC_ALL"] = "C"
    write_pipeline(box)
    return box


def write_pipeline(box, pause=0.05, count=COUNT):
    box.write("p/two.yaml", PIPELINE % (count, HELD, pause))


def start(box, *options, **env):
    return box.begin("run", "p/two.yaml", *options, **env)


def join(box, *options, run="two", **env):
    """From another folder than the run's."""
    return box.begin("worker", "--run", run, "--state", "p/.ebb", *options, **env)


def wait_for_workers(box, n):
    return ebbtest.wait_until(lambda: workers(box) if len(workers(box)) == n else None, 10,
                              "%d workers" % n)


def workers(box):
    r = box.ebb("status", "two", "--json", "--state", "p/.ebb", code=None)
    return json.loads(r.out)["runs"][0]["workers"] if r.code == 0 else []


def query(box, sql):
    path = box.root / "p/.ebb/ledger.db"
    with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % path, uri=True)) as db:
        return db.execute(sql).fetchall()


def events(box):
    return query(box, "SELECT ifnull(worker.number, 0), kind, text FROM event "
                      "LEFT JOIN worker ON worker.id = event.worker ORDER BY event.id")


def kinds(box, kind):
    return [e for e in events(box) if e[1] == kind]


def ended(box):
    return dict(query(box, "SELECT cause, count(*) FROM attempt GROUP BY cause"))


DONE, INTERRUPTED, LOST, FAILED, CANCELLED = 0, 2, 3, 4, 8


def check_whole(box, again=()):
    """The right bytes; each item was run once, but for those that were ended."""
    assert box.read("p/out/total.txt") == WHOLE
    ran = box.ran()
    for item in again:
        ran.remove(item)
    assert sorted(ran) == ALL
    assert ended(box)[DONE] == COUNT + 1
    box.wait_alone(3)


def three(box, *options, pools=("spot", "spot")):
    """The one that starts it and two that join, all at work on something held."""
    box.hold()
    first = start(box, "-j1", *options)
    wait_for_lines(box, 1)
    runs = [first]
    for pool in pools:
        runs.append(join(box, "-j1", "--pool", pool, *options))
        wait_for_lines(box, len(runs))
    assert [w["pid"] for w in workers(box)] == [r.pid for r in runs]
    return runs


def test_three_share_a_run(two):
    runs = [start(two, "-j1"), join(two, "-j1", "--wait", "10s"),
            join(two, "-j1", "--wait", "10s", run="r1")]
    for r in runs:
        assert r.wait(30).code == 0, r.err()
    check_whole(two)
    assert len(kinds(two, "start")) == 1 and len(kinds(two, "join")) == 2
    assert sorted(e[2] for e in kinds(two, "seal")) == ["parse", "total"]
    assert len(kinds(two, "leave")) == 3
    assert query(two, "SELECT count(DISTINCT worker) FROM attempt") == [(3,)]


def test_what_status_says(two):
    two.hold()
    first = start(two, "-j2", "--pool", "base", "--lifecycle", "on-demand")
    wait_for_lines(two, 2)
    second = join(two, "-j1", "--pool", "cheap", "--lifecycle", "spot")
    wait_for_lines(two, 3)
    ebbtest.wait_until(lambda: [w["running"] for w in workers(two)] == [2, 1], 5, "running")
    one, other = workers(two)
    keys = ("worker", "pid", "pool", "lifecycle", "slots", "running", "draining", "alive")
    assert [one[k] for k in keys] == ["w1", first.pid, "base", "on-demand", 2, 2, False, True]
    assert [other[k] for k in keys] == ["w2", second.pid, "cheap", "spot", 1, 1, False, True]
    text = two.ebb("status", "two", "--state", "p/.ebb").out.decode()
    assert "w2   pid %d, pool cheap spot, 1 of 1 slots running\n" % second.pid in text
    two.ebb("drain", "w2", "--state", "p/.ebb", "--reason", "so it is")
    text = two.ebb("status", "two", "--state", "p/.ebb").out.decode()
    assert "1 of 1 slots running, draining: so it is\n" in text
    two.release()
    assert first.wait(20).code == 0 and second.wait(20).code in (0, 75)
    check_whole(two)


@pytest.mark.parametrize("who, left", [(["w2"], [1]), (["spot"], [1, 2]), (["--all"], [0, 1, 2])])
def test_drain(two, who, left):
    """Those that are meant hand back what they hold; the others do it."""
    runs = three(two)
    held = two.ran()
    begin = time.monotonic()
    two.ebb("drain", *who, "--state", "p/.ebb", "--deadline", "0", "--wait", "--reason", "test")
    assert time.monotonic() - begin < 3
    for i in left:
        assert runs[i].wait(1).code == 75, runs[i].err()
    assert [i for i, r in enumerate(runs) if r.poll() is not None] == left
    assert len(workers(two)) == 3 - len(left)
    assert [e[2] for e in kinds(two, "drain")] == ["asked to: test"] * len(left)
    handed_back = [e[2] for e in kinds(two, "hand-back")]
    assert len(handed_back) == len(left) and set(handed_back) <= set(held)
    two.release()
    for i in {0, 1, 2} - set(left):
        assert runs[i].wait(20).code == 0
    if len(left) == 3:
        assert start(two, "-j2").wait(20).code == 0
    check_whole(two, handed_back)
    assert ended(two) == {DONE: COUNT + 1, INTERRUPTED: len(left)}


def test_what_runs_may_finish_without_a_deadline(two):
    runs = three(two)
    two.ebb("drain", "spot", "--state", "p/.ebb")
    ebbtest.wait_until(lambda: "stopping (asked to)" in runs[1].err(), 5, "it says so")
    two.release()
    assert [r.wait(20).code for r in runs] == [0, 75, 75]
    check_whole(two)
    assert ended(two) == {DONE: COUNT + 1}


def test_a_drain_is_seen_at_once(two):
    runs = three(two)
    for n, r in ((2, runs[1]), (3, runs[2])):
        two.ebb("drain", "w%d" % n, "--state", "p/.ebb", "--deadline", "0")
        r.wait(5)
    took = [b - a for a, b in query(two, "SELECT drain, boot_ms FROM worker JOIN event "
                                    "ON event.worker = worker.id WHERE kind = 'drain'")]
    assert len(took) == 2 and max(took) < 500, took  # 50 ms on a machine that is idle
    two.release()
    assert runs[0].wait(20).code == 0
    check_whole(two, [e[2] for e in kinds(two, "hand-back")])


def test_whom_to_drain(two):
    runs = three(two)
    for words in ([], ["w1", "--all"], ["w9"], ["nobody"]):
        r = two.ebb("drain", *words, "--state", "p/.ebb", code=2)
        assert r.err.strip()
    assert "nobody" in two.ebb("drain", "nobody", "--state", "p/.ebb", code=2).err
    two.ebb("drain", str(runs[1].pid), "--state", "p/.ebb", "--deadline", "0", "--wait")
    assert runs[1].wait(1).code == 75
    two.release()
    assert runs[0].wait(20).code == 0 and runs[2].wait(20).code == 0
    check_whole(two, [e[2] for e in kinds(two, "hand-back")])


def test_w2_of_several_runs(two):
    runs = three(two, pools=("spot",))
    two.write("p/three.yaml", (PIPELINE % (2, HELD, 0)).replace("name: two", "name: three")
              .replace("total.txt", "three.txt"))
    runs.append(two.begin("run", "p/three.yaml", "-j1"))
    wait_for_lines(two, 3)
    r = two.ebb("drain", "w1", "--state", "p/.ebb", code=2)
    assert "--run" in r.err
    two.ebb("drain", "w1", "--run", "three", "--state", "p/.ebb", "--deadline", "0", "--wait")
    assert runs[2].wait(1).code == 75 and [r.poll() for r in runs] == [None, None, 75]
    two.release()
    assert [r.wait(20).code for r in runs] == [0, 0, 75]


def test_the_starter_is_killed(two):
    runs = three(two)
    held = two.ran()
    two.release()
    ebbtest.kill(runs[0].pid)
    assert runs[1].wait(20).code == 0, runs[1].err()
    assert runs[2].wait(20).code == 0
    lost = [i for i in held if two.ran().count(i) > 1]
    assert len(lost) <= 1
    check_whole(two, lost)
    assert [e[0] for e in kinds(two, "takeover")] == [1]


def test_a_joiner_is_killed(two):
    runs = three(two)
    held = two.ran()
    ebbtest.kill(runs[1].pid)
    two.release()
    assert runs[0].wait(20).code == 0 and runs[2].wait(20).code == 0
    lost = [i for i in held if two.ran().count(i) > 1]
    assert len(lost) <= 1
    check_whole(two, lost)
    assert len(kinds(two, "takeover")) == 1


def test_killed_in_the_middle_again_and_again(two):
    """One after the other; those that join do the rest."""
    write_pipeline(two, 0.02)
    runs = [start(two, "-j2")]
    wait_for_lines(two, 2)
    for _ in range(4):
        runs.append(join(two, "-j2"))
        n = len(two.ran())
        ebbtest.wait_until(lambda: len(two.ran()) >= n + 2  # noqa: B023
                           or runs[-1].poll() is not None, 10, "more was begun")
        if runs[-1].poll() is not None:
            break
        ebbtest.kill(runs[-2].pid)
    assert runs[-1].wait(20).code == 0, runs[-1].err()
    assert two.read("p/out/total.txt") == WHOLE
    again = list(two.ran())
    for item in ALL:
        again.remove(item)
    # What ran in its slots, and what had ended and was not accepted yet.
    assert len(again) <= (2 + 4) * len(runs)
    assert ended(two)[DONE] == COUNT + 1 and FAILED not in ended(two)
    two.wait_alone(3)


def test_one_that_is_frozen_past_its_lease(two):
    runs = three(two, "--lease", "1s")
    held = two.ran()
    os.kill(runs[1].pid, signal.SIGSTOP)
    two.release()
    assert runs[0].wait(20).code == 0, runs[0].err()
    assert runs[2].wait(20).code == 0
    assert runs[1].wait(1).code == -signal.SIGKILL
    lost = [i for i in held if two.ran().count(i) > 1]
    assert len(lost) <= 1
    check_whole(two, lost)
    assert len(kinds(two, "takeover")) == 1


@pytest.mark.parametrize("how", ["default", "option"])
def test_the_stop_file(two, how):
    runs = three(two, *(["--stop-file", "halt"] if how == "option" else []))
    name = "halt" if how == "option" else ".ebb/runs/r1/stop"
    path = two.path(name if how == "option" else "p/" + name)
    path.touch()
    for r in runs:
        ebbtest.wait_until(lambda: name + " is there" in r.err(), 5, "it says so")  # noqa: B023
    two.release()
    assert [r.wait(20).code for r in runs] == [75, 75, 75]
    options = ["--stop-file", "halt"] if how == "option" else []
    assert start(two, *options).wait(10).code == 75
    path.unlink()
    assert start(two, *options).wait(20).code == 0
    check_whole(two)


def test_cancel(two):
    runs = three(two)
    held = two.ran()
    two.ebb("cancel", "two", "--state", "p/.ebb")
    for r in runs:
        got = r.wait(8)
        assert got.code == 1 and "cancelled" in got.err, got.err
    assert ended(two) == {CANCELLED: 3} and not two.path("p/out").exists()
    assert two.ebb("status", "two", "--json", "--state", "p/.ebb").out.find(b'"cancelled"') > 0
    assert join(two).wait(5).code == 1
    assert "over already" in two.ebb("cancel", "two", "--state", "p/.ebb").err
    two.release()
    assert start(two).wait(20).code == 0
    check_whole(two, held)
    assert len(kinds(two, "cancel")) == 1


def test_a_cancelled_pipeline_keeps_what_is_done(two):
    write_pipeline(two, 0.2)
    run = start(two, "-j1")
    ebbtest.wait_until(lambda: len(two.ran()) >= 4, 10, "three are done")
    two.ebb("cancel", "two", "--state", "p/.ebb")
    assert run.wait(8).code == 1
    done = ended(two)[DONE]
    two.forget()
    write_pipeline(two, 0)
    assert start(two).wait(20).code == 0
    # The command is another one now, so that all is done again.
    assert sorted(two.ran()) == ALL
    two.forget()
    write_pipeline(two, 0)
    assert start(two).wait(20).code == 0 and two.ran() == [] and done >= 3


def test_a_cancelled_pipeline_goes_on_in_a_new_generation(two):
    write_pipeline(two, 0.1)
    run = start(two, "-j1")
    ebbtest.wait_until(lambda: len(two.ran()) >= 4, 10, "three are done")
    two.ebb("cancel", "two", "--state", "p/.ebb")
    assert run.wait(8).code == 1
    done = ended(two)[DONE]
    assert start(two, "-j8").wait(20).code == 0
    assert two.read("p/out/total.txt") == WHOLE
    again = two.ran()
    for item in ALL:
        again.remove(item)
    assert done >= 3 and len(again) <= 1
    assert ended(two)[DONE] <= COUNT + 1


def test_a_cancelled_list_starts_over(box):
    args = ["-j1", "--out", "{}.o", LOG + "; " + HELD + "; echo {}", ":::", "a", "b"]
    run = box.begin("map", *args)
    wait_for_done(box, 1)
    box.hold()
    run.wait(10)
    box.release()
    box.forget()
    box.hold()
    run = box.begin("map", *args)
    wait_for_lines(box, 1)
    box.ebb("cancel", "r1")
    assert run.wait(8).code == 1
    box.release()
    box.map(*args)
    assert box.ran() == ["a", "a", "b"]


def test_a_list_is_worked_on_by_a_joiner(box):
    """Which cannot read it; who started it can leave once it is planned."""
    box.hold()
    items = ["i%d" % n for n in range(8)]
    run = box.begin("map", "-j1", "--out", "{}.o", LOG + "; " + HELD + "; echo {}", ":::", *items)
    wait_for_lines(box, 1)
    other = box.begin("worker", "--run", "r1", "-j2")
    wait_for_lines(box, 3)
    ebbtest.wait_until(lambda: box.status()[0]["plan_complete"], 5, "the list is read")
    ebbtest.kill(run.pid)
    box.release()
    assert other.wait(20).code == 0, other.err()
    assert box.names() == sorted(i + ".o" for i in items)
    box.wait_alone(3)


def test_retry_from_another_folder(box):
    args = ["--retries", "1", "--out", "{}.o", "test -e there; echo {}", ":::", "a"]
    box.path("sub").mkdir()
    box.ebb("map", *args, code=1, cwd=box.path("sub"))
    box.write("sub/there", "")
    box.ebb("retry", "r1", "--state", "sub/.ebb")
    assert box.read("sub/a.o") == b"a\n"


def test_no_such_run(box):
    assert box.ebb("worker", "--run", "r1", code=2).err.strip()
    assert "which run" in box.ebb("worker", code=2).err
    box.map("true", ":::", "a")
    assert "r7" in box.ebb("worker", "--run", "r7", code=2).err
    assert "finished" in box.ebb("worker", "--run", "r1").err
    assert "--pool" in box.ebb("worker", "--run", "r1", "--pool", "a b", code=2).err
    begin = time.monotonic()
    box.ebb("worker", "--run", "r7", "--wait", "300ms", code=2)
    assert time.monotonic() - begin >= 0.3


def test_fresh_while_others_work_is_refused(two):
    runs = three(two)
    ebbtest.kill(runs[0].pid)
    runs[0].proc.wait(5)
    ebbtest.wait_until(lambda: len([w for w in workers(two) if w["alive"]]) == 2, 5, "it is dead")
    r = start(two, "--fresh").wait(10)
    assert r.code == 4 and "ebb drain" in r.err, r.err
    two.release()
    assert runs[1].wait(20).code == 0 and runs[2].wait(20).code == 0
    assert two.read("p/out/total.txt") == WHOLE
    two.wait_alone(3)


# ---- a worker that lacks what others have ----

LACKING = """version: 1
name: two
stages:
  parse:
    input: {count: %d}
    run: '[ -e "${EBBTEST_NEEDS:-/}" ]; echo {} >>"$EBBTEST_LOG"; %s; sleep %s; echo {}'
    retry: {failures: 1000, backoff: 100ms..200ms}
    output: 'out/{}'
"""


def failed_shards(box, worker):
    if not box.path("p/.ebb/ledger.db").exists():
        return 0
    return query(box, "SELECT count(DISTINCT shard) FROM attempt JOIN worker ON worker.id = attempt.worker "
                      "WHERE number = %d AND cause = %d" % (worker, FAILED))[0][0]


def wait_until_failed(box, worker, n):
    ebbtest.wait_until(lambda: failed_shards(box, worker) >= n, 10, "%d shards failed" % n)


def check_lacking(box, count):
    assert sorted(os.listdir(box.path("p/out")), key=int) == [str(n) for n in range(count)]
    assert sorted(box.ran(), key=int) == [str(n) for n in range(count)]
    assert ended(box)[DONE] == count
    box.wait_alone(3)


def test_one_that_lacks_something_sets_itself_aside(two):
    two.write("p/two.yaml", (LACKING % (16, HELD, "0.2")).replace("failures: 1000", "failures: 3"))
    two.hold()
    good = start(two, "-j1")
    wait_for_lines(two, 1)
    bad = join(two, "-j2", EBBTEST_NEEDS="missing")
    wait_until_failed(two, 2, 3)
    # It would use up the others' budgets, if it went on.
    ebbtest.wait_until(lambda: "it waits for what others make of them" in bad.err(), 5, "it waits")
    two.release()
    r = bad.wait(10)
    assert r.code == 75, r.err
    assert "w2 sets itself aside: " in r.err and "set aside here" in r.err, r.err
    assert good.poll() is None
    assert good.wait(20).code == 0
    (event,) = kinds(two, "set-aside")
    assert event[0] == 2 and "others have done" in event[2]
    assert [e[2] for e in kinds(two, "leave") if e[0] == 2] == ["set aside"]
    assert event[2] in two.ebb("report", "two", "--state", "p/.ebb").out.decode()
    check_lacking(two, 16)
    assert ended(two)[FAILED] < 16


def test_what_runs_there_may_finish(two):
    """Whatever the grace: it is no drain."""
    text = LACKING % (12, HELD, "0.2")
    text += "  other:\n    input: {count: 1}\n    run: 'echo x >>\"$EBBTEST_LOG\"; " \
            "while [ -e \"$EBBTEST_LONG\" ]; do sleep 0.01; done; echo x'\n    output: out/99\n"
    two.write("p/two.yaml", text)
    long = two.write("p/long", "")
    two.hold()
    bad = start(two, "-j2", "--grace", "0", EBBTEST_NEEDS="missing", EBBTEST_LONG=long)
    wait_until_failed(two, 1, 12)
    wait_for_lines(two, 1)
    good = join(two, "-j1")
    two.release()
    ebbtest.wait_until(lambda: "sets itself aside" in bad.err(), 10, "it says so")
    ebbtest.wait_until(lambda: ended(two).get(DONE) == 12, 10, "the others are done")
    assert bad.poll() is None
    long.unlink()
    assert good.wait(10).code == 0 and bad.wait(10).code in (0, 75)
    assert two.read("p/out/99") == b"x\n" and two.ran().count("x") == 1


def test_of_two_that_are_bad_none_goes(two):
    text = LACKING % (8, HELD, "0.1")
    two.write("p/two.yaml", text.replace("1000", "6"))
    runs = [start(two, "-j1", EBBTEST_NEEDS="missing"), join(two, "-j1", "--wait", "10s",
                                                               EBBTEST_NEEDS="missing")]
    assert [r.wait(20).code for r in runs] == [1, 1]
    assert not kinds(two, "set-aside") and two.ran() == []


def test_the_last_one_stays(two):
    """Others did what failed here, and are leaving: then nobody would be left."""
    two.write("p/two.yaml", LACKING % (6, HELD, "0"))
    two.hold()
    bad = start(two, "-j1", EBBTEST_NEEDS="missing")
    wait_until_failed(two, 1, 6)
    good = join(two, "-j3")
    wait_for_lines(two, 3)
    os.kill(good.pid, signal.SIGTERM)
    ebbtest.wait_until(lambda: kinds(two, "drain"), 5, "it drains")
    assert [w["draining"] for w in workers(two)] == [False, True]
    two.release()
    assert good.wait(10).code == 75
    assert ended(two)[DONE] == 3
    n = ended(two)[FAILED]
    ebbtest.wait_until(lambda: ended(two)[FAILED] > n + 6, 10, "it goes on")  # for a second
    assert bad.poll() is None and not kinds(two, "set-aside")
    two.write("p/missing", "")
    assert bad.wait(20).code == 0, bad.err()
    check_lacking(two, 6)


@pytest.mark.alone
def test_an_idle_worker_costs_next_to_nothing(two):
    two.hold()
    first = start(two, "-j%d" % COUNT)
    wait_for_lines(two, COUNT)
    idle = join(two, "-j1")
    wait_for_workers(two, 2)
    time.sleep(0.3)
    ticks = os.sysconf("SC_CLK_TCK")
    before = cpu(idle.pid)
    time.sleep(3)  # the length of the measurement
    used = (cpu(idle.pid) - before) / ticks / 3
    two.release()
    assert first.wait(20).code == 0 and idle.wait(20).code == 0
    assert used < 0.01, used


def cpu(pid):
    words = ebbtest.proc_text(pid, "stat").rsplit(b")", 1)[1].split()
    return int(words[11]) + int(words[12])
