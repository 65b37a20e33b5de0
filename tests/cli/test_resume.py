"""Killed and started again, the same line goes on: what was done is not run
again, whatever became of the list meanwhile."""

import gzip
import os
import signal
from collections import Counter

import pytest

import ebbtest
from ebbcli import HELD, LOG, wait_for_done, wait_for_lines

# Appends the item to the log, waits while held if it is h..., writes.
STEP = LOG + "; case {} in [h]*) " + HELD + ";; esac; echo out {}"


def half_done(box, args, done, log):
    """Starts the line with its held items, kills it -9 when `done` are done."""
    box.hold()
    run = box.begin("map", *args)
    wait_for_done(box, done)
    wait_for_lines(box, log)
    box.crash(run)
    box.release()


def test_killed_in_the_middle(box):
    args = ["-j2", "--out", "{}.o", STEP, ":::", "a", "b", "c", "h1", "h2", "d"]
    half_done(box, args, 3, 5)
    r = box.map(*args)
    assert "3 of 6 done earlier, 3 to do" in r.err, r.err
    assert "--fresh" in r.err and ".ebb" in r.err
    assert Counter(box.ran()) == Counter("a b c h1 h2 h1 h2 d".split())
    assert all(box.read(i + ".o") == b"out %s\n" % i.encode() for i in "abcd")
    assert box.status()[0]["ended"]["lost"] == 2 and box.status()[0]["ended"]["failed"] == 0


def test_losses_do_not_use_up_the_tries(box):
    args = ["-j1", "--retries", "1", "--out", "{}.o", STEP, ":::", "h"]
    for n in range(1, 4):
        box.hold()
        run = box.begin("map", *args)
        wait_for_lines(box, n)
        box.crash(run)
    box.release()
    box.map(*args)
    assert box.ran() == ["h"] * 4


CHANGES = {
    "items before": ["n1", "n2", "a", "b", "c", "h"],
    "items in the middle": ["a", "n1", "b", "n2", "c", "h"],
    "items after": ["a", "b", "c", "h", "n1"],
    "items removed": ["b", "h"],
    "all but new ones removed": ["n1"],
    "reordered": ["h", "c", "b", "a"],
    "other lines repeated": ["a", "b", "c", "h", "n1", "n1"],
    "done ones repeated": ["a", "a", "b", "c", "h", "a"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_list_that_changed_meanwhile(box, change):
    done = {"a", "b", "c"}
    half_done(box, ["-j2", "--", STEP, ":::", "a", "b", "c", "h"], 3, 4)
    box.forget()
    items = CHANGES[change]
    box.map("-j2", "--", STEP, ":::", *items)
    want = Counter(items)
    want.subtract({i: 1 for i in done & set(items)})
    assert Counter(box.ran()) == +want


def test_an_item_that_comes_back_is_still_done(box):
    half_done(box, ["-j2", "--", STEP, ":::", "a", "b", "h"], 2, 3)
    box.hold()
    run = box.begin("map", "-j2", "--", STEP, ":::", "b", "h")
    wait_for_lines(box, 4)
    box.crash(run)
    box.release()
    box.forget()
    box.map("-j2", "--", STEP, ":::", "a", "b", "h")
    assert box.ran() == ["h"]


def test_outputs_stay_when_their_items_leave_the_list(box):
    args = ["--out", "{}.o", "echo", ":::"]
    box.map(*args, "a", "b")
    box.map(*args, "b", "c")
    assert box.names() == ["a.o", "b.o", "c.o"]


def test_keep_order_after_a_restart_delivers_the_rest(box):
    args = ["-k", "-j2", STEP, ":::", "a", "b", "h", "c"]
    half_done(box, args, 2, 3)
    out = box.map(*args).out
    assert out.endswith(b"out h\nout c\n")


def test_keep_order_after_a_restart_with_many_that_wait(box):
    args = ["-k", "-j2", "-q", "test {} != 1 || { " + HELD + "; }; echo {}"]
    items = "".join("%d\n" % i for i in range(1, 601)).encode()
    box.hold()
    run = box.begin("map", *args, stdin=items)
    wait_for_done(box, 599, 60)
    box.crash(run)
    assert run.out() == b""
    box.release()
    assert box.map(*args, stdin=items).out == items


def test_a_finished_list_starts_anew(box):
    args = ["--out", "{}.o", LOG + "; echo {}", ":::", "a", "b"]
    box.map(*args)
    r = box.map(*args)
    assert box.ran().count("a") == 2 and "2 to do" in r.err
    assert [run["generation"] for run in box.status()] == [2]


def test_skip_done_runs_what_is_new(box):
    args = ["--skip-done", "--out", "{}.o", LOG + "; echo {}", ":::"]
    box.map(*args, "a", "b")
    box.forget()
    box.map(*args, "a", "b")
    assert box.ran() == []
    r = box.map(*args, "n", "a", "b")
    assert box.ran() == ["n"] and "2 of 3 done earlier" in r.err


def test_skip_done_runs_what_changed(box):
    box.write("x", "1")
    box.write("y", "1")
    args = ["--skip-done", "--out", "{}.o", LOG + "; cat {}", ":::", "x", "y"]
    box.map(*args)
    box.forget()
    box.write("x", "12")
    box.map(*args)
    assert box.ran() == ["x"] and box.read("x.o") == b"12"
    # The same size, another time.
    os.utime(box.path("y"), ns=(10**18, 10**18))
    box.map(*args)
    assert box.ran() == ["x", "y"]


def test_skip_done_retries_what_failed(box):
    args = ["--skip-done", "--retries", "1", LOG + "; test {} != b || test -e $EBBTEST_HOLD", ":::",
            "a", "b"]
    box.map(*args, code=1)
    box.hold()
    box.map(*args)
    assert sorted(box.ran()) == ["a", "b", "b"]


def test_skip_done_that_was_killed_while_it_read_the_list(box):
    args = ["--skip-done", "--out", "{}.o", LOG + "; echo {}"]
    box.map(*args, stdin=b"a\nb\nc\n")
    read, write = os.pipe()
    try:
        run = box.begin("map", *args, stdin=read)
        os.close(read)
        os.write(write, b"n\na\n")
        wait_for_lines(box, 4)
        box.crash(run)
    finally:
        os.close(write)
    box.map(*args, stdin=b"n\na\nb\nc\n")
    # n had run, but may not have been recorded when ebb was killed.
    assert sorted(box.ran()) in (["a", "b", "c", "n"], ["a", "b", "c", "n", "n"])


@pytest.mark.parametrize("option", [[], ["--skip-done"]])
def test_a_list_that_is_missing_does_no_harm_to_a_finished_run(box, option):
    """A mistake in the line is no start: what was done stays known."""
    box.write("list", "a\nb\n")
    args = ["-a", "list", "--out", "{}.o", LOG + "; echo {}"]
    box.map(*args)
    before = box.status()
    box.path("list").rename(box.path("away"))
    box.map(*option, *args, code=2)
    assert box.status() == before
    assert list(box.path(".ebb").glob("runs/*/_ebb_manifest*"))
    box.path("away").rename(box.path("list"))
    box.map("--skip-done", *args)
    assert sorted(box.ran()) == ["a", "b"]


def test_fresh_starts_over(box):
    args = ["-j2", "--out", "{}.o", STEP, ":::", "a", "b", "h"]
    half_done(box, args, 2, 3)
    box.forget()
    r = box.map("--fresh", *args)
    assert sorted(box.ran()) == ["a", "b", "h"] and "earlier" not in r.err
    assert box.names() == ["a.o", "b.o", "h.o"]


def test_a_changed_script_runs_everything_again(box):
    box.script("step.sh", 'echo "$1" >>"$EBBTEST_LOG"; [[ $1 != h* ]] || ' + HELD + "; echo 1")
    args = ["-j2", "--out", "{}.o", "./step.sh", "{}", ":::", "a", "b", "h"]
    half_done(box, args, 2, 3)
    box.forget()
    box.script("step.sh", 'echo "$1" >>"$EBBTEST_LOG"; echo 2')
    box.map(*args)
    assert sorted(box.ran()) == ["a", "b", "h"]
    assert all(box.read(i + ".o") == b"2\n" for i in "abh")


def test_the_first_line_tells_what_will_be_run(box):
    """Not what had been done of something else."""
    box.script("step.sh", '[[ $1 != h* ]] || ' + HELD + "; echo $1 >>$EBBTEST_LOG")
    args = ["-j2", "./step.sh", "{}", ":::", "a", "b", "h"]
    half_done(box, args, 2, 2)
    box.script("step.sh", "echo 2")
    r = box.map(*args)
    assert "3 to do" in r.err and "done earlier" not in r.err
    assert "3 items of the earlier list begin anew" in r.err


def test_a_script_that_was_only_touched_is_the_same(box):
    box.script("step.sh", 'echo "$1" >>"$EBBTEST_LOG"; [[ $1 != h* ]] || ' + HELD + "; echo 1")
    args = ["-j2", "--out", "{}.o", "./step.sh", "{}", ":::", "a", "b", "h"]
    half_done(box, args, 2, 3)
    box.forget()
    os.utime(box.path("step.sh"), ns=(10**18, 10**18))
    box.map(*args)
    assert box.ran() == ["h"]


def test_a_script_in_a_shell_word_counts_too(box):
    box.script("step.sh", 'echo "$1" >>"$EBBTEST_LOG"; echo 1')
    args = ["--skip-done", "--out", "{}.o", "./step.sh {} | cat", ":::", "a"]
    box.map(*args)
    box.map(*args)
    assert box.ran() == ["a"]
    box.script("step.sh", 'echo "$1" >>"$EBBTEST_LOG"; echo 2')
    box.map(*args)
    assert box.ran() == ["a", "a"] and box.read("a.o") == b"2\n"


@pytest.mark.parametrize("options", [["-j1"], ["--retries", "7"], ["--timeout", "9s"], ["-k"],
                                     ["--tag"], ["--quiet"], ["--retry-delay", "0"],
                                     ["--halt", "now,fail=1"], ["--no-stderr"]])
def test_what_changes_only_the_way_continues_the_run(box, options):
    line = ["--", STEP, ":::", "a", "b", "h"]
    half_done(box, ["-j2", *line], 2, 3)
    box.forget()
    box.map(*options, *line)
    assert box.ran() == ["h"] and len(box.status()) == 1


def test_another_command_or_output_is_another_run(box):
    box.map("--out", "{}.1", "echo", ":::", "a")
    box.map("--out", "{}.2", "echo", ":::", "a")
    box.map("--out", "{}.3", "echo", "x", ":::", "a")
    assert [r["run"] for r in box.status()] == ["r1", "r2", "r3"]


def test_the_same_line_in_another_folder_is_another_run(box):
    for name in ("p", "q"):
        box.path(name).mkdir()
        box.map("--state", "../.ebb", "--out", "{}.o", LOG + "; echo {}", ":::", "a",
                cwd=box.path(name))
    assert box.ran() == ["a", "a"] and box.read("p/a.o") == box.read("q/a.o")


def test_a_project_may_be_moved_as_a_whole(box):
    box.path("p").mkdir()
    args = ["--skip-done", "--out", "{}.o", LOG + "; echo {}", ":::", "a"]
    box.map(*args, cwd=box.path("p"))
    box.path("p").rename(box.path("moved"))
    box.map(*args, cwd=box.path("moved"))
    assert box.ran() == ["a"]


# ---- input files that change ----

def test_input_changed_between_two_starts(box):
    for name in ("a", "b", "h"):
        box.write(name, "1")
    args = ["-j2", "--out", "{}.o", LOG + "; case {} in [h]*) " + HELD + ";; esac; cat {}",
            ":::", "a", "b", "h"]
    half_done(box, args, 2, 3)
    box.forget()
    box.write("a", "changed")
    box.map(*args)
    assert sorted(box.ran()) == ["a", "h"]
    assert box.read("a.o") == b"changed" and box.read("b.o") == b"1"


def test_a_command_that_changes_its_input_runs_once(box):
    """The list is recognised and its inputs are compared with what was recorded
    while the first commands are already changing them."""
    items = ["a", "b", "c", "d"]
    for i in items:
        box.write(i, "x")
    box.write("list", "".join(i + "\n" for i in items) + "no file\n" * 2100)
    step = "case {} in ?) echo >>{}; " + HELD + ";; *) :;; esac"
    args = ["-j2", "-a", "list", LOG + "; " + step]
    box.hold()
    run = box.begin("map", *args)
    ebbtest.wait_until(lambda: b'"plan_complete":true' in
                       box.ebb("status", "--json", code=None).out, 10, "it is planned")
    box.crash(run)
    box.forget()
    run = box.begin("map", *args)
    wait_for_lines(box, 2)
    ebbtest.wait_until(lambda: "to do" in run.err(), 10, "the list is read")
    box.release()
    assert run.wait(20).code == 0
    assert [box.ran().count(i) for i in items] == [1, 1, 1, 1]


def test_input_changed_before_its_turn_is_read_as_it_is_then(box):
    box.write("h", "1")
    box.write("late", "old")
    box.hold()
    run = box.begin("map", "-j1", "--out", "{}.o",
                    LOG + "; case {} in [h]*) " + HELD + ";; esac; cat {}", ":::", "h", "late")
    wait_for_lines(box, 1)
    box.write("late", "newer")
    box.release()
    assert run.wait(10).code == 0
    assert box.read("late.o") == b"newer"
    box.forget()
    box.map("--skip-done", "-j1", "--out", "{}.o",
            LOG + "; case {} in [h]*) " + HELD + ";; esac; cat {}", ":::", "h", "late")
    assert box.ran() == []


def test_bytes_of_a_file_that_changed_before_its_turn(box):
    """Ranges of two versions must never mix: replanned, or a clear failure."""
    box.write("in", "1\n2\n3\n4\n")
    args = ["-k", "-j1", "--retry-delay", "0", "--shard", "bytes:2", "in", "--",
            "cat; echo x >>$EBBTEST_LOG; " + HELD]
    box.hold()
    run = box.begin("map", *args)
    wait_for_lines(box, 1)
    box.write("in", "5\n6\n7\n8\n9\n")
    box.release()
    r = run.wait(15)
    if r.code == 0:
        assert r.out == b"5\n6\n7\n8\n9\n"
    else:
        assert r.code == 1 and "in" in r.err and "changed" in r.err
        assert box.map(*args).out == b"5\n6\n7\n8\n9\n"


def test_records_of_a_file_that_changed_are_cut_anew(box):
    """Cutting points of the old bytes mean nothing in the new ones."""
    box.write("in", "1\n2\n3\n4\n")
    box.hold()
    run = box.begin("map", "-k", "-j1", "--tag", "--retry-delay", "0", "--shard", "bytes:2", "in",
                    "--", "cat; echo x >>$EBBTEST_LOG; " + HELD)
    wait_for_lines(box, 1)
    box.write("in", "aaa\nbbbbbb\n")
    box.release()
    r = run.wait(15)
    if r.code == 0:
        assert sorted(r.out.splitlines()) == [b"in\taaa", b"in\tbbbbbb"]
    else:
        assert r.code == 1 and "changed" in r.err


def test_bytes_of_a_file_that_changed_between_two_starts(box):
    box.write("in", "1\n2\n3\n4\n")
    args = ["-k", "-j1", "--shard", "bytes:2", "--out", "{/}.{#}", "in", "--", "cat; " + HELD]
    box.hold()
    run = box.begin("map", *args)
    ebbtest.wait_until(lambda: b'"leased":1' in box.ebb("status", "--json", code=None).out, 10, "one")
    box.crash(run)
    box.release()
    box.write("in", "a\nb\nc\n")
    box.map(*args)
    assert b"".join(box.read("in.%d" % n) for n in (1, 2, 3)) == b"a\nb\nc\n"
    assert box.names() == ["in", "in.1", "in.2", "in.3"]


def test_bytes_of_a_file_that_was_removed(box):
    box.write("in", "1\n2\n3\n")
    box.hold()
    run = box.begin("map", "-j1", "--retries", "1", "--retry-delay", "0", "--shard", "bytes:2", "in",
                    "--", "cat; echo x >>$EBBTEST_LOG; " + HELD)
    wait_for_lines(box, 1)
    box.path("in").unlink()
    box.release()
    r = run.wait(15)
    assert r.code == 1 and "in" in r.err and "removed" in r.err


def test_a_list_file_that_changes_while_it_is_run(box):
    """A list given by name is read as a stream: what is added at its end before
    that is read is run, nothing is run twice."""
    box.write("list", "h\n")
    args = ["-j1", "-a", "list", STEP]
    box.hold()
    run = box.begin("map", *args)
    wait_for_lines(box, 1)
    with open(box.path("list"), "a", encoding="ascii") as f:
        f.write("late\n")
    box.release()
    run.wait(10)
    box.map("--skip-done", *args)
    assert Counter(box.ran()) == Counter(["h", "late"])


def test_bytes_of_a_file_that_grows_all_the_time(box):
    """Ends within bounded time, whole or with a clear failure."""
    box.write("in", "line\n" * 20)
    r = box.map("-j2", "--retries", "2", "--retry-delay", "0", "--shard", "bytes:10", "in", "--",
                "cat; echo more >>$GROWS", code=None, seconds=5, GROWS=box.path("in"))
    assert r.code in (0, 1)
    if r.code == 1:
        assert "in" in r.err and "changed" in r.err


# ---- commands that change their own input ----

def test_sed_in_place_is_not_run_twice(box):
    """A kill and a restart must not apply it to what was changed already."""
    for name in ("a", "b", "h"):
        box.write(name, "x\n")
    args = ["-j2", "--", "sed -i s/x/xx/ {}; case {} in [h]*) " + LOG + "; " + HELD + ";; esac",
            ":::", "a", "b", "h"]
    box.hold()
    run = box.begin("map", *args)
    wait_for_done(box, 2)
    wait_for_lines(box, 1)
    box.crash(run)
    box.release()
    box.map(*args)
    assert box.read("a") == b"xx\n" and box.read("b") == b"xx\n"


def test_gzip_in_place_is_not_run_twice(box):
    """The input is gone after it; the same line must still know it."""
    for name in ("a", "b", "h"):
        box.write(name, name)
    args = ["-j2", "--", LOG + "; case {} in [h]*) " + HELD + ";; esac; gzip {}", ":::", "a", "b", "h"]
    half_done(box, args, 2, 3)
    box.forget()
    box.map(*args)
    assert box.ran() == ["h"]
    assert all(gzip.decompress(box.read(n + ".gz")) == n.encode() for n in ("a", "b", "h"))


@pytest.mark.parametrize("change", ["sed -i s/x/xx/ {}", "echo more >>{}", "touch {}"])
def test_a_command_with_output_that_changes_its_own_input(box, change):
    """It runs once, or fails clearly within its tries; not for ever."""
    box.write("f", "x\n")
    r = box.map("--retry-delay", "0", "--out", "{}.o", LOG + "; " + change + "; echo ok", ":::", "f",
                code=None, seconds=3)
    assert r.code in (0, 1) and len(box.ran()) <= 3
    if r.code == 1:
        assert "changed" in r.err


def test_retry_of_pieces(box):
    box.write("in", "1\n2\n3\n")
    args = ["--retries", "1", "--out", "{#}.o", "--shard", "bytes:2", "in", "--",
            "cat; test -e $EBBTEST_HOLD"]
    box.map(*args, code=1)
    box.hold()
    box.ebb("retry")
    assert [box.read("%d.o" % n) for n in (1, 2, 3)] == [b"1\n", b"2\n", b"3\n"]


def test_retry_from_another_folder(box):
    """Names are relative to where the run was started: told, or found."""
    box.map("--retries", "1", "--out", "{}.o", "test -e $EBBTEST_HOLD; echo {}", ":::", "a", code=1)
    box.hold()
    box.path("sub").mkdir()
    r = box.ebb("retry", "--state", "../.ebb", cwd=box.path("sub"), code=None, seconds=5)
    assert not box.path("sub/a.o").exists()
    assert (r.code == 0 and box.read("a.o") == b"a\n") or (r.code == 2 and "folder" in r.err), r.err


# ---- several at once ----

def test_two_lines_on_one_state(box):
    box.hold()
    first = box.begin("map", "-j1", STEP, ":::", "h1")
    wait_for_lines(box, 1)
    assert box.map("-j1", "echo other", ":::", "x").out == b"other x\n"
    second = box.begin("map", "-j1", "--out", "{}.o", STEP, ":::", "h2")
    wait_for_lines(box, 2)
    assert sum(r["running"] for r in box.status()) == 2
    box.release()
    assert first.wait(10).code == 0 and second.wait(10).code == 0


def running_first(box, items=("h1", "h2"), slots="-j2"):
    box.hold()
    args = [slots, "--out", "{}.o", STEP, ":::", *items]
    run = box.begin("map", *args)
    wait_for_lines(box, min(len(items), int(slots[2:])))
    return run, args


@pytest.mark.parametrize("option", [[], ["--if-running", "fail"]])
def test_if_running_fail(box, option):
    run, args = running_first(box)
    r = box.map(*option, *args, code=4)
    assert "r1" in r.err and "running" in r.err and "--if-running" in r.err
    box.release()
    assert run.wait(10).code == 0 and len(box.ran()) == 2


def test_if_running_skip(box):
    run, args = running_first(box)
    box.map("--if-running", "skip", *args, code=0)
    assert run.poll() is None
    box.release()
    assert run.wait(10).code == 0 and len(box.ran()) == 2


def test_if_running_wait(box):
    run, args = running_first(box)
    second = box.begin("map", "--skip-done", "--if-running", "wait", *args)
    ebbtest.wait_until(lambda: "wait" in second.err(), 10, "it says that it waits")
    assert run.poll() is None and second.poll() is None
    box.release()
    assert run.wait(10).code == 0
    assert second.wait(10).code == 0
    assert sorted(box.ran()) == ["h1", "h2"]


def test_if_running_wait_takes_over_after_a_kill(box):
    run, args = running_first(box)
    second = box.begin("map", "--if-running", "wait", *args)
    ebbtest.wait_until(lambda: "wait" in second.err(), 10, "it says that it waits")
    ebbtest.kill(run.pid)
    box.release()
    run.proc.wait(5)
    assert second.wait(10).code == 0
    assert box.names() == ["h1.o", "h2.o"]


def test_if_running_join_shares_the_work(box):
    items = ["h%d" % n for n in range(1, 9)]
    run, args = running_first(box, items, "-j2")
    second = box.begin("map", "--if-running", "join", *args)
    wait_for_lines(box, 4)
    box.release()
    assert run.wait(15).code == 0
    assert second.wait(15).code == 0
    assert sorted(box.ran()) == items
    assert box.names() == [i + ".o" for i in items]


def test_join_goes_on_when_the_first_is_killed(box):
    items = ["h%d" % n for n in range(1, 7)]
    run, args = running_first(box, items, "-j2")
    second = box.begin("map", "--if-running", "join", *args)
    wait_for_lines(box, 4)
    ebbtest.kill(run.pid)
    run.proc.wait(5)
    box.release()
    assert second.wait(15).code == 0, second.err()
    assert box.names() == [i + ".o" for i in items]


def test_join_of_a_finished_line_starts_anew(box):
    box.map("--if-running", "join", LOG, ":::", "a")
    box.map("--if-running", "join", LOG, ":::", "a")
    assert box.ran() == ["a", "a"]


def test_fresh_does_not_push_a_running_one_away(box):
    run, args = running_first(box)
    box.map("--fresh", *args, code=4)
    box.release()
    assert run.wait(10).code == 0 and len(box.ran()) == 2


def test_stopped_with_a_retry_waiting_goes_on(box):
    """A shard that waits for its back-off is not lost when ebb ends."""
    args = ["-j1", "--retry-delay", "700ms", "--retries", "2", "--out", "{}.o",
            LOG + "; test -e $EBBTEST_HOLD && echo {}", ":::", "a"]
    run = box.begin("map", *args)
    wait_for_lines(box, 1)
    ebbtest.wait_until(lambda: box.status()[0]["ended"]["failed"] == 1, 10, "failed once")
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10).code == 75
    assert box.ran() == ["a"]
    box.hold()
    box.map(*args)
    assert box.ran() == ["a", "a"] and box.names() == ["a.o"]
