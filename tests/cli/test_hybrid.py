"""Spot first, On-Demand after some interruptions; storms that count against a pool;
machines whose end is known or near. What a metadata service would say is written into
the workers' rows, as whoever hears it does."""

import contextlib
import json
import sqlite3
import time

import pytest

import ebbtest

# Each item waits for a file of its own, and says when it began on the boot's clock.
PIPELINE = """version: 1
name: mix
stages:
  work:
    input: {count: %d}
    run: |
      read -r up _ <"$EBBTEST_UPTIME"
      echo {} "$up" >>"$EBBTEST_LOG"
      while [ -e "$EBBTEST_HOLD"{} ]; do sleep 0.01; done
      echo {}
    retry: {%s}
    output: out/{#}
"""


@pytest.fixture
def mix(box):
    # Named in the command it would be a file of the stage's, which is never the same.
    box.env.update(LC_ALL="C", EBBTEST_UPTIME="/proc/uptime")
    return box


def pipeline(box, count, retry="losses: 20"):
    box.write("p/mix.yaml", PIPELINE % (count, retry))


def hold(box, *items):
    for item in items:
        box.top.joinpath("hold%d" % item).touch()


def let_go(box, *items):
    for item in items:
        box.top.joinpath("hold%d" % item).unlink()


def run(box, pool, lifecycle, *options):
    return box.begin("run", "p/mix.yaml", "-j1", *flags(pool, lifecycle), *options)


def join(box, pool, lifecycle, *options):
    return box.begin("worker", "--run", "mix", "--state", "p/.ebb", "--wait", "10s", "-j1",
                     *flags(pool, lifecycle), *options)


def flags(pool, lifecycle):
    return ["--pool", pool] + (["--lifecycle", lifecycle] if lifecycle else [])


def sql(box, text, *values, write=False):
    path = box.root / "p/.ebb/ledger.db"
    uri = "file:%s?mode=%s" % (path, "rw" if write else "ro")
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10)) as db:
        found = db.execute(text, values).fetchall()
        db.commit()
        return found


def tell(box, pid, **columns):
    """Writes into the row of a worker, as another process does."""
    sql(box, "UPDATE worker SET %s WHERE pid = ?" % ", ".join("%s = ?" % c for c in columns),
        *columns.values(), pid, write=True)


def boot_ms():
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)


def look(box):
    return json.loads(box.ebb("status", "mix", "--json", "--state", "p/.ebb").out)["runs"][0]


def shard(box, item):
    return box.shards("--state", "p/.ebb")[item]


def starts(box, item):
    """When it began, each time, in ms of the boot's clock."""
    return [float(line.split()[1]) * 1000 for line in box.ran() if line.split()[0] == str(item)]


def wait_for_start(box, item, times):
    ebbtest.wait_until(lambda: len(starts(box, item)) >= times, 10,
                       "item %d is begun %d times" % (item, times))


def wait_for_beats(box, pid, n=2):
    """The worker has renewed its lease so often from now on: it had time to claim."""
    def lease():
        return sql(box, "SELECT lease_until FROM worker WHERE pid = ?", pid)[0][0]
    for _ in range(n):
        last = lease()
        ebbtest.wait_until(lambda before=last: lease() > before, 20, "another heartbeat")


def who_did(box, item):
    return sql(box, "SELECT w.pool FROM attempt AS a JOIN shard AS s ON s.row = a.shard "
                    "JOIN worker AS w ON w.id = a.worker WHERE s.ordinal = ? AND a.cause = 0",
               item)[0][0]


def attempts_of(box, pid):
    return sql(box, "SELECT count(*) FROM attempt JOIN worker ON worker.id = attempt.worker "
                    "WHERE pid = ?", pid)[0][0]


def lose(box, pools, item=0):
    """Workers of these pools, one after the other, die with that item."""
    for pool in pools:
        n = len(starts(box, item))
        w = join(box, pool, "spot")
        wait_for_start(box, item, n + 1)
        ebbtest.kill(w.pid)
        w.proc.wait(5)


def busy_on_demand(box, count=2, retry="losses: 20"):
    """An On-Demand worker that is at work on item 0, which is held; item 1 will wait."""
    pipeline(box, count, retry)
    hold(box, 0, 1)
    dear = run(box, "dear", "on-demand")
    wait_for_start(box, 0, 1)
    return dear


def test_on_demand_takes_what_was_taken_three_times(mix):
    dear = busy_on_demand(mix, 3)
    lose(mix, ["a", "b", "c"], 1)
    spot = join(mix, "d", "spot", "--lease", "1s")
    # One of them does the third item; this one leaves the second alone.
    wait_for_start(mix, 2, 1)
    ebbtest.wait_until(lambda: look(mix)["on_demand"] == {"ready": 1, "leased": 0}, 10, "it asks")
    row = shard(mix, 1)
    assert row["taken"] == 3 and row["on_demand"] and row["state"] == "ready"
    text = mix.ebb("status", "mix", "--state", "p/.ebb").out.decode()
    assert "  1 shard asks for On-Demand (0 at work)\n" in text
    wait_for_beats(mix, spot.pid)
    assert len(starts(mix, 1)) == 3 and look(mix)["on_demand"]["ready"] == 1
    let_go(mix, 0, 1)
    assert dear.wait(20).code == 0 and spot.wait(20).code == 0
    assert [who_did(mix, n) for n in range(2)] == ["dear", "dear"]
    assert who_did(mix, 2) in ("b", "c", "d")
    assert look(mix)["on_demand"] == {"ready": 0, "leased": 0}
    mix.wait_alone(3)


def test_spot_takes_it_after_the_wait(mix):
    dear = busy_on_demand(mix, retry="on_demand_after: 1, on_demand_wait: 1s")
    lose(mix, ["a"], 1)
    spot = join(mix, "b", "spot")
    asks, spot_from = ebbtest.wait_until(
        lambda: [r for r in sql(mix, "SELECT asks_since, spot_from FROM shard") if r[0] > 0],
        10, "it asks")[0]
    assert spot_from - asks == 1000
    wait_for_start(mix, 1, 2)
    assert starts(mix, 1)[1] >= spot_from - 20  # /proc/uptime is cut to 10 ms
    let_go(mix, 0, 1)
    assert dear.wait(20).code == 0 and spot.wait(20).code == 0
    assert who_did(mix, 1) == "b"


def test_spot_takes_it_once_nobody_else_is_there(mix):
    dear = busy_on_demand(mix, retry="on_demand_after: 1")
    lose(mix, ["a"], 1)
    spot = join(mix, "b", "spot", "--lease", "1s")
    ebbtest.wait_until(lambda: look(mix)["on_demand"]["ready"] == 1, 10, "it asks")
    wait_for_beats(mix, spot.pid)
    assert len(starts(mix, 1)) == 1
    mix.ebb("drain", "dear", "--state", "p/.ebb")
    wait_for_start(mix, 1, 2)
    let_go(mix, 0, 1)
    assert dear.wait(20).code in (0, 75) and spot.wait(20).code == 0
    assert who_did(mix, 1) == "b"


@pytest.mark.parametrize("lifecycle, retry", [("", "on_demand_after: 1"),
                                              ("spot", "on_demand_after: 0")])
def test_taken_by_any(mix, lifecycle, retry):
    """One of which nothing is known claims everything; and with 0 nothing asks."""
    dear = busy_on_demand(mix, retry=retry)
    lose(mix, ["a", "b"] if lifecycle else ["a"], 1)
    other = join(mix, "c", lifecycle)
    wait_for_start(mix, 1, 3 if lifecycle else 2)
    assert shard(mix, 1)["on_demand"] == (not lifecycle)
    let_go(mix, 0, 1)
    assert dear.wait(20).code == 0 and other.wait(20).code == 0


def test_a_storm_counts_against_the_pool(mix):
    dear = busy_on_demand(mix)
    lose(mix, ["cheap"] * 4, 1)
    spot = join(mix, "cheap", "spot")
    # Workers of a pool under a ban go on.
    wait_for_start(mix, 1, 5)
    row = shard(mix, 1)
    assert row["taken"] == 2 and not row["on_demand"]
    run_ = look(mix)
    assert run_["on_demand"] == {"ready": 0, "leased": 0}
    (ban,) = run_["banned_pools"]
    assert ban["pool"] == "cheap" and ban["taken"] == 4
    # Twice 5 minutes from the fourth on.
    assert 500 < ban["until_ms"] / 1000 - time.time() <= 600
    text = mix.ebb("status", "mix", "--state", "p/.ebb").out.decode()
    assert "  pool cheap: 4 machines taken of late; no replacement from it until " in text
    report = json.loads(mix.ebb("report", "mix", "--json", "--state", "p/.ebb").out)
    assert [b["pool"] for b in report["banned_pools"]] == ["cheap"]
    assert [w["taken"] for w in report["workers"]] == [False] + [True] * 4 + [False]
    text = mix.ebb("report", "mix", "--state", "p/.ebb").out.decode()
    assert "no replacement from it until" in text and text.count("pool cheap spot, taken\n") == 4
    let_go(mix, 0, 1)
    assert dear.wait(20).code == 0 and spot.wait(20).code == 0


def test_a_notice(mix):
    """An attempt that a notice ends is taken; the task hears why."""
    pipeline(mix, 1)
    hold(mix, 0)
    spot = run(mix, "a", "spot")
    wait_for_start(mix, 0, 1)
    now = boot_ms()
    tell(mix, spot.pid, drain=now, drain_notice=1, drain_deadline=now + 2000, taken=now,
         drain_reason="spot interruption", node="i-0ab")
    assert spot.wait(20).code == 75
    row = shard(mix, 0)
    assert row["taken"] == 1 and not row["on_demand"]
    (attempt,) = row["attempts"]
    assert attempt["cause"] == "interrupted" and attempt["by_notice"]
    let_go(mix, 0)
    assert run(mix, "b", "spot").wait(20).code == 0
    assert [a["by_notice"] for a in shard(mix, 0)["attempts"]] == [True, False]


def test_an_operators_drain_takes_nothing(mix):
    pipeline(mix, 1)
    hold(mix, 0)
    spot = run(mix, "a", "spot")
    wait_for_start(mix, 0, 1)
    mix.ebb("drain", "a", "--state", "p/.ebb", "--deadline", "0", "--wait")
    assert spot.wait(5).code == 75
    row = shard(mix, 0)
    assert row["taken"] == 0 and not row["attempts"][0]["by_notice"]
    assert row["attempts"][0]["cause"] == "interrupted"
    assert sql(mix, "SELECT taken FROM worker") == [(0,)]


def test_the_task_is_told_of_a_notice(mix):
    mix.write("p/mix.yaml", """version: 1
name: mix
stages:
  work:
    input: {count: 1}
    run: |
      echo 0 0 >>"$EBBTEST_LOG"
      until [ -s "$EBB_NOTICE_FILE" ]; do sleep 0.01; done
      cat "$EBB_NOTICE_FILE"
      ebb task done
    stop: {signal: CONT}
    output: out/{#}
""".replace("ebb task", "%s task" % ebbtest.ebb_bin()))
    spot = run(mix, "a", "spot")
    wait_for_start(mix, 0, 1)
    now = boot_ms()
    tell(mix, spot.pid, drain=now, drain_notice=1, drain_deadline=now + 3000)
    assert spot.wait(20).code in (0, 75)
    assert json.loads(mix.read("p/out/1"))["reason"] == "notice"


def test_what_is_known_of_machines(mix):
    pipeline(mix, 1)
    hold(mix, 0)
    spot = run(mix, "a", "spot")
    wait_for_start(mix, 0, 1)
    (before,) = look(mix)["workers"]
    keys = ("node", "zone", "instance_type", "warned", "taken", "notice")
    assert [before[k] for k in keys] == ["", "", "", False, False, False]
    tell(mix, spot.pid, node="i-0ab", zone="us-east-1a", instance_type="m5.large",
         warned=boot_ms())
    (after,) = look(mix)["workers"]
    assert [after[k] for k in keys] == ["i-0ab", "us-east-1a", "m5.large", True, False, False]
    words = ", on i-0ab, in us-east-1a, a m5.large, warned\n"
    assert "1 of 1 slots running" + words in mix.ebb("status", "mix", "--state",
                                                     "p/.ebb").out.decode()
    assert "pool a spot" + words in mix.ebb("report", "mix", "--state", "p/.ebb").out.decode()
    # Its node is a name for it.
    mix.ebb("drain", "i-0ab", "--state", "p/.ebb", "--deadline", "0", "--wait")
    assert spot.wait(5).code == 75


def test_nothing_begins_at_the_end_of_a_life(mix):
    pipeline(mix, 6)
    hold(mix, 0, 1)
    ends = run(mix, "a", "spot")
    wait_for_start(mix, 0, 1)
    stays = join(mix, "b", "spot")
    wait_for_start(mix, 1, 1)
    tell(mix, ends.pid, life_until=boot_ms() + 4000)  # less than what is kept for ebb itself
    wait_for_beats_of_ledger(mix, ends)
    let_go(mix, 0)
    ebbtest.wait_until(lambda: look(mix)["done"] == 1, 10, "it is done")
    let_go(mix, 1)
    assert ends.wait(20).code == 0 and stays.wait(20).code == 0
    assert attempts_of(mix, ends.pid) == 1 and attempts_of(mix, stays.pid) == 5


def wait_for_beats_of_ledger(box, running):
    """It has had time to see what was written: it looks each 25 ms."""
    end = boot_ms() + 300
    ebbtest.wait_until(lambda: boot_ms() > end and running.poll() is None, 5, "it looks")


def idle_beside(box, typical_ms=3600000):
    """Items 0 and 1 are at work, on workers a and b; a third one has nothing to do, and
    has learned that such items take an hour."""
    pipeline(box, 2)
    hold(box, 0, 1)
    first = run(box, "a", "spot")
    wait_for_start(box, 0, 1)
    second = join(box, "b", "spot", "--lease", "1s")
    wait_for_start(box, 1, 1)
    third = join(box, "c", "spot", "--lease", "1s")
    ebbtest.wait_until(lambda: len(look(box)["workers"]) == 3, 10, "three workers")
    sql(box, "UPDATE stage SET run_ms = ?, e_done = 1", typical_ms, write=True)
    wait_for_beats(box, third.pid, 3)  # it looks at the stages twice a second
    return first, second, third


def hand_back(box, first):
    """Item 0 is ready again."""
    box.ebb("drain", "a", "--state", "p/.ebb", "--deadline", "0", "--wait")
    assert first.wait(5).code == 75


def test_what_takes_longer_than_the_life(mix):
    first, second, third = idle_beside(mix)
    tell(mix, third.pid, life_until=boot_ms() + 600000)
    wait_for_beats(mix, third.pid)
    hand_back(mix, first)
    wait_for_beats(mix, third.pid)
    assert len(starts(mix, 0)) == 1
    fourth = join(mix, "d", "spot")
    wait_for_start(mix, 0, 2)
    let_go(mix, 0, 1)
    assert [r.wait(20).code for r in (second, third, fourth)] == [0, 0, 0]
    assert attempts_of(mix, third.pid) == 0 and who_did(mix, 0) in ("b", "d")


@pytest.mark.parametrize("how", ["no more", "the other is warned", "the other drains"])
def test_warned(mix, how):
    """What takes long is left to a worker that is not warned, while there is one."""
    first, second, third = idle_beside(mix)
    tell(mix, third.pid, warned=boot_ms())
    ebbtest.wait_until(lambda: "w3 may be taken away soon" in third.err(), 10, "it is warned")
    hand_back(mix, first)
    wait_for_beats(mix, third.pid)
    assert len(starts(mix, 0)) == 1
    if how == "no more":
        tell(mix, third.pid, warned=0)
    elif how == "the other is warned":
        tell(mix, second.pid, warned=boot_ms())
    else:
        mix.ebb("drain", "b", "--state", "p/.ebb")
    wait_for_start(mix, 0, 2)
    let_go(mix, 0, 1)
    assert second.wait(20).code in (0, 75) and third.wait(20).code == 0
    assert who_did(mix, 0) == "c"


def test_warned_and_short(mix):
    first, second, third = idle_beside(mix, 119000)
    tell(mix, third.pid, warned=boot_ms())
    ebbtest.wait_until(lambda: "w3 may be taken away soon" in third.err(), 10, "it is warned")
    hand_back(mix, first)
    wait_for_start(mix, 0, 2)
    let_go(mix, 0, 1)
    assert second.wait(20).code == 0 and third.wait(20).code == 0
    assert who_did(mix, 0) == "c"


def test_retry_begins_the_count_anew(mix):
    pipeline(mix, 1, "losses: 2, on_demand_after: 1")
    hold(mix, 0)
    first = run(mix, "a", "spot")
    wait_for_start(mix, 0, 1)
    ebbtest.kill(first.pid)
    first.proc.wait(5)
    lose(mix, ["b"])
    assert run(mix, "c", "spot").wait(20).code == 1
    assert shard(mix, 0)["state"] == "set-aside" and shard(mix, 0)["taken"] == 2
    let_go(mix, 0)
    mix.ebb("retry", "mix", "--state", "p/.ebb")
    assert shard(mix, 0)["state"] == "published" and shard(mix, 0)["taken"] == 0
