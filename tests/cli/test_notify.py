"""ebb notify: events from outside, and the workers that they are for."""

import contextlib
import json
import os
import sqlite3
import time

import pytest

from ebbcli import HELD, wait_for_lines
from ebbtest import wait_until

PIPELINE = """version: 1
name: job
stages:
  all:
    input: {count: 12}
    run: 'echo {} >>"$EBBTEST_LOG"; trap "exit 1" TERM; %s; echo {}'
    output: out/{}.txt
""" % HELD

SPOT = {"version": "0", "id": "ev-1", "detail-type": "EC2 Spot Instance Interruption Warning",
        "source": "aws.ec2", "detail": {"instance-id": "i-0bbb", "instance-action": "terminate"}}


def query(box, sql, *values):
    with contextlib.closing(sqlite3.connect(box.root / ".ebb/ledger.db", timeout=10)) as db:
        rows = db.execute(sql, values).fetchall()
        db.commit()
    return rows


@pytest.fixture
def fleet(box):
    """Three workers of one run, each with something in its hands, on three machines."""
    box.write("job.yaml", PIPELINE)
    box.hold()
    runs = [box.begin("run", "job.yaml", "-j1", "--grace", "5s")]
    wait_for_lines(box, 1)
    for pool in "spot", "spare":
        runs.append(box.begin("worker", "--run", "r1", "-j1", "--grace", "5s", "--pool", pool))
        wait_for_lines(box, len(runs))
    for number, node in (1, "i-0aaa"), (2, "i-0bbb"), (3, "0123abcd"):
        query(box, "UPDATE worker SET node = ? WHERE number = ?", node, number)
    yield box, runs
    box.release()
    for r in runs:
        r.wait(20)


def notify(box, event, *options, code=0, **env):
    text = event if isinstance(event, (str, bytes)) else json.dumps(event)
    return box.ebb("notify", *options, stdin=text if isinstance(text, bytes) else text.encode(),
                   code=code, **env)


def asked(box):
    """number -> whether a notice asked it to drain, of those that were asked."""
    return dict(query(box, "SELECT number, drain_notice FROM worker WHERE drain > 0"))


def test_spot_interruption(fleet):
    box, runs = fleet
    r = notify(box, SPOT, "--json")
    told = json.loads(r.out)
    assert (told["event"], told["asked"], told["id"]) == ("notice", "drain", "ev-1")
    assert [(w["run"], w["worker"], w["node"]) for w in told["workers"]] == [("r1", "w2", "i-0bbb")]
    assert asked(box) == {2: 1}
    # It leaves, and the others go on.
    assert runs[1].wait(20).code == 75
    assert runs[0].poll() is None and runs[2].poll() is None
    # Told again, there is nobody any more.
    r = notify(box, SPOT, code=1)
    assert "nobody at work on the machine i-0bbb is meant" in r.err


def test_deadline_and_reason(fleet):
    box, _ = fleet
    r = notify(box, {"event": "notice", "worker": "w3", "deadline": 400, "reason": "rack 7"})
    assert "r1 w3 on 0123abcd is asked to drain within 6m40s (rack 7)" in r.err
    deadline, drain, reason = query(
        box, "SELECT drain_deadline, drain, drain_reason FROM worker WHERE number = 3")[0]
    assert 399000 < deadline - drain <= 400000 and reason == "rack 7"


def test_task_of_ecs(fleet):
    box, _ = fleet
    notify(box, {"detail-type": "ECS Task State Change", "detail": {
        "taskArn": "arn:aws:ecs:eu:1:task/c/0123abcd", "desiredStatus": "STOPPED",
        "stopCode": "SpotInterruption"}})
    assert asked(box) == {3: 1}


@pytest.mark.parametrize("whom,who", [({"pool": "spot"}, {2}), ({"run": "r1"}, {1, 2, 3}),
                                      ({"all": True}, {1, 2, 3}), ({"node": "i-0aaa"}, {1}),
                                      ({"worker": "w3", "run": "r1"}, {3})])
def test_whom(fleet, whom, who):
    box, _ = fleet
    r = notify(box, {"event": "preempted", **whom}, "--dry-run")
    assert r.err.count("is meant: it is asked to drain") == len(who)
    assert asked(box) == {} # a dry run asks nobody
    notify(box, {"event": "preempted", **whom})
    assert set(asked(box)) == who


@pytest.mark.parametrize("whom", [{"pool": "w2"}, {"worker": "i-0aaa"}, {"node": "spot"},
                                  {"worker": "w9"}, {"run": "r7"}, {"all": True, "run": "r2"}])
def test_nobody(fleet, whom):
    """A worker is no pool, and a node no worker."""
    box, _ = fleet
    r = notify(box, {"event": "notice", **whom}, code=1)
    assert "nobody at work" in r.err and asked(box) == {}


def test_rebalance_and_withdrawn(fleet):
    box, _ = fleet
    event = {"detail-type": "EC2 Instance Rebalance Recommendation",
             "detail": {"instance-id": "i-0bbb"}}
    r = notify(box, {"Records": [{"body": json.dumps({"Message": json.dumps(event)})}]})
    assert "w2 on i-0bbb is told to be careful" in r.err
    assert query(box, "SELECT number FROM worker WHERE warned > 0") == [(2,)]
    notify(box, {"event": "withdrawn", "node": "i-0bbb"})
    assert query(box, "SELECT number FROM worker WHERE warned > 0") == []
    assert asked(box) == {}


def test_maintenance(fleet):
    box, _ = fleet
    notify(box, {"event": "maintenance", "worker": "w1", "deadline": 86400})
    until = query(box, "SELECT life_until FROM worker WHERE number = 1")[0][0]
    assert abs(until - (time.clock_gettime(time.CLOCK_BOOTTIME) + 86400) * 1000) < 60000
    assert asked(box) == {}
    notify(box, {"event": "maintenance", "worker": "w1", "deadline": 60})
    assert asked(box) == {1: 1}
    r = notify(box, {"event": "maintenance", "worker": "w2"}, code=1)
    assert "nobody has to do anything" in r.err


def test_several_of_which_one_is_bad(fleet):
    box, _ = fleet
    r = notify(box, json.dumps(SPOT) + '\n{"event": "notice", "worker": 7}\n', "--json", code=2)
    assert "field worker must be a name" in r.err
    told = [json.loads(line) for line in r.out.splitlines()]
    assert [len(t["workers"]) for t in told] == [1, 0] and told[1]["problem"]
    assert asked(box) == {2: 1}


def test_file_and_state(fleet):
    box, _ = fleet
    path = box.write("event.json", json.dumps({"event": "notice", "node": "i-0aaa"}))
    box.ebb("notify", str(path), "--state", str(box.root / ".ebb"), cwd=box.top)
    assert asked(box) == {1: 1}
    notify(box, SPOT, "-", "--run", "r1")
    assert set(asked(box)) == {1, 2}


def test_worker_of_several_runs(box):
    """w1 is one worker of each."""
    box.hold()
    runs = []
    for i in range(2):
        box.write("job%d.yaml" % i, PIPELINE.replace("name: job", "name: job%d" % i)
                  .replace("out/", "out%d/" % i))
        runs.append(box.begin("run", "job%d.yaml" % i, "-j1", "--grace", "5s"))
        wait_for_lines(box, i + 1)
    r = notify(box, {"event": "notice", "worker": "w1"}, code=2)
    assert 'several runs have a worker w1; say which with "run" or --run' in r.err
    assert asked(box) == {}
    r = notify(box, {"event": "notice", "worker": "w1", "run": "job1"}, "--json") # as it is titled
    assert [w["run"] for w in json.loads(r.out)["workers"]] == ["r2"]
    wait_until(lambda: runs[1].poll() is not None, 20, "the second run's worker leaves")
    assert runs[0].poll() is None
    box.release()
    assert runs[0].wait(20).code == 0


def test_bad_input(box):
    for text, words in (("", "there is no event"), ("{", "it is no JSON: line 1"),
                        ("[" * 50, "nested deeper than 32"), (b"\xff\x00", "it is no JSON"),
                        (" " * (1 << 20) + " ", "longer than 1024 KiB")):
        assert words in notify(box, text, code=2).err
    assert "cannot read" in box.ebb("notify", "missing.json", code=2).err
    reader, writer = os.openpty()
    with open(writer, "rb", buffering=0) as tty:
        assert "give an event" in box.ebb("notify", stdin=tty, code=2).err
    os.close(reader)
    r = notify(box, SPOT, code=3)
    assert "no state folder" in r.err
