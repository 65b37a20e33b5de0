"""ebb run, started again after something else has changed meanwhile: inputs of
shards with a checkpoint, --fresh that was killed, workers that joined."""

import json
import os
import signal
import sqlite3
from collections import Counter

import pytest
from ebbcli import HELD, LOG, ebbtest, wait_for_lines
from ebbtest import fault_bin, kill, points_in, wait_until

# Squares of its lines, from the offset on; saves after each, holds before line
# 3 while the file $EBBTEST_HOLD is there.
SQUARES = r"""set -e
at=$("$EBB" task offset); n=0
echo "$EBB_SHARD from $at" >>"$EBBTEST_LOG"
while IFS= read -r line; do
	n=$((n + 1))
	while [ $n = 3 ] && [ -e "$EBBTEST_HOLD" ]; do sleep 0.01; done
	echo "$((line * line))"
	at=$((at + ${#line} + 1))
	"$EBB" task checkpoint "$at"
	[ $n != 2 ] || echo "$EBB_SHARD saved $at" >>"$EBBTEST_LOG"
done
"""
PIPELINE = """version: 1
name: again
stages:
  squares:
    input: in/*.txt
    shard: {by: files}
    run: ./squares.sh
    output: 'out/{/}'
    retry: {interruptions: 50}
"""


ONE = """version: 1
name: one
stages:
  work:
    input: {count: 2}
    run: '""" + LOG.replace("'", "''").replace("%", "%%") + "; " + HELD.replace("'", "''") + """; exit {}'
    %s
"""


@pytest.fixture
def squares(box):
    box.env["EBB"] = ebbtest.ebb_bin()
    box.script("squares.sh", SQUARES)
    box.write("p.yaml", PIPELINE)
    return box


def copies(box):
    return [p for kind in ("checkpoints", "private")
            for p in box.path(".ebb").glob("runs/*/%s/*" % kind)]


def stop_after_saving(box, n, *args):
    """A run that is killed when n shards have a checkpoint."""
    box.hold()
    running = box.begin("run", "p.yaml", *args)
    wait_until(lambda: sum("saved" in line for line in box.ran()) == n, 10, "saved")
    box.crash(running)
    box.forget()


def test_a_checkpoint_of_another_input_is_not_gone_on_from(squares):
    """Changed while the one before it runs: after the inputs were looked at,
    and before it is started."""
    box = squares
    box.write("in/1.txt", "1\n2\n3\n")
    box.write("in/2.txt", "4\n5\n6\n7\n")
    stop_after_saving(box, 2, "-j2")
    running = box.begin("run", "p.yaml", "-j1")
    wait_for_lines(box, 1)
    box.write("in/2.txt", "20\n30\n40\n50\n60\n")
    box.release()
    assert running.wait(20).code == 0
    assert box.ran()[0] == "in/1.txt from 4" and "in/2.txt from 0" in box.ran()
    assert box.read("out/2.txt") == b"400\n900\n1600\n2500\n3600\n"
    assert box.read("out/1.txt") == b"1\n4\n9\n"
    assert not copies(box)


def test_changed_between_two_starts(squares):
    box = squares
    box.write("in/1.txt", "1\n2\n3\n")
    stop_after_saving(box, 1)
    box.release()
    box.write("in/1.txt", "7\n8\n9\n10\n")
    box.ebb("run", "p.yaml")
    assert box.read("out/1.txt") == b"49\n64\n81\n100\n"
    assert not copies(box)


def test_a_new_generation_leaves_no_checkpoint_behind(squares):
    box = squares
    box.write("in/1.txt", "1\n2\n3\n")
    stop_after_saving(box, 1)
    assert copies(box)
    box.release()
    box.ebb("run", "p.yaml", "--fresh")
    assert box.ran()[0] == "in/1.txt from 0"
    assert box.read("out/1.txt") == b"1\n4\n9\n"
    assert not copies(box)


ITEMS = """version: 1
name: items
stages:
  one:
    input: in/*.txt
    shard: {by: files}
    run: 'echo "$EBB_SHARD" >>"$EBBTEST_LOG"; while [ -e "$EBBTEST_HOLD" ]; do sleep 0.01; done; cat'
    output: 'out/{/}'
  two:
    input: {stage: one}
    run: 'echo two >>"$EBBTEST_LOG"; cat'
    output: all.txt
"""
NAMES = ["in/%d.txt" % i for i in range(4)]


@pytest.fixture
def items(box):
    for name in NAMES:
        box.write(name, name + "\n")
    box.write("p.yaml", ITEMS)
    return box


def manifests(box):
    return sorted(p.name for p in box.path(".ebb").glob("runs/*/_ebb_manifest*"))


def check_items(box):
    assert box.read("all.txt") == b"".join(box.read(name) for name in NAMES)
    assert manifests(box) == ["_ebb_manifest.r1.one.json", "_ebb_manifest.r1.two.json"]


def test_fresh_that_was_killed_goes_on_fresh(items):
    """The line without --fresh goes on with it; nothing of before is taken."""
    box = items
    box.ebb("run", "p.yaml")
    box.forget()
    r = box.begin("run", "p.yaml", "--fresh")
    r.wait(10)
    assert Counter(box.ran()) == Counter(NAMES + ["two"])
    box.forget()
    full = dict(box.env, EBB_FAULT_CRASH="plan.before:1")
    assert ebbtest.Running(box, [fault_bin(), "run", "p.yaml", "--fresh"], full).wait(10).code == -9
    box.wait_alone()
    assert not box.ran()
    box.ebb("run", "p.yaml")
    assert Counter(box.ran()) == Counter(NAMES + ["two"])
    assert box.status()[0]["generation"] == 3
    check_items(box)


@pytest.mark.parametrize("point", ["generation.retire.after:1", "generation.retire.after:2",
                                   "generation.before:1", "generation.after:1"])
def test_a_start_over_that_was_killed_leaves_no_manifest_out(items, point):
    box = items
    box.ebb("run", "p.yaml")
    full = dict(box.env, EBB_FAULT_CRASH=point)
    assert ebbtest.Running(box, [fault_bin(), "run", "p.yaml", "--fresh"], full).wait(10).code == -9
    box.wait_alone()
    box.ebb("run", "p.yaml")
    check_items(box)
    r = box.ebb("run", "p.yaml")
    assert "nothing to do" in r.err


def test_it_does_not_start_over_below_others(items):
    box = items
    box.hold()
    owner = box.begin("run", "p.yaml", "-j1")
    wait_for_lines(box, 1)
    joined = box.begin("run", "p.yaml", "-j1", "--if-running", "join")
    wait_for_lines(box, 2)
    os.kill(owner.pid, signal.SIGKILL)
    owner.proc.wait(5)
    again = box.begin("run", "p.yaml", "--fresh")
    assert again.wait(20).code == 4
    box.release()
    assert joined.wait(20).code == 0
    check_items(box)


def test_who_waits_for_another_to_seal_does_not_spin(items):
    box = items
    owner = ebbtest.Running(box, [fault_bin(), "run", "p.yaml"],
                            dict(box.env, EBB_FAULT_STOP="seal.before:1"))
    wait_until(lambda: ebbtest.state_of(owner.pid) == "T", 10, "stopped")
    count = box.top / "points"
    joined = ebbtest.Running(box, [fault_bin(), "run", "p.yaml", "--if-running", "join"],
                             dict(box.env, EBB_FAULT_COUNT=str(count)))
    wait_until(lambda: count.exists() and len(points_in(count)) > 10, 10, "a look")
    before = len(points_in(count))
    with pytest.raises(ebbtest.subprocess.TimeoutExpired):
        joined.proc.wait(1.5)
    assert len(points_in(count)) - before < 60
    kill(owner.pid, signal.SIGCONT)
    assert owner.wait(10).code == 0
    assert joined.wait(10).code == 0
    check_items(box)


def test_budgets_of_the_file_hold_from_the_next_start(box):
    """What is done stays done; joiners are told the same."""
    box.write("p.yaml", ONE % "retry: {failures: 1}")
    box.ebb("run", "p.yaml", code=1)
    box.write("p.yaml", ONE % "retry: {failures: 1, interruptions: 7}")
    box.ebb("run", "p.yaml", code=1)
    assert sorted(box.ran()) == ["0", "1", "1"]
    with sqlite3.connect(box.path(".ebb/ledger.db")) as db:
        (spec,), = db.execute("select spec from run").fetchall()
    db.close()
    assert json.loads(spec)["stages"][0]["interruptions"] == 7


def test_joining_with_a_file_that_has_changed(box):
    box.write("p.yaml", ONE % "retry: {failures: 1}\n    timeout: 1h")
    box.hold()
    running = box.begin("run", "p.yaml")
    wait_for_lines(box, 1)
    box.write("p.yaml", ONE % "retry: {failures: 1}\n    timeout: 2h")
    err = box.ebb("run", "--if-running", "join", "p.yaml", code=4).err
    assert "has changed since" in err and "ebb worker --run r1" in err
    box.release()
    assert running.wait(10).code == 1


def test_what_stages_kept_for_others_is_not_left_over(box):
    """ebb's own files between two stages go without a word when they are not made any more."""
    text = """version: 1
name: two
stages:
  make: {input: {count: %d}, run: 'echo {} %s'}
  all: {input: [{stage: make}], run: cat, output: all.txt}
"""
    box.write("p.yaml", text % (3, "x"))
    box.ebb("run", "p.yaml")
    box.write("p.yaml", text % (2, "y"))
    r = box.ebb("run", "p.yaml")
    assert "left over" not in r.err and box.read("all.txt") == b"0 y\n1 y\n"
    assert len(list(box.path(".ebb/runs/r1/stages/make").iterdir())) == 2
