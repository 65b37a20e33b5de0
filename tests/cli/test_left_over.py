"""Outputs whose run or item is gone: who may replace them, who removes them."""

import json
import os
import shlex
import signal

import pytest


def put(box, *items, code=0, options=(), **more):
    return box.map("--out", "parts/{}", *options, "echo {}", ":::", *items, code=code, **more)


@pytest.fixture
def finished(box):
    put(box, "1", "2", "3", "4")
    return box


# ---- a run that is removed ----

def test_after_gc_the_same_line_replaces_its_outputs(finished):
    finished.ebb("gc", "--runs", "0s")
    r = put(finished, "1", "2")
    assert "2 done" in r.err and finished.read("parts/1") == b"1\n"


def test_after_gc_another_line_does_too(finished):
    finished.ebb("gc", "--runs", "0s")
    finished.map("--out", "parts/{}", "echo other {}", ":::", "1", "2")
    assert finished.read("parts/1") == b"other 1\n"


def test_after_gc_a_changed_output_is_spared(finished):
    finished.ebb("gc", "--runs", "0s")
    finished.write("parts/1", "mine")
    r = put(finished, "1", "2", code=None)
    assert r.code in (1, 2) and finished.read("parts/1") == b"mine"


def test_gc_forgets_names_that_are_gone(finished):
    finished.ebb("gc", "--runs", "0s")
    put(finished, "other")  # gc wants a run
    assert json.loads(finished.ebb("gc", "--json").out)["names"] == 0
    finished.path("parts/1").unlink()
    assert json.loads(finished.ebb("gc", "--json", "-n").out)["names"] == 1
    assert json.loads(finished.ebb("gc", "--json").out)["names"] == 1
    assert json.loads(finished.ebb("gc", "--json").out)["names"] == 0
    finished.write("parts/1", "mine")
    assert "was not written" in put(finished, "1", code=2).err


@pytest.mark.parametrize("state", [".ebb", "s/my state"])
def test_the_way_out_of_an_edited_command(box, state):
    """The message says what to type."""
    box.map("--state", state, "--out", "{}.o", "echo one {}", ":::", "a", "b")
    line = ["--state", state, "--out", "{}.o", "echo two {}", ":::", "a"]
    r = box.map(*line, code=2)
    advice = shlex.split(r.err.split("replaced: ebb ", 1)[1])
    assert advice[-2:] == ["--forget", "r1"]
    assert b"forgot r1" in box.ebb(*advice).out
    box.map(*line)
    assert box.read("a.o") == b"two a\n" and box.read("b.o") == b"one b\n"


def test_a_running_run_is_not_forgotten(box):
    box.hold()
    run = box.begin("map", "--out", "{}.o", "while [ -e hold ] || ! [ -e started ]; do "
                    "touch started; sleep 0.01; done; echo {}", ":::", "a")
    while not box.path("started").exists():
        pass
    r = box.ebb("gc", "--forget", "r1", code=4)
    assert "r1 is running" in r.err
    os.kill(run.pid, signal.SIGKILL)
    run.wait(10)


@pytest.mark.parametrize("args", [["--forget", "r9"], ["--left-over", "r9"], ["--forget", ""],
                                  ["--forget", "r1", "--left-over", "r1"]])
def test_wrong_words(finished, args):
    finished.ebb("gc", *args, code=2).check_words()


# ---- items that left the list ----

def test_a_finished_list_says_what_it_leaves_over(finished):
    r = put(finished, "1", "2")
    assert "left over: 2 outputs that no item makes any more, such as parts/3 " \
        "(ebb gc --left-over r1 removes them)" in r.err
    assert "left over" not in put(finished, "1", "2", "3", "4").err


def test_left_over_outputs_are_removed(finished):
    put(finished, "1", "2")
    finished.write("parts/4", "mine")
    assert finished.ebb("gc", "--left-over", "r1", "-n", code=1).out.splitlines() == [
        b"would remove parts/3", b"kept, changed since: parts/4"]
    r = finished.ebb("gc", "--left-over", "r1", code=1)
    assert "1 of them was changed" in r.err
    assert r.out.splitlines() == [b"removed parts/3", b"kept, changed since: parts/4"]
    assert sorted(os.listdir(finished.path("parts"))) == ["1", "2", "4"]
    finished.path("parts/4").unlink()
    assert finished.ebb("gc", "--left-over", "r1").out == b"gone already: parts/4\n"
    assert b"no outputs left over" in finished.ebb("gc", "--left-over", "r1").out
    assert finished.read("parts/1") == b"1\n"


def test_left_over_from_another_folder(finished):
    put(finished, "1", "2")
    finished.path("elsewhere").mkdir()
    r = finished.ebb("gc", "--state", finished.path(".ebb"), "--left-over", "r1",
                     cwd=finished.path("elsewhere"))
    assert r.out.splitlines() == [b"removed parts/3", b"removed parts/4"]


def test_left_over_of_an_unfinished_run(box):
    box.map("--out", "{}.o", "--retries", "1", "test {} != b && echo", ":::", "a", "b", code=1)
    assert "not finished" in box.ebb("gc", "--left-over", "r1", code=2).err


def test_items_that_left_an_unfinished_list_are_told(box):
    line = ["--retries", "1", "test {} != c"]
    box.map(*line, ":::", "a", "b", "c", "d", code=1)
    r = box.map(*line, ":::", "c", "b", code=1)
    assert "r1: 2 items of the earlier list are not in this one (2 of them done)" in r.err
    assert "earlier list" not in box.map(*line, ":::", "c", "b", code=1).err
    assert "earlier list" not in box.map("-q", *line, ":::", "c", code=1).err


def test_skip_done_knows_items_that_had_left_the_list(box):
    line = ["--retries", "1", "d=./; echo {} >> ${d}log; test {} != c || [ -e ${d}fine ]"]
    box.map(*line, ":::", "a", "b", "c", code=1)
    box.write("fine", "")
    box.map(*line, ":::", "b", "c")
    box.map("--skip-done", *line, ":::", "a", "b", "c")
    assert sorted(box.read("log").split()) == [b"a", b"b", b"c", b"c"]


def test_skip_done_knows_items_of_older_generations(box):
    line = ["d=./; echo {} >> ${d}log"]
    box.map(*line, ":::", "a", "b", "c")
    box.map(*line, ":::", "a", "b")
    r = box.map("--skip-done", *line, ":::", "a", "b", "c", "d")
    assert sorted(box.read("log").split()) == [b"a", b"a", b"b", b"b", b"c", b"d"], r.err


def test_skip_done_goes_by_what_was_done_last(box):
    """A file that is as it was once is not done: another version came between."""
    line = ["d=./; cat {} >> ${d}log", ":::", "f"]

    def have(text, at):
        box.write("f", text)
        os.utime(box.path("f"), (at, at))
    have("one\n", 1000)
    box.map(*line)
    have("two\n", 2000)
    box.map(*line)
    have("one\n", 1000)
    box.map("--skip-done", *line)
    box.map("--skip-done", *line)
    assert box.read("log") == b"one\ntwo\none\n"
