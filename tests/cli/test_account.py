"""Where the time of the slots goes: all of it is in some kind, whatever happens to
the workers."""

import os
import signal
import sqlite3
import time

import pytest

import ebbtest
from ebbcli import HELD, LOG, wait_for_lines

PIPELINE = """
version: 1
name: uneven
stages:
  work:
    input: {count: 40}
    retry: {failures: 3, backoff: 100ms..400ms}
    run: 'n={}; echo $n >>"$EBBTEST_LOG"; sleep 0.2; echo $n; [ "$EBB_FAILURES" != 0 ] || [ $((n % 5)) != 1 ]'
    output: out/{}.txt
  total:
    input: [{stage: work}]
    run: 'sleep 0.3; cat {}'
    output: out/total.txt
"""
RUNNING, WAITING, IDLE, VOID, NET, LOST = 0, 3, 4, 5, 6, 7


def query(box, sql):
    with sqlite3.connect(box.path(".ebb/ledger.db")) as db:
        rows = db.execute(sql).fetchall()
    db.close()
    return rows


def check_account(box, workers):
    """Slots x presence = the sum of the kinds, for each worker within 1 %."""
    rows = query(box, "select id, slots * present_ms from worker order by id")
    assert len(rows) == workers
    spent = {}
    for worker, kind, ms in query(box, "select worker, kind, sum(ms) from spent group by 1, 2"):
        spent[worker, kind] = ms
    for worker, slot_ms in rows:
        kinds = {k: spent.get((worker, k), 0) for k in range(8)}
        assert slot_ms > 0
        said = sum(kinds[k] for k in range(5))
        assert abs(said - slot_ms) <= max(slot_ms * 0.01, 10), (worker, slot_ms, kinds)
        became = sum(kinds[k] for k in (1, 2, WAITING, IDLE, VOID, NET, LOST))
        assert abs(became - slot_ms) <= max(slot_ms * 0.01, 10), (worker, slot_ms, kinds)
    total = {k: sum(v for (_, kind), v in spent.items() if kind == k) for k in range(8)}
    return sum(r[1] for r in rows), total


@pytest.mark.alone
@pytest.mark.limit(60)
def test_all_time_is_somewhere(box):
    """Failures, retries with back-off, three workers, a kill -9, a SIGTERM."""
    box.write("p.yaml", PIPELINE)
    args = ["run", "-j2", "--lease", "3s", "p.yaml"]
    first = box.begin(*args)
    wait_for_lines(box, 2)
    second = box.begin(*args[:1], "--if-running", "join", *args[1:])
    third = box.begin(*args[:1], "--if-running", "join", *args[1:])
    wait_for_lines(box, 12)
    ebbtest.kill(second.pid)
    wait_for_lines(box, 18)
    os.kill(third.pid, signal.SIGTERM)
    assert third.wait(20).code in (0, 75)
    result = first.wait(40)
    second.proc.wait(5)
    assert result.code == 0, result.err
    slot_ms, total = check_account(box, 3)
    assert total[LOST] > 0 and total[NET] >= 40 * 200 and total[WAITING] > 0
    became = total[NET] + total[LOST] + total[VOID]
    assert became == pytest.approx(total[RUNNING], rel=0.01, abs=10)
    assert slot_ms > total[RUNNING]
    assert query(box, "select sum(ms) from spent where kind = 6") == \
        query(box, "select sum(run_ms) from stage")


@pytest.mark.alone
def test_a_worker_that_was_killed(box):
    """What ran in it is lost up to the moment of its death, and no longer."""
    args = ["map", "-j2", LOG + "; " + HELD + "; echo {}", ":::", "a", "b", "c"]
    box.hold()
    run = box.begin(*args)
    wait_for_lines(box, 2)
    time.sleep(0.7)  # what is measured
    box.crash(run)
    box.release()
    box.ebb(*args)
    _, total = check_account(box, 2)
    lost = query(box, "select run_ms from attempt where cause = 3")
    assert len(lost) == 2 and all(600 < ms < 5000 for (ms,) in lost), lost
    assert total[LOST] == sum(ms for (ms,) in lost)


@pytest.mark.alone
def test_both_are_killed(box):
    """Nobody saw the end: the last that the worker wrote counts."""
    args = ["map", "-j2", LOG + "; " + HELD + "; echo {}", ":::", "a", "b"]
    box.hold()
    run = box.begin(*args)
    wait_for_lines(box, 2)
    time.sleep(0.7)  # what is measured
    guardian = ebbtest.guardian_of(run.pid)
    os.kill(run.pid, signal.SIGSTOP)
    ebbtest.kill(guardian)
    box.crash(run)
    box.release()
    box.ebb(*args)
    _, total = check_account(box, 2)
    assert total[LOST] > 1000


@pytest.mark.alone
def test_waiting_and_idle(box):
    """A slot waits for a delay to be over, and is idle when nothing is left."""
    box.map("-j1", "--retries", "2", "--retry-delay", "1s",
            "[ $EBB_FAILURES = 1 ] # {}", ":::", "a", code=None)
    _, total = check_account(box, 1)
    assert total[WAITING] > 80
    box.map("-j2", "--fresh", "sleep 1; : {}", ":::", "a")
    _, total = check_account(box, 2)
    assert 800 < total[IDLE] < 2500


SAVES = """
version: 1
name: saves
stages:
  s:
    input: {count: 1}
    run: ./steps.sh
    output: out.txt
"""


@pytest.mark.alone
@pytest.mark.limit(40)
def test_a_checkpoint_keeps_what_was_before_it(box):
    """Of a task that is killed after it, whoever sees to that: it, or its worker."""
    box.script("steps.sh", r"""
n=$(cat "$EBB_CHECKPOINT/n" 2>/dev/null || echo 0)
sleep 0.5
head -c 50000000 /dev/zero >"$EBB_CHECKPOINT/zeros"
[ "$n" = 2 ] && exit 0
echo $((n + 1)) >"$EBB_CHECKPOINT/n"
"$EBB" task checkpoint || exit 1
echo saved >>"$EBBTEST_LOG"
[ "$n" = 1 ] && exit 85
sleep 60
""")
    box.write("p.yaml", SAVES)
    env = {"EBB": ebbtest.ebb_bin()}
    run = box.begin("run", "-j1", "p.yaml", **env)
    wait_for_lines(box, 1)
    time.sleep(0.5)  # what is measured
    box.crash(run)
    box.ebb("run", "-j1", "p.yaml", **env)
    _, total = check_account(box, 2)
    lost, again, done = query(box, "select cause, run_ms, kept_ms, checkpoint_ms, restore_ms "
                              "from attempt order by epoch")
    assert (lost[0], again[0], done[0]) == (3, 1, 0)
    assert 480 < lost[2] < lost[1] - 400
    assert again[2] >= 480 and again[2] <= again[1] and again[3] > 0
    assert done[2:4] == (0, 0)
    assert total[2] == pytest.approx(again[3], abs=2) and done[4] > 0
    assert 0 < total[1] <= again[4] + done[4] + 200
    assert total[NET] == lost[2] + again[2] + done[1]


@pytest.mark.alone
@pytest.mark.limit(40)
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_batches_are_one_attempt(box, sig):
    box.write("in.txt", "".join("%d\n" % n for n in range(12)))
    box.write("p.yaml", """
version: 1
name: b
stages:
  s:
    input: in.txt
    shard: {by: bytes, size: 1MiB, records: lines}
    run: 'echo x >>"$EBBTEST_LOG"; sleep 0.3; cat'
    batch: 2
    checkpoint: {every: 100ms}
    output: out.txt
""")
    run = box.begin("run", "-j1", "p.yaml")
    wait_for_lines(box, 3)
    time.sleep(0.1)  # into the middle of a batch
    os.kill(run.pid, sig)
    assert run.wait(10).code in (75, -9)
    box.ebb("run", "-j1", "p.yaml")
    assert box.read("out.txt") == b"".join(b"%d\n" % n for n in range(12))
    _, total = check_account(box, 2)
    first, second = query(box, "select cause, run_ms, kept_ms, checkpoint_ms from attempt order by epoch")
    assert first[1] >= 600 and 590 <= first[2] <= first[1] and second[0] == 0
    assert second[1] >= 900 and second[2] == 0
    assert total[2] == pytest.approx(first[3] + second[3], abs=10)
    assert total[NET] == first[2] + second[1]
