"""What is heard after something else was: a second wish, a second notice, maintenance that
is announced for later."""

import datetime
import json
import os
import signal
import sqlite3
import time

import metadata
import pytest
from ebbcli import wait_for_lines
from ebbtest import wait_until
from metadata import AZURE_EVENTS

PIPELINE = """version: 1
name: p
stages:
  s:
    input: {count: 1}
    run: 'trap "cp $EBB_NOTICE_FILE $PWD/told; exit 9" TERM; echo {} >>"$EBBTEST_LOG"; %s'
    output: out/{}.txt
"""
WAITS = "while [ ! -e go ]; do sleep 0.02; done; echo {}"
# Does not end when it is told to.
STUBBORN = 'trap "" TERM; ' + WAITS


def begin(box, *more, command=WAITS, **env):
    box.write("p.yaml", PIPELINE % command)
    run = box.begin("run", "-j1", "p.yaml", *more, **env)
    wait_for_lines(box, 1)
    return run


def events(box, kind):
    db = sqlite3.connect("file:%s/.ebb/ledger.db?mode=ro" % box.root, uri=True)
    try:
        rows = db.execute("select text from event where kind = ? order by id", (kind,))
        return [text for text, in rows]
    finally:
        db.close()


def notify(box, **fields):
    box.write("event.json", json.dumps(dict(fields, event="notice", worker="w1")))
    box.ebb("notify", "event.json")


def is_stopping(run):
    wait_until(lambda: "stopping" in run.err(), 5, "it stops")


def gone_within(run, seconds):
    began = time.monotonic()
    r = run.wait(seconds + 5)
    assert time.monotonic() - began < seconds, r.err
    assert r.code == 75, r.err
    return r


def test_term_during_a_long_drain(box):
    run = begin(box, "--grace", "1s", command=STUBBORN)
    box.ebb("drain", "w1", "--deadline", "10m")
    is_stopping(run)
    os.kill(run.pid, signal.SIGTERM)
    gone_within(run, 4)


def test_a_notice_without_a_deadline_during_a_long_drain(box):
    run = begin(box, "--grace", "1s", command=STUBBORN)
    box.ebb("drain", "w1", "--deadline", "10m")
    is_stopping(run)
    notify(box)
    gone_within(run, 4)
    assert len(events(box, "drain")) == len(events(box, "notice")) == 1
    assert "by=notify" in events(box, "drained")[0]


def test_on_drained_is_told_the_newest_deadline(box):
    run = begin(box, "--on-drained", "echo $EBB_EVENT_DEADLINE >when", command=STUBBORN)
    notify(box, deadline=600)
    is_stopping(run)
    began = time.time()
    notify(box, deadline=3)
    gone_within(run, 6)
    assert float(box.read("when")) < began + 4


def test_a_stop_file_is_the_source_of_its_drain(box):
    run = begin(box, "--grace", "1s", "--stop-file", "stop",
                "--on-notice", "echo $EBB_EVENT_SOURCE >source")
    box.write("stop", "")
    gone_within(run, 6)
    assert box.read("source") == b"file\n"
    assert "by=file" in events(box, "drained")[0]


def reboot(seconds):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return (200, {"DocumentIncarnation": 2, "Events": [
        metadata.azure_event("Reboot", not_before=at.strftime("%a, %d %b %Y %H:%M:%S GMT"))]})


def test_exec_leaves_in_time_for_what_was_announced(box):
    with metadata.azure() as cloud:
        run = box.begin("exec", "--notice", "azure=" + cloud.url, "--", "bash", "-c",
                        'trap "exit 7" TERM; echo up >>"$EBBTEST_LOG"; '
                        'while :; do sleep 0.02; done')
        wait_for_lines(box, 1)
        cloud.set(AZURE_EVENTS, *reboot(153))
        wait_until(lambda: "maintenance is planned" in run.err(), 5, "it is heard")
        assert run.poll() is None
        assert run.wait(8).code == 7


TWO = """version: 1
name: p
drain: {reserve: 300s}
stages:
  s:
    input: {count: 2}
    run: 'echo {} >>"$EBBTEST_LOG"; while [ ! -e go{} ]; do sleep 0.02; done; exit {}'
    output: out/{}.txt
    on_failed: continue
    retry: {failures: 2, backoff: 300ms..400ms}
"""


def test_who_may_claim_nothing_more_sees_the_end(box):
    """What it left to the others was ready once, and is settled without it."""
    box.write("p.yaml", TWO)
    first = box.begin("run", "-j2", "p.yaml")
    wait_for_lines(box, 2)
    second = box.begin("worker", "--run", "p")
    wait_until(lambda: "joined" in second.err(), 5, "it joins")
    box.write("event.json", json.dumps({"event": "maintenance", "action": "reboot",
                                        "worker": "w2", "deadline": 200}))
    said = json.loads(box.ebb("notify", "event.json", "--json").out)
    assert said["asked"] == "end-of-life"
    box.write("go1", "")
    wait_for_lines(box, 3)
    box.write("go0", "")
    assert first.wait(10).code == 1
    assert second.wait(10).code == 1


def test_nothing_is_approved_when_the_ledger_cannot_be_written(box, serve):
    """Azure may take the machine at once then, and what was done is nowhere yet."""
    server = serve("azure", "--log")
    ruin = "for f in .ebb/ledger.db*; do head -c 200000 /dev/zero >$f; done"
    run = begin(box, "--grace", "30s", "--on-drained", ruin, **server.variables())
    server.tell("notice 3s")
    r = run.wait(15)
    assert r.code == 3, r.err
    assert not [line for line in server.log() if line["method"] == "POST"]


def test_a_hook_of_a_recommendation_is_ended_in_time(box, serve):
    server = serve("aws")
    box.write("p.yaml", "version: 1\nname: p\nstages:\n  s:\n    input: {count: 1}\n"
              "    run: 'while [ ! -e go ]; do sleep 0.02; done'\n")
    run = box.begin("run", "p.yaml", "--hook-timeout", "200ms", "--on-rebalance",
                    "echo begun >>hook; sleep 5; echo over >>hook", **server.variables())
    wait_until(lambda: "1 to do" in run.err(), 10, "it runs")
    server.tell("rebalance")
    wait_until(lambda: "on_rebalance: ended, as it took too long" in run.err(), 10, "it is ended")
    box.write("go", "")
    assert run.wait(10).code == 0
    assert box.read("hook") == b"begun\n"


def test_a_shell_can_count_with_the_deadline(box, serve):
    server = serve("gcp")
    run = box.begin("watch", "--once", "--exec", 'notice=echo $((EBB_EVENT_DEADLINE - $(date +%s))) >left',
                    **server.variables())
    wait_until(lambda: "this is" in run.err(), 10, "it listens")
    server.tell("notice")
    assert run.wait(10).code == 0
    assert 25 <= int(box.read("left")) <= 31


@pytest.mark.parametrize("args, said", [
    (["watch", "--exec", "notise=true"], "did you mean"),
    (["watch", "--source", "none"], "--stop-file"),
    (["exec", "--notice", "awz", "--", "true"], "--notice"),
    (["map", "--notice", "awz", "--", "true", ":::", "a"], "--notice")])
def test_a_slip_is_said_before_anything_begins(box, args, said):
    r = box.ebb(*args, code=2)
    assert said in r.err
