"""What the platform says reaches a worker and its commands: each cloud's notice, the order
of leaving, hooks, deadlines that come closer, and notices at the worst of times."""

import json
import os
import signal
import sqlite3
import time

import pytest

import ebbtest
from ebbcli import wait_for_lines
from ebbtest import wait_until

PIPELINE = """version: 1
name: p
stages:
  s:
    input: {count: %d}
    run: %s
    output: out/{}.txt
    retry: {interruptions: 100}
"""
# Runs until it is told to stop, and copies what it was told.
WAITS = ("""'echo {} >>"$EBBTEST_LOG"; trap "cp \\"$EBB_NOTICE_FILE\\" $PWD/told-$EBB_INDEX; exit 9" TERM; """
         """while [ ! -e go ]; do sleep 0.02; done; echo {}'""")


def write(box, command=WAITS, count=2, more=""):
    box.write("p.yaml", PIPELINE % (count, command) + more)
    return ["run", "-j2", "p.yaml"]


def events(box):
    db = sqlite3.connect("file:%s/.ebb/ledger.db?mode=ro" % box.root, uri=True)
    try:
        return db.execute("select kind, text from event order by id").fetchall()
    finally:
        db.close()


def drained(box):
    """The figures of the event that says how a worker left."""
    text = [text for kind, text in events(box) if kind == "drained"][-1]
    return dict(word.split("=", 1) for word in text.split())


def finish(box, args):
    box.write("go", "")
    assert box.ebb(*args).code == 0
    assert box.read("out/0.txt") == b"0\n" and box.read("out/1.txt") == b"1\n"


CLOUDS = {"aws": (119, 121), "gcp": (29, 31), "azure": (28, 31)}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_each_cloud_is_heard(box, serve, cloud):
    server = serve(cloud)
    args = write(box)
    run = box.begin(*args, **server.variables())
    wait_for_lines(box, 2)
    began = time.time()
    server.tell("notice")
    wait_until(lambda: "stopping" in run.err(), 10, "it is heard")
    os.kill(run.pid, signal.SIGINT)  # a second wish: it need not wait for the cloud's deadline
    r = run.wait(10)
    assert r.code == 130, r.err
    kinds = dict(events(box))
    assert cloud in kinds["notice"], kinds
    assert not (box.root / "out").exists() or not os.listdir(box.root / "out")
    assert [row["taken"] for row in ebbtest.shards(box)] == [1, 1]
    least, most = CLOUDS[cloud]
    said = [line for line in r.err.splitlines() if "may finish for" in line][0]
    window = said.rpartition("for ")[2].split(" (")[0]
    seconds = (int(window.partition("m")[0]) * 60 + int(window.partition("m")[2][:-1])
               if "m" in window else float(window.split()[0]))
    assert least - (time.time() - began) <= seconds <= most
    finish(box, args)


def test_commands_are_told_why_and_by_when(box, serve):
    server = serve("aws", "--notice-window", "4s")
    args = write(box, more="drain: {reserve: 1s}\n")
    run = box.begin(*args, **server.variables())
    wait_for_lines(box, 2)
    began = time.time()
    server.tell("notice")
    r = run.wait(15)
    assert r.code == 75, r.err
    for n in range(2):
        told = json.loads(box.read("told-%d" % n))
        assert told["reason"] == "notice"
        assert began + 1 < told["deadline_unix"] < began + 4.1
    facts = drained(box)
    assert facts["by"] == "aws" and facts["handed_back"] == "2" and facts["killed"] == "0"
    assert facts["skipped"] == "none" and int(facts["safe_ms"]) < int(facts["given_ms"]) <= 4000
    finish(box, args)


def test_a_late_worker_ends_its_children_and_not_the_ledger(box, serve):
    server = serve("gcp", "--notice-window", "2s")
    args = write(box, """'trap "" TERM; echo {} >>"$EBBTEST_LOG"; while [ ! -e go ]; do sleep 0.02; done; """
                      """echo {}'""", more="drain: {reserve: 500ms}\n")
    run = box.begin(*args, "--grace", "2s", **server.variables())
    wait_for_lines(box, 2)
    server.tell("notice")
    r = run.wait(15)
    assert r.code == 75, r.err
    facts = drained(box)
    assert facts["killed"] == "2" and int(facts["safe_ms"]) < 2000
    finish(box, args)


def test_the_order_of_leaving(box, serve):
    server = serve("azure", "--notice-window", "30s", "--log")
    box.write("p.yaml", PIPELINE % (2, WAITS.replace("exit 9", "echo told >>order; exit 9")) + """
drain:
  on_notice: 'echo on_notice $EBB_EVENT $EBB_EVENT_SOURCE $EBB_EVENT_ACTION $EBB_RUN >>order'
  on_drained: 'echo on_drained $(ls out 2>/dev/null | wc -l) >>order; env | grep ^EBB_EVENT >facts'
""")
    args = ["run", "-j2", "p.yaml", "--grace", "30s"]
    run = box.begin(*args, **server.variables())
    wait_for_lines(box, 2)
    server.tell("notice 6s")
    r = run.wait(15)
    assert r.code == 75, r.err
    order = box.read("order").decode().split("\n")[:-1]
    assert order[0].startswith("on_notice notice azure terminate r1")
    assert order[1:3] == ["told", "told"] and order[3] == "on_drained 0"
    facts = dict(line.split("=", 1) for line in box.read("facts").decode().splitlines())
    assert facts["EBB_EVENT"] == "notice" and json.loads(facts["EBB_EVENT_JSON"])["source"] == "azure"
    assert float(facts["EBB_EVENT_DEADLINE"]) > time.time() - 10
    posts = [line for line in server.log() if line["method"] == "POST"]
    assert len(posts) == 1 and "told that it may go on" in r.err
    kinds = [kind for kind, _ in events(box)]
    assert [k for k in kinds if k in ("notice", "drained", "replace", "leave")] == [
        "notice", "drained", "replace", "leave"]
    finish(box, args)


def test_it_is_not_acknowledged_when_asked_not_to(box, serve):
    server = serve("azure", "--log")
    args = write(box)
    run = box.begin(*args, "--no-acknowledge", **server.variables())
    wait_for_lines(box, 2)
    server.tell("notice 2s")
    assert run.wait(15).code == 75
    assert not [line for line in server.log() if line["method"] == "POST"]


def test_a_hook_that_hangs_does_not_hold_it_up(box, serve):
    server = serve("aws")
    args = write(box, more="drain: {on_notice: 'sleep 60', on_drained: 'sleep 60', "
                 "hook_timeout: 300ms}\n")
    run = box.begin(*args, **server.variables())
    wait_for_lines(box, 2)
    server.tell("notice 3s")
    r = run.wait(15)
    assert r.code == 75 and "took too long" in r.err, r.err
    assert drained(box)["skipped"] == "on_notice"
    finish(box, args)


def test_a_hook_that_fails_is_said(box):
    args = write(box)
    run = box.begin(*args, "--on-notice", "exit 3", "--on-drained", "kill -9 $$", "--grace", "3s")
    wait_for_lines(box, 2)
    os.kill(run.pid, signal.SIGTERM)
    r = run.wait(10)
    assert r.code == 75
    assert "on_notice: exit 3" in r.err and "on_drained: signal 9" in r.err


def test_what_does_not_fit_is_skipped(box):
    args = write(box, """'trap "" TERM; echo {} >>"$EBBTEST_LOG"; while [ ! -e go ]; do sleep 0.02; done; """
                      """echo {}'""")
    run = box.begin(*args, "--on-drained", "touch drained", "--grace", "600ms")
    wait_for_lines(box, 2)
    os.kill(run.pid, signal.SIGTERM)
    r = run.wait(10)
    assert r.code == 75 and "no time is left for on_drained" in r.err, r.err
    assert not (box.root / "drained").exists()
    finish(box, args)


def test_a_recommendation_lets_it_go_on(box, serve):
    server = serve("aws")
    command = """'echo {} >>"$EBBTEST_LOG"; while [ ! -e go ]; do ebb task should-checkpoint && """ \
        """{ echo {} >>wise; ebb task checkpoint 1; }; sleep 0.02; done; echo {}'"""
    args = write(box, command, more="drain: {on_rebalance: 'echo $EBB_EVENT >>hook'}\n")
    env = {"PATH": os.path.dirname(ebbtest.ebb_bin()) + ":" + os.environ["PATH"]}
    run = box.begin(*args, **server.variables(), **env)
    wait_for_lines(box, 2)
    server.tell("rebalance")
    wait_until(lambda: (box.root / "wise").exists() and len(box.read("wise").split()) >= 2 and
               (box.root / "hook").exists(), 10, "they are told to save, once each")
    box.write("go", "")
    r = run.wait(15)
    assert r.code == 0, r.err
    assert sorted(box.read("wise").split()) == [b"0", b"1"] and box.read("hook") == b"rebalance\n"
    assert "a rebalance is recommended" in r.err
    assert "notice" not in dict(events(box)) and dict(events(box))["rebalance"]


def test_a_notice_during_a_drain_brings_the_end_closer(box, serve):
    server = serve("aws")
    args = write(box, more="drain: {reserve: 500ms}\n")
    run = box.begin(*args, "--grace", "60s", **server.variables())
    wait_for_lines(box, 2)
    os.kill(run.pid, signal.SIGTERM)
    wait_until(lambda: "stopping" in run.err(), 5, "it stops")
    began = time.monotonic()
    server.tell("notice 4s")
    r = run.wait(15)
    assert r.code == 75 and time.monotonic() - began < 8
    assert json.loads(box.read("told-0"))["reason"] == "notice"
    finish(box, args)


def test_term_in_a_pod_is_a_notice(box):
    args = write(box)
    run = box.begin(*args, "--notice", "none", "--grace", "2s", SLURM_JOB_ID="7")
    wait_for_lines(box, 2)
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10).code == 75
    assert drained(box)["by"] == "signal"
    (box.root / "told-0").unlink()
    run = box.begin(*args, "--grace", "2s", SLURM_JOB_ID="7")
    wait_for_lines(box, 4)
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10).code == 75
    assert drained(box)["by"] == "slurm" and json.loads(box.read("told-0"))["reason"] == "notice"


@pytest.mark.parametrize("when", ["start", "commit", "twice"])
def test_notices_at_the_worst_of_times(box, serve, when):
    """Nothing is lost and nothing done twice, whatever is under way."""
    server = serve("gcp")
    box.write("p.yaml", PIPELINE % (40, "'echo {} >>\"$EBBTEST_LOG\"; echo {}'"))
    args = ["run", "-j2", "p.yaml", "--grace", "2s"]
    if when == "start":
        server.tell("notice")
        assert box.ebb(*args, code=None, **server.variables()).code in (0, 75)
        server.tell("withdraw")
    starts = 0
    while starts < 20:
        run = box.begin(*args, **server.variables())
        wait_until(lambda: run.poll() is not None or len(box.ran()) > starts * 4, 20, "it runs")
        server.tell("notice")
        if when == "twice" and run.poll() is None:
            os.kill(run.pid, signal.SIGTERM)
        code = run.wait(20).code
        server.tell("withdraw")
        assert code in (0, 75, -signal.SIGTERM)  # before it listens
        starts += 1
        if code == 0:
            break
    assert box.ebb(*args).code == 0
    assert sorted(int(name[:-4]) for name in os.listdir(box.root / "out")) == list(range(40))
    assert all(box.read("out/%d.txt" % n) == b"%d\n" % n for n in range(40))


def test_killed_in_the_middle_of_leaving(box, serve):
    server = serve("aws")
    args = write(box)
    run = box.begin(*args, **server.variables())
    wait_for_lines(box, 2)
    server.tell("notice 10s")
    wait_until(lambda: "stopping" in run.err(), 10, "it is heard")
    os.kill(run.pid, signal.SIGKILL)
    run.wait(5)
    finish(box, args)


def test_a_withdrawn_notice_is_recorded(box, serve):
    server = serve("azure")
    args = write(box, "'echo {} >>\"$EBBTEST_LOG\"; while [ ! -e go ]; do sleep 0.02; done; echo {}'")
    run = box.begin(*args, **server.variables())
    wait_for_lines(box, 2)
    server.tell("notice 60s")
    wait_until(lambda: "stopping" in run.err(), 10, "it is heard")
    server.tell("withdraw")
    wait_until(lambda: "taken back" in run.err(), 10, "that too")
    box.write("go", "")
    assert run.wait(20).code == 0  # both were done, and nothing is left


def test_a_source_that_is_none(box):
    args = write(box)
    r = box.ebb(*args, "--notice", "asw", code=None)
    assert r.code != 0 and "asw" in r.err and "aws" in r.err
    box.write("p.yaml", "notice: nowhere\n" + PIPELINE % (1, "'true'"))
    r = box.ebb("validate", "p.yaml", code=None)
    assert r.code == 2 and "p.yaml:1" in r.err and "nowhere" in r.err, r.err


def test_a_bad_variable_does_not_keep_a_run_from_starting(box):
    box.write("p.yaml", PIPELINE % (1, "'echo {}'"))
    r = box.ebb("run", "p.yaml", AWS_EC2_METADATA_SERVICE_ENDPOINT="ftp://nowhere")
    assert "no notices are heard but signals" in r.err and r.code == 0


def test_a_service_that_talks_nonsense_does_no_harm(box, serve):
    server = serve("aws", "--malformed", "60", "--errors", "20", "--seed", "5")
    box.write("p.yaml", PIPELINE % (4, "'sleep 0.5; echo {}'"))
    r = box.ebb("run", "-j2", "p.yaml", **server.variables())
    assert "notices:" in r.err and len(os.listdir(box.root / "out")) == 4


def test_exec_hears_it_too(box, serve):
    server = serve("gcp")
    run = box.begin("exec", "--", "bash", "-c", 'trap \'cat "$EBB_NOTICE_FILE"; exit 7\' TERM; '
                    'echo up >>"$EBBTEST_LOG"; while :; do sleep 0.02; done', **server.variables())
    wait_for_lines(box, 1)
    server.tell("notice")
    r = run.wait(10)
    assert r.code == 7
    assert json.loads(r.out)["reason"] == "notice"


def test_a_state_that_does_not_fit_is_warned_of(box):
    """By what its checkpoints have cost: no figure, no warning."""
    slow = ("'[ $EBB_ATTEMPT = 2 ] || { ebb task checkpoint 1; exit 85; }; echo {} >>\"$EBBTEST_LOG\"; "
            "[ $EBB_INDEX = 0 ] || sleep 60'")
    box.write("p.yaml", PIPELINE % (3, slow))
    env = {"PATH": os.path.dirname(ebbtest.ebb_bin()) + ":" + os.environ["PATH"]}
    run = box.begin("run", "-j1", "--grace", "200ms", "p.yaml", **env)
    wait_for_lines(box, 2)
    os.kill(run.pid, signal.SIGTERM)
    run.wait(10)
    assert "checkpoints of stage" not in box.ebb("validate", "p.yaml").err
    db = sqlite3.connect("%s/.ebb/ledger.db" % box.root)
    db.execute("update attempt set checkpoint_ms = 20000 where cause = 1")
    db.commit()
    db.close()
    said = box.ebb("validate", "p.yaml").err
    assert "p.yaml:6:" in said and "took 20 s" in said
    assert "gcp (25 s of 30 s)" in said and "azure" in said and "aws" not in said
    run = box.begin("run", "--grace", "200ms", "p.yaml", GCE_METADATA_HOST="127.0.0.1:9", **env)
    wait_until(lambda: "took 20 s" in run.err(), 10, "it is said at the start too")
    assert "azure" not in run.err()
    os.kill(run.pid, signal.SIGTERM)
    run.wait(10)
