"""The verbs that look at a run, when it has several stages; and status --watch."""

import json
import os
import pty
import re
import signal

import pytest

import ebbtest
from ebbcli import HELD, LOG, wait_for_lines

PIPELINE = """
version: 1
name: two
stages:
  work:
    input: {count: 3}
    retry: {failures: 1}
    allow_failed: 1
    run: 'n={}; echo "log of $n" >&2; echo $n; [ $n != 2 ] || [ -e fixed ]'
    output: out/{}.txt
  again:
    input: {count: 3}
    retry: {failures: 1}
    on_failed: continue
    run: 'n={}; echo "again $n" >&2; [ $n != 2 ] || [ -e fixed ]'
"""


@pytest.fixture
def two(box):
    box.write("p.yaml", PIPELINE)
    box.ebb("run", "-j2", "p.yaml", code=1)
    return box


def test_status_counts_all_stages(two):
    (row,) = two.status()
    assert [(s["name"], s["planned"], s["done"], s["failed"]) for s in row["stages"]] == \
        [("work", 3, 2, 1), ("again", 3, 2, 1)]
    assert [s["sealed"] for s in row["stages"]] == [True, False]
    assert (row["done"], row["failed"], row["total"], row["sealed"]) == (4, 2, 6, False)
    assert all(s["plan_complete"] for s in row["stages"])
    out = two.ebb("status", "r1").out.decode()
    assert "4 of 6 done" in out and re.search(r"stage work +2 of 3 done, 1 failed, sealed", out)
    assert two.status("r1") == [{**row, "workers": [], "banned_pools": [],
                                   "on_demand": {"ready": 0, "leased": 0}}]


def test_shards_of_stages(two):
    out = two.ebb("shards").out.decode().splitlines()
    names = [line.split()[3] for line in out]
    assert names == ["work:0", "work:1", "work:2", "again:0", "again:1", "again:2"]
    assert [r["stage"] for r in two.shards()] == ["work"] * 3 + ["again"] * 3
    assert [r["name"] for r in two.shards("--stage", "again", "--state", "failed")] == ["2"]
    assert two.ebb("shards", "--stage", "work").out.decode().splitlines()[0].split()[3] == "0"
    assert len(two.ebb("shards", "-n", "4").out.splitlines()) == 4
    err = two.ebb("shards", "--stage", "nonsense", code=2).err
    assert "work, again" in err


def test_logs_of_stages(two):
    assert b"again 1" in two.ebb("logs", "again:1").out
    assert b"log of 1" in two.ebb("logs", "work:1").out
    assert b"log of 1" in two.ebb("logs", "--stage", "work", "1").out
    assert b"again 2" in two.ebb("logs", "again:3").out  # the third
    err = two.ebb("logs", "1", code=2).err
    assert "work:1" in err and "again:1" in err
    assert "3" in two.ebb("logs", "3", code=2).err


def test_retry_of_a_stage(two):
    two.write("fixed", "")
    two.ebb("retry", "--stage", "again")
    (row,) = two.status()
    assert [s["failed"] for s in row["stages"]] == [1, 0] and row["state"] == "finished"
    assert "nonsense" in two.ebb("retry", "--stage", "nonsense", code=2).err


def test_retry_of_what_was_allowed_to_fail(box):
    """Its stage is sealed: it is sealed again, and what reads it runs again."""
    head, _, _ = PIPELINE.partition("  again:")
    box.write("p.yaml", head + "  all: {input: [{stage: work}], run: cat, output: all.txt}\n")
    box.ebb("run", "p.yaml")
    assert sorted(box.read("all.txt").split()) == [b"0", b"1"]
    box.write("fixed", "")
    box.ebb("retry", "--stage", "work")
    (row,) = box.status()
    assert [(s["done"], s["failed"]) for s in row["stages"]] == [(3, 0), (1, 0)]
    assert row["state"] == "finished" and sorted(box.read("all.txt").split()) == [b"0", b"1", b"2"]
    assert "nothing failed" in box.ebb("retry").err


SAVES = """version: 1
name: saves
stages:
  a: {input: {count: 2}, retry: {failures: 1}, allow_failed: 1, run: '[ {} != 1 ] || [ -e "$EBBTEST_LOG".fixed ]'}
  b: {input: {count: 1}, run: ./saves.sh, output: out.txt}
"""
SAVES_SH = """n=$(cat "$EBB_CHECKPOINT"/n 2>/dev/null || echo 0)
echo "from $n" >>"$EBBTEST_LOG"
echo $((n + 1)) >"$EBB_CHECKPOINT"/n
"$EBB" task checkpoint
echo saved >>"$EBBTEST_LOG"
while [ -e "$EBBTEST_HOLD" ]; do sleep 0.01; done
echo done
"""


def test_retry_does_not_forget_what_others_have_saved(box):
    """While a stage has work left, that goes on; what was allowed to fail comes after."""
    box.script("saves.sh", SAVES_SH)
    box.write("p.yaml", SAVES)
    box.hold()
    run = box.begin("run", "p.yaml", "--grace", "0", EBB=ebbtest.ebb_bin())
    wait_for_lines(box, 2)
    ebbtest.wait_until(lambda: box.status()[0]["stages"][0]["sealed"], 10, "a is sealed")
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10).code == 75
    box.release()
    (box.top / "runs.log.fixed").touch()
    r = box.ebb("retry", EBB=ebbtest.ebb_bin())
    assert "what is left goes on first" in r.err
    assert [line for line in box.ran() if line.startswith("from")] == ["from 0", "from 1"]
    box.ebb("retry", EBB=ebbtest.ebb_bin())
    assert [(s["done"], s["failed"]) for s in box.status()[0]["stages"]] == [(2, 0), (1, 0)]
    assert len(box.ran()) == 4


KEPT = """
version: 1
name: kept
stages:
  work:
    input: {count: 3}
    retry: {failures: 1}
    allow_failed: 1
    run: 'echo {} >>"$EBBTEST_LOG"; echo {}; [ {} != 2 ] || [ -e "$EBBTEST_LOG".fixed ]'
  all: {input: [{stage: work}], run: 'echo all >>"$EBBTEST_LOG"; cat', output: all.txt}
"""


STATES = [[], ["--state", "deep/down/.ebb"]]


@pytest.mark.parametrize("state", STATES, ids=["here", "below"])
def test_what_was_kept_is_known_again_by_retry(box, state):
    """However the state is spelled: what is done is taken over with its outputs."""
    box.write("p.yaml", KEPT)
    box.ebb("run", *state, "p.yaml")
    (box.top / "runs.log.fixed").touch()
    box.forget()
    box.ebb("retry", *state)
    assert sorted(box.ran()) == ["2", "all"]
    assert sorted(box.read("all.txt").split()) == [b"0", b"1", b"2"]
    assert "nothing to do" in box.ebb("run", *state, "p.yaml").err


@pytest.mark.parametrize("state", STATES, ids=["here", "below"])
def test_what_was_kept_and_is_not_any_more_is_removed(box, state):
    box.write("p.yaml", KEPT)
    box.ebb("run", *state, "p.yaml")
    box.write("p.yaml", KEPT.replace("echo {};", "echo new{};"))
    box.ebb("run", *state, "p.yaml")
    assert sorted(box.read("all.txt").split()) == [b"new0", b"new1"]
    kept = list(box.root.glob("**/runs/*/stages/work/*"))
    assert sorted(f.read_text() for f in kept) == ["new0\n", "new1\n"]


def test_the_end_names_the_stage(box):
    box.write("p.yaml", PIPELINE)
    err = box.ebb("run", "p.yaml", code=1).err
    assert "failed: work:2" in err and "failed: again:2" in err
    word = re.search(r"ebb logs (\S+)", err).group(1)  # of the one that failed first
    assert {"work:2": b"log of 2", "again:2": b"again 2"}[word] in box.ebb("logs", word).out


def test_watch_says_what_changes_until_the_end(box):
    box.hold()
    run = box.begin("map", "-j1", LOG + "; " + HELD + "; : {}", ":::", "a", "b")
    wait_for_lines(box, 1)
    watch = box.begin("status", "--watch", "-n", "50ms")
    ebbtest.wait_until(lambda: b"running" in watch.out(), 5, "the first line")
    box.release()
    assert run.wait(10).code == 0
    assert watch.wait(10).code == 0
    lines = watch.out().decode().splitlines()
    assert "0 of 2 done" in lines[0] and "2 of 2 done" in lines[-1] and "finished" in lines[-1]
    assert len(set(lines)) == len(lines)
    again = box.ebb("status", "--watch", "--json", "r1").out
    assert json.loads(again)["runs"][0]["done"] == 2


def read_all(fd):
    data = b""
    while True:
        try:
            more = os.read(fd, 4096)
        except OSError:
            return data
        if not more:
            return data
        data += more


def test_watch_on_a_terminal_is_drawn_over(box):
    box.hold()
    run = box.begin("map", "-j1", LOG + "; " + HELD + "; : {}", ":::", "a", "b")
    wait_for_lines(box, 1)
    master, slave = pty.openpty()
    watch = box.begin("status", "-w", "-n", "50ms", stdout=slave)
    os.close(slave)
    first = os.read(master, 4096)
    assert b"running" in first
    box.release()
    assert run.wait(10).code == 0
    rest = read_all(master)
    os.close(master)
    assert watch.wait(10).code == 0
    assert b"A\r\x1b[J" in rest and b"finished" in rest
