"""ebb report, and the line about time at the end of a run."""

import json
import os
import re
import signal
import sqlite3
import time

import pytest

from ebbcli import HELD, LOG, wait_for_lines

TIMES = {"slot_ms", "running_ms", "net_ms", "lost_ms", "checkpointing_ms", "restoring_ms",
         "waiting_ms", "idle_ms"}
PARTS = TIMES - {"slot_ms", "running_ms"}
PIPELINE = """
version: 1
name: two
stages:
  work:
    input: {count: 6}
    retry: {failures: 3, backoff: 100ms..200ms}
    run: 'n={}; sleep 0.2; echo $n; [ "$EBB_FAILURES" != 0 ] || [ $n != 3 ]'
    output: out/{}.txt
  total:
    input: [{stage: work}]
    run: 'sleep 0.2; cat {}'
    output: out/total.txt
"""


def report(box, *args):
    value = json.loads(box.ebb("report", "--json", *args).out)
    assert value["ebb_report"] == 1
    for part in [value, value["no_stage"], *value["stages"], *value["workers"]]:
        assert TIMES <= set(part)
    return value


def near(a, b):
    return abs(a - b) <= max(0.01 * b, 10)


def check_sums(value):
    assert near(sum(value[k] for k in PARTS), value["slot_ms"])
    for worker in value["workers"]:
        assert near(worker["slots"] * worker["present_ms"], worker["slot_ms"])
        assert near(sum(worker[k] for k in PARTS), worker["slot_ms"])
    for stage in [*value["stages"], value["no_stage"]]:
        assert near(sum(stage[k] for k in PARTS), stage["slot_ms"])
    for k in PARTS:
        assert near(sum(s[k] for s in value["stages"]) + value["no_stage"][k], value[k])
        assert near(sum(w[k] for w in value["workers"]), value[k])
    assert value["overhead_percent"] == pytest.approx(
        (value["slot_ms"] / value["net_ms"] - 1) * 100, abs=0.1)


@pytest.mark.alone
def test_report_of_a_pipeline(box):
    box.write("p.yaml", PIPELINE)
    err = box.ebb("run", "-j2", "p.yaml").err
    value = report(box)
    check_sums(value)
    assert [s["name"] for s in value["stages"]] == ["work", "total"]
    assert value["state"] == "finished" and len(value["workers"]) == 1
    assert value["ended"]["done"] == 7 and value["ended"]["failed"] == 1
    assert value["attempts"] == 8 and value["stages"][0]["attempts"] == 7
    worst = value["slowest"][0]
    assert (worst["stage"], worst["name"], worst["tries"]) == ("work", "3", 2)
    assert [a["cause"] for a in worst["attempts"]] == ["failed", "done"]
    assert len(value["slowest"]) == 5 and value["most_interrupted"] == []
    assert 180 < value["lost_ms"] < 600 and value["stages"][1]["net_ms"] >= 190
    assert len(report(box, "-n", "2", "--stage", "total")["slowest"]) == 1
    assert report(box, "-n", "0")["slowest"] == []
    assert "nonsense" in box.ebb("report", "--stage", "nonsense", code=2).err
    text = box.ebb("report", "r1").out.decode()
    for word in ("overhead", "stage work", "stage total", "net", "lost", "waiting", "idle",
                 "work:3", "8, 7 done, 1 failed"):
        assert word in text, word
    line = re.search(r"^time: (.*)$", err, re.M).group(1)
    shares = [float(x) for x in re.findall(r"([\d.]+) %", line)]
    assert line.startswith("%.1f %% running" % (100 * value["net_ms"] / value["slot_ms"]))
    assert 98.5 < sum(shares) < 101.5


@pytest.mark.alone
def test_interruptions_and_time_away(box):
    """A stop and a later start: both workers are there, and the time between them."""
    args = ["map", "-j1", "--grace", "0", LOG + "; " + HELD + "; sleep 0.5; : {}", ":::", "a"]
    box.hold()
    run = box.begin(*args)
    wait_for_lines(box, 1)
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10).code == 75
    time.sleep(1)
    box.release()
    box.ebb(*args)
    value = report(box)
    check_sums(value)
    assert len(value["workers"]) == 2 and value["ended"]["interrupted"] == 1
    assert [s["name"] for s in value["most_interrupted"]] == ["a"]
    assert value["most_interrupted"][0]["interruptions"] == 1
    assert 900 < value["away_slot_ms"] < 5000
    assert value["wall_over_net"] > 1 + value["overhead_percent"] / 100
    assert "most interrupted" in box.ebb("report").out.decode()


def test_report_of_events(box):
    box.map("echo", ":::", "a")
    with sqlite3.connect(box.path(".ebb/ledger.db")) as db:
        db.execute("insert into event(run, worker, wall_ms, boot_ms, kind, text) values (1, 0, ?, 0, 'drain', 'x\ny')",
                   [int(time.time() * 1000)])
    db.close()
    event = report(box)["events"][-1]
    assert event["kind"] == "drain" and event["text"] == "x\ny"
    assert "drain  x\\ny" in box.ebb("report").out.decode()


def test_report_while_it_runs_and_of_another_generation(box):
    args = ["map", "-j1", LOG + "; " + HELD + "; : {}", ":::", "a", "b"]
    box.hold()
    run = box.begin(*args)
    wait_for_lines(box, 1)
    value = report(box)
    assert value["state"] == "running" and not value["workers"][0]["gone"]
    box.release()
    assert run.wait(10).code == 0
    assert report(box)["workers"][0]["gone"]
    box.ebb(*args)
    value = report(box)
    assert value["generation"] == 2 and len(value["workers"]) == 1 and value["attempts"] == 2
